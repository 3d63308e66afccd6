//! Selects series by name, type and tags, for clients of the admin endpoint.

use basics::globs::Globs;
use model::{MetricKind, Series};

/// Maximum number of values per parameter, each of which is compared with every series or sample.
pub(crate) const VALUES_MAX: usize = 16;

/// The series that a client selects. Without any condition, all series.
#[derive(Clone, Debug, Default)]
pub struct SeriesFilter {
    names: Globs,
    tags: Vec<TagFilter>,
    /// Empty for all kinds.
    kinds: Vec<MetricKind>,
}

/// A tag that a sample or series must have.
#[derive(Clone, Debug)]
pub(crate) struct TagFilter {
    key: String,
    /// Empty for any value.
    values: Globs,
}

impl SeriesFilter {
    /// Selects series whose name matches one of `names`, that have all of `tags` (`KEY` or
    /// `KEY=GLOB`), and whose type is one of `types`. An empty list selects everything.
    ///
    /// # Errors
    /// A sentence for the user, which names the wrong value.
    pub fn new(names: &[String], tags: &[String], types: &[String]) -> Result<Self, String> {
        if [names, tags, types].iter().any(|values| values.len() > VALUES_MAX) {
            return Err(format!("at most {VALUES_MAX} values are allowed for each parameter"));
        }
        Ok(Self {
            names: Globs::parse(names)?,
            tags: tags.iter().map(|tag| TagFilter::parse(tag)).collect::<Result<_, _>>()?,
            kinds: types.iter().map(|word| parse_kind(word)).collect::<Result<_, _>>()?,
        })
    }

    /// Whether a series is selected.
    #[must_use]
    pub fn selects(&self, series: &Series) -> bool {
        (self.kinds.is_empty() || self.kinds.contains(&series.kind()))
            && self.names.matches(series.name()).unwrap_or(true)
            && self.tags.iter().all(|wanted| wanted.is_in(series.tags()))
    }
}

impl TagFilter {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (key, values) = match text.split_once('=') {
            Some((key, value)) => (key, Globs::parse(&[value])?),
            None => (text, Globs::default()),
        };
        if key.is_empty() {
            return Err(format!("expected a tag as KEY or KEY=VALUE, not `{text}`"));
        }
        Ok(Self { key: key.to_owned(), values })
    }

    pub(crate) fn is_in<'a>(&self, mut tags: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
        let found = tags.find(|(key, _)| *key == self.key);
        found.is_some_and(|(_, value)| self.values.matches(value).unwrap_or(true))
    }
}

/// The type of a word of a request.
///
/// # Errors
/// A sentence that lists the types.
pub fn parse_kind(word: &str) -> Result<MetricKind, String> {
    MetricKind::from_word(word)
        .ok_or_else(|| format!("unknown type `{word}`: expected {}", MetricKind::listed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(names: &[&str], tags: &[&str], types: &[&str]) -> Result<SeriesFilter, String> {
        let owned =
            |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        SeriesFilter::new(&owned(names), &owned(tags), &owned(types))
    }

    #[test]
    fn a_series_matches_one_name_one_type_and_all_tags() {
        let series = |kind, name| Series::new(kind, name, &[("host", "a"), ("stage", "login")]);
        let timer = series(MetricKind::Timer, "user.latency");
        let selected = |names: &[&str], tags: &[&str], types: &[&str]| {
            filter(names, tags, types).unwrap().selects(&timer)
        };
        assert!(selected(&[], &[], &[]));
        assert!(selected(&["db.*", "user.*"], &["host", "stage=log*"], &["counter", "timer"]));
        assert!(!selected(&["db.*"], &[], &[]));
        assert!(!selected(&[], &["stage=log*", "host=b"], &[]));
        assert!(!selected(&[], &["rack"], &[]));
        assert!(!selected(&[], &[], &["gauge"]));
    }

    #[test]
    fn a_wrong_value_is_named() {
        for (error, words) in [
            (filter(&["["], &[], &[]), "is not a glob"),
            (filter(&[], &["=x"], &[]), "KEY or KEY=VALUE"),
            (filter(&[], &[], &["histogram"]), "counter, gauge, timer, set or trace"),
            (filter(&["a"; VALUES_MAX + 1], &[], &[]), "at most 16"),
        ] {
            let error = error.unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
