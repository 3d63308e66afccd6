//! Durations and sizes in a configuration: `250ms`, `10s`, `24h`, `256MiB`.

use std::fmt;
use std::time::Duration;

use serde::de::{self, Deserialize, Deserializer, Visitor};

/// Durations are shorter than this, in seconds, so that a [`Duration`] holds them.
const SECONDS_END: f64 = 1e18;
/// Sizes are smaller than this, in bytes: 2^53, up to which a double is exact.
const BYTES_END: f64 = 9_007_199_254_740_992.0;

/// A duration greater than zero, written with a unit: `us`, `ms`, `s`, `m`, `h` or `d`. A number
/// without a unit is in seconds. Units are accepted in upper and lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    pub(crate) const EXPECTING: &str = "a duration such as 250ms, 10s or 24h";

    /// A duration in milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// A duration in seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// The duration.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }

    /// Parses `250ms`, `1.5s`, `10m`, `24h`, `7d`, or a number of seconds without a unit.
    ///
    /// # Errors
    /// When the text has another form or is out of range. The error names the allowed values.
    pub fn parse(text: &str) -> Result<Self, String> {
        let seconds = Self::seconds(text)?;
        if seconds >= SECONDS_END {
            return Err(format!("must be less than {SECONDS_END:e}s, not `{text}`"));
        }
        let duration = Duration::from_secs_f64(seconds.max(0.0));
        if duration.is_zero() {
            return Err(format!("must be greater than 0, not `{text}`"));
        }
        Ok(Self(duration))
    }

    /// Parses a duration and returns its seconds, without checking the range.
    pub(crate) fn seconds(text: &str) -> Result<f64, String> {
        let units =
            [("ms", 0.001), ("us", 1e-6), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86400.0)];
        number_with_unit(text, &units).ok_or_else(|| {
            format!(
                "a duration is a number with a unit, such as 250ms, 10s, 5m or 24h, not `{text}`"
            )
        })
    }
}

impl fmt::Display for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")];
        match units.iter().find(|(size, _)| millis > 0 && millis.is_multiple_of(*size)) {
            Some((size, unit)) => write!(formatter, "{}{unit}", millis / size),
            None => write!(formatter, "{}ms", self.0.as_secs_f64() * 1e3),
        }
    }
}

/// A duration, or `none`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionalSpan(Option<Span>);

impl OptionalSpan {
    /// `none`.
    pub const NONE: Self = Self(None);

    /// The duration; `None` for `none`.
    #[must_use]
    pub const fn get(self) -> Option<Span> {
        self.0
    }

    /// Parses `none`, or a duration as [`Span::parse`] does.
    ///
    /// # Errors
    /// When the text has another form or is out of range. The error names the allowed values.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self::NONE);
        }
        Span::parse(text).map(Self::from).map_err(|error| format!("{error}, or `none`"))
    }
}

impl From<Span> for OptionalSpan {
    fn from(span: Span) -> Self {
        Self(Some(span))
    }
}

/// A number of bytes, at least 1, written with a unit: `B`, `KiB`, `MiB`, `GiB`, `TiB`, or
/// `K`, `M`, `G` for the same powers of 1,024, or `KB`, `MB`, `GB`, `TB` for powers of 1,000, in upper
/// or lower case. A number without a unit is in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(u64);

impl ByteSize {
    pub(crate) const EXPECTING: &str = "a size such as 64KiB or 256MiB";

