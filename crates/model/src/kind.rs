//! The kinds of metrics, and the words for them.
//!
//! [`METRIC_WORDS`] is the only list of these words. The decoders' matches are generated from it, and
//! commands, filters and advice read it. A new word takes an edit of the table below and of the
//! documents, which tests compare with it.

use std::fmt;

/// The kind of a metric; `a.b` as a counter and `a.b` as a gauge are two series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MetricKind {
    /// Increments, summed over the window.
    Counter,
    /// A level; the last value wins.
    Gauge,
    /// A distribution of measured values.
    Timer,
    /// A number of distinct members.
    Set,
    /// How often an exact combination of tags occurred.
    Trace,
}

/// The words for one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindWords {
    /// The kind.
    pub kind: MetricKind,
    /// The canonical word: outputs write it, and JSON messages may.
    pub word: &'static str,
    /// Further words that JSON messages may use.
    pub json_aliases: &'static [KindAlias],
    /// The types of statsd lines, the usual one first; none for a kind that statsd does not have.
    pub statsd: &'static [&'static str],
    /// Words that no decoder accepts but that people use, for advice.
    pub informal: &'static [KindAlias],
    /// Whether a JSON message needs a value. A statsd line always does.
    pub needs_value: bool,
}

/// Another word for a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindAlias {
    /// The word.
    pub word: &'static str,
    /// The statsd type of the same meaning.
    pub statsd: &'static str,
}

macro_rules! metric_words {
    ($(
        $kind:ident {
            word: $word:literal,
            json_aliases: [$($alias:literal => $alias_type:literal),*],
            statsd: [$($type:literal),*],
            informal: [$($informal:literal => $informal_type:literal),*],
            needs_value: $needs_value:literal,
        }
    )*) => {
        /// The words for every kind, in the order of [`MetricKind::ALL`].
        pub const METRIC_WORDS: [KindWords; MetricKind::ALL.len()] = [$(
            KindWords {
                kind: MetricKind::$kind,
                word: $word,
                json_aliases: &[$(KindAlias { word: $alias, statsd: $alias_type }),*],
                statsd: &[$($type),*],
                informal: &[$(KindAlias { word: $informal, statsd: $informal_type }),*],
                needs_value: $needs_value,
            }
        ),*];

        impl MetricKind {
            /// The kind that `metric_type` of a JSON message names.
            #[inline]
            #[must_use]
            pub fn from_json_word(word: &str) -> Option<Self> {
                match word {
                    $($word $(| $alias)* => Some(Self::$kind),)*
                    _ => None,
                }
            }

            /// The kind of a type of a statsd line.
            #[inline]
            #[must_use]
            pub fn from_statsd_type(word: &str) -> Option<Self> {
                match word {
                    $($($type => Some(Self::$kind),)*)*
                    _ => None,
                }
            }
        }
    };
}

metric_words! {
    Counter {
        word: "counter",
        json_aliases: [],
        statsd: ["c"],
        informal: ["count" => "c"],
        needs_value: false,
    }
    Gauge {
        word: "gauge",
        json_aliases: ["guage" => "g"],
        statsd: ["g"],
        informal: [],
        needs_value: true,
    }
    Timer {
        word: "timer",
        json_aliases: ["histogram" => "h"],
        statsd: ["ms", "h", "d"],
        informal: ["timing" => "ms", "distribution" => "d"],
        needs_value: true,
    }
    Set {
        word: "set",
        json_aliases: [],
        statsd: ["s"],
        informal: [],
        needs_value: true,
    }
    Trace {
        word: "trace",
        json_aliases: [],
        statsd: [],
        informal: [],
        needs_value: false,
    }
}

impl KindWords {
    /// All aliases, accepted ones first.
    pub fn aliases(&self) -> impl Iterator<Item = KindAlias> + use<> {
        self.json_aliases.iter().chain(self.informal).copied()
    }
}

impl MetricKind {
    /// Every kind, in the order in which listings show them.
    pub const ALL: [Self; 5] = [Self::Counter, Self::Gauge, Self::Timer, Self::Set, Self::Trace];

    /// Its words.
    #[must_use]
    pub const fn words(self) -> &'static KindWords {
        &METRIC_WORDS[self as usize]
    }

    /// The canonical word: `counter`, `gauge`, `timer`, `set` or `trace`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.words().word
    }

    /// The kind of a canonical word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// The usual type of a statsd line; `None` if statsd does not have the kind.
    #[must_use]
    pub fn statsd_type(self) -> Option<&'static str> {
        self.words().statsd.first().copied()
    }

    /// The canonical words as a list: `counter, gauge, timer, set or trace`.
    #[must_use]
    pub fn listed() -> String {
        let [first @ .., last] = Self::ALL.map(Self::as_str);
        format!("{} or {last}", first.join(", "))
    }
}

impl fmt::Display for MetricKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        assert_eq!(METRIC_WORDS.map(|words| words.kind), MetricKind::ALL);
        assert_eq!(MetricKind::listed(), "counter, gauge, timer, set or trace");
        assert_eq!(MetricKind::Timer.to_string(), "timer");
    }

    #[test]
    fn the_usual_statsd_type_of_a_kind_is_the_first_one() {
        let types = MetricKind::ALL.map(MetricKind::statsd_type);
        assert_eq!(types, [Some("c"), Some("g"), Some("ms"), Some("s"), None]);
    }

    #[test]
    fn accepted_aliases_come_before_informal_ones() {
        let aliases = |kind: MetricKind| -> Vec<_> {
            kind.words().aliases().map(|alias| (alias.word, alias.statsd)).collect()
        };
        let timer = [("histogram", "h"), ("timing", "ms"), ("distribution", "d")];
        assert_eq!(aliases(MetricKind::Timer), timer);
        assert_eq!(aliases(MetricKind::Set), []);
    }

    #[test]
    fn each_word_stands_for_one_kind() {
        let mut seen = BTreeSet::new();
        for words in METRIC_WORDS {
            assert_eq!(MetricKind::from_word(words.word), Some(words.kind));
            assert_eq!(MetricKind::from_json_word(words.word), Some(words.kind));
            for alias in words.json_aliases {
                assert_eq!(MetricKind::from_json_word(alias.word), Some(words.kind));
                assert_eq!(MetricKind::from_word(alias.word), None, "outputs do not write it");
            }
            for alias in words.informal {
                assert_eq!(MetricKind::from_json_word(alias.word), None, "it is for advice only");
            }
            let aliases = words.aliases().map(|alias| alias.word);
            for word in aliases.chain([words.word]).chain(words.statsd.iter().copied()) {
                assert!(seen.insert(word), "{word} occurs twice");
            }
        }
    }

    #[test]
    fn an_alias_names_a_statsd_type_of_its_kind() {
        for words in METRIC_WORDS {
            for alias in words.aliases() {
                assert_eq!(MetricKind::from_statsd_type(alias.statsd), Some(words.kind));
            }
            for word in words.statsd {
                assert_eq!(MetricKind::from_statsd_type(word), Some(words.kind));
                assert_eq!(MetricKind::from_json_word(word), None);
            }
        }
    }
}
