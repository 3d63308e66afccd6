//! `naming`: how line protocol names measurements and fields, and the types of their values.

use serde::Deserialize;
use serde::de::Deserializer;

use crate::config::InvalidKey;
use basics::text::TextVisitor;

/// Maximum length of `metric_separator`.
const SEPARATOR_BYTES_MAX: usize = 16;

/// `naming`: the program whose names and types lines have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LineNamingStyle {
    /// The metric's own name, and tallyd's fields.
    #[default]
    Tallyd,
    /// The names, fields and types of Telegraf's statsd input.
    Telegraf,
}

impl LineNamingStyle {
    /// Checks that the section writes line protocol, if these are not tallyd's own names.
    ///
    /// # Errors
    /// At the key `naming`, if it would have no effect.
    pub(crate) fn check(self, is_influx: bool) -> Result<(), InvalidKey> {
        if self == Self::Tallyd || is_influx {
            return Ok(());
        }
        Err(InvalidKey::at("naming", "requires `format: influx`, or must be `tallyd`".to_owned()))
    }
}

/// `telegraf`: options of Telegraf's statsd input that affect names and types, with its defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelegrafConfig {
    /// The text that replaces each dot of a name: 1 to 16 printable ASCII characters without spaces,
    /// `,`, `=`, `#`, `"` and `\`. Defaults to `_`.
    pub metric_separator: MetricSeparator,
    /// Whether counters and traces are floats and may have a fraction. Defaults to `false`.
    pub float_counters: bool,
    /// Whether the number of a timer's samples is a float. Defaults to `false`.
    pub float_timings: bool,
    /// Whether sets are floats. Defaults to `false`.
    pub float_sets: bool,
}

/// The text between the parts of a name. It never needs an escape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricSeparator(String);

impl MetricSeparator {
    /// Checks a separator.
    ///
    /// # Errors
    /// A sentence that describes the allowed texts.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_allowed = |byte: u8| byte.is_ascii_graphic() && !b",=#\"\\".contains(&byte);
        if (1..=SEPARATOR_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_allowed) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "must have 1 to {SEPARATOR_BYTES_MAX} printable ASCII characters without spaces, `,`, `=`, `#`, `\"` \
             and `\\`, not `{text}`"
        ))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for MetricSeparator {
    fn default() -> Self {
        Self("_".to_owned())
    }
}

impl<'de> Deserialize<'de> for MetricSeparator {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor::new("a separator, such as _", Self::parse))
    }
}

/// The names and types of lines, after the checks of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LineNaming {
    /// See [`LineNamingStyle::Tallyd`].
    #[default]
    Tallyd,
    /// See [`LineNamingStyle::Telegraf`].
    Telegraf(TelegrafConfig),
}

impl LineNaming {
    /// Takes the keys of a section.
    pub(crate) fn new(style: LineNamingStyle, telegraf: &TelegrafConfig) -> Self {
        match style {
            LineNamingStyle::Tallyd => Self::Tallyd,
            LineNamingStyle::Telegraf => Self::Telegraf(telegraf.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_separator_that_would_need_an_escape_is_refused() {
        let read = |text: &str| {
            let json = serde_json::json!({ "metric_separator": text });
            serde_json::from_value::<TelegrafConfig>(json).map(|config| config.metric_separator.0)
        };
        for text in ["_", ".", "-", "::", "sixteen-bytes-ab"] {
            assert_eq!(read(text).unwrap(), text);
        }
        for text in ["", " ", ",", "a=b", "#", "\"", "\\", "\t", "é", "seventeen-bytes-a"] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains("printable ASCII"), "{text}: {error}");
        }
    }

    #[test]
    fn names_of_line_protocol_without_line_protocol_are_refused() {
        use LineNamingStyle::{Tallyd, Telegraf};
        let key =
            |style: LineNamingStyle, is_influx| style.check(is_influx).err().and_then(|e| e.key);
        assert_eq!([key(Telegraf, true), key(Tallyd, true), key(Tallyd, false)], [None; 3]);
        assert_eq!(key(Telegraf, false), Some("naming"));
    }
}