    /// A size in bytes.
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self(bytes)
    }

    /// A size in mebibytes (1,048,576 bytes).
    #[must_use]
    pub const fn from_mib(mib: u64) -> Self {
        Self(mib << 20)
    }

    /// The size in bytes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Parses `65507`, `64KiB`, `256MiB` or `1GB`.
    ///
    /// # Errors
    /// When the text has another form or is out of range. The error names the allowed values.
    pub fn parse(text: &str) -> Result<Self, String> {
        match Self::bytes(text)? {
            bytes if bytes < 1.0 => Err(format!("must be at least 1B, not `{text}`")),
            bytes if bytes >= BYTES_END => Err(format!("must be less than 8192TiB, not `{text}`")),
            bytes => Ok(Self(bytes as u64)),
        }
    }

    /// Parses a size and returns its bytes, without checking the range.
    pub(crate) fn bytes(text: &str) -> Result<f64, String> {
        let units = [
            ("KiB", 1024.0),
            ("MiB", 1_048_576.0),
            ("GiB", 1_073_741_824.0),
            ("TiB", 1_099_511_627_776.0),
            ("KB", 1e3),
            ("MB", 1e6),
            ("GB", 1e9),
            ("TB", 1e12),
            ("K", 1024.0),
            ("M", 1_048_576.0),
            ("G", 1_073_741_824.0),
            ("B", 1.0),
        ];
        number_with_unit(text, &units).ok_or_else(|| {
            format!("a size is a number with a unit, such as 64KiB, 256MiB or 1GiB, not `{text}`")
        })
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
        match units.iter().find(|(size, _)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((size, unit)) => write!(formatter, "{}{unit}", self.0 / size),
            None => write!(formatter, "{}B", self.0),
        }
    }
}

/// Parses a number with an optional unit, such as `10 s`, and returns their product. `None` if the
/// text has another form.
fn number_with_unit(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    let text = text.trim();
    // A negative number has a valid form: the caller's error then names the range instead of the
    // form.
    let (text, sign) = text.strip_prefix('-').map_or((text, 1.0), |text| (text, -1.0));
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim();
    let factor = match unit {
        "" => 1.0,
        _ => units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1,
    };
    Some(sign * number * factor)
}

/// Deserializes a string or a number by parsing its text.
pub(crate) struct UnitVisitor<P> {
    pub(crate) expecting: &'static str,
    pub(crate) parse: P,
}

impl<T, P: Fn(&str) -> Result<T, String>> Visitor<'_> for UnitVisitor<P> {
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(UnitVisitor { expecting: Self::EXPECTING, parse: Self::parse })
    }
}

impl<'de> Deserialize<'de> for OptionalSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(UnitVisitor {
            expecting: "a duration such as 250ms, 10s or 24h, or none",
            parse: Self::parse,
        })
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(UnitVisitor { expecting: Self::EXPECTING, parse: Self::parse })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_a_number_without_one_is_in_seconds() {
        for (text, millis) in
            [("250ms", 250), ("10s", 10_000), ("10", 10_000), ("1.5 s", 1500), ("5m", 300_000)]
        {
            assert_eq!(Span::parse(text).unwrap().get().as_millis(), millis, "{text}");
        }
        for wrong in ["", "0", "0s", "-1s", "10x", "s", "1e3", "9999999999999999999d", "1..2s"] {
            assert!(Span::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_value_out_of_range_is_told_the_range_and_not_the_form() {
        for (text, words) in [
            ("0s", "must be greater than 0, not `0s`"),
            ("-1s", "must be greater than 0, not `-1s`"),
            ("9999999999999999999d", "must be less than 1e18s, not `9999999999999999999d`"),
            ("1x", "a duration is a number with a unit, such as 250ms, 10s, 5m or 24h, not `1x`"),
        ] {
            assert_eq!(Span::parse(text), Err(words.to_owned()));
        }
        for (text, words) in [
            ("0", "must be at least 1B, not `0`"),
            ("-5MiB", "must be at least 1B, not `-5MiB`"),
            ("99999TiB", "must be less than 8192TiB, not `99999TiB`"),
        ] {
            assert_eq!(ByteSize::parse(text), Err(words.to_owned()));
        }
    }

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        for (text, bytes) in [("8MiB", 8 << 20), ("64k", 65_536), ("1MB", 1_000_000), ("12", 12)] {
            assert_eq!(ByteSize::parse(text).unwrap().get(), bytes, "{text}");
        }
        for wrong in ["", "0", "-1", "MiB", "1PB"] {
            assert!(ByteSize::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn printed_values_can_be_parsed() {
        for text in ["250ms", "10s", "5m", "24h"] {
            let shown = Span::parse(text).unwrap().to_string();
            assert_eq!(Span::parse(&shown), Span::parse(text));
        }
        assert_eq!(Span::from_secs(10).to_string(), "10s");
        assert_eq!(ByteSize::from_mib(256).to_string(), "256MiB");
    }
}
