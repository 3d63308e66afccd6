//! Values of a configuration with bounds. An error about a value that is out of bounds names the bounds
//! of its key, not those of its type.

use std::fmt;
use std::ops::{Bound, RangeBounds, RangeInclusive};

use serde::de::{self, Deserializer, Unexpected, Visitor};

use crate::units::{ByteSize, Span, UnitVisitor};

/// Deserializes a value within inclusive bounds.
///
/// # Errors
/// When the value has another type, or is out of bounds. The error names the bounds and the value.
pub fn between<'de, T, D>(deserializer: D, bounds: RangeInclusive<T>) -> Result<T, D::Error>
where
    T: BoundedValue,
    D: Deserializer<'de>,
{
    T::deserialize_within(deserializer, bounds)
}

/// Deserializes a value of at least `least`.
///
/// # Errors
/// When the value has another type, or is less. The error names the bound and the value.
pub fn at_least<'de, T, D>(deserializer: D, least: T) -> Result<T, D::Error>
where
    T: BoundedValue,
    D: Deserializer<'de>,
{
    T::deserialize_within(deserializer, least..)
}

/// A type whose values can have bounds.
pub trait BoundedValue: Sized + PartialOrd + fmt::Display {
    /// Deserializes a value within bounds.
    ///
    /// # Errors
    /// When the value has another type, or is out of bounds.
    fn deserialize_within<'de, D: Deserializer<'de>>(
        deserializer: D,
        bounds: impl RangeBounds<Self>,
    ) -> Result<Self, D::Error>;
}

/// The error for a value out of bounds.
fn out_of<T: fmt::Display>(bounds: &impl RangeBounds<T>, value: impl fmt::Display) -> String {
    match (bounds.start_bound(), bounds.end_bound()) {
        (Bound::Included(min), Bound::Included(max)) => {
            format!("must be between {min} and {max}, not {value}")
        }
        (Bound::Included(min), _) => format!("must be at least {min}, not {value}"),
        _ => format!("must not be {value}"),
    }
}

/// Implements the trait for a type with a unit. A text whose value the type itself cannot have, such
/// as 0, is out of bounds too.
macro_rules! with_unit {
    ($type:ty, $amount:path) => {
        impl BoundedValue for $type {
            fn deserialize_within<'de, D: Deserializer<'de>>(
                deserializer: D,
                bounds: impl RangeBounds<Self>,
            ) -> Result<Self, D::Error> {
                let parse = |text: &str| {
                    $amount(text)?;
                    let value = Self::parse(text).ok().filter(|value| bounds.contains(value));
                    value.ok_or_else(|| out_of(&bounds, text))
                };
                deserializer.deserialize_str(UnitVisitor { expecting: Self::EXPECTING, parse })
            }
        }
    };
}

with_unit!(Span, Span::seconds);
with_unit!(ByteSize, ByteSize::bytes);

/// Implements the trait for unsigned integers.
macro_rules! integers {
    ($($type:ty),*) => {$(
        impl BoundedValue for $type {
            fn deserialize_within<'de, D: Deserializer<'de>>(
                deserializer: D,
                bounds: impl RangeBounds<Self>,
            ) -> Result<Self, D::Error> {
                deserializer.deserialize_u64(IntegerVisitor(bounds, Self::try_from, Self::MAX))
            }
        }
    )*};
}

integers!(u32, u64, usize);

/// Reads an integer of any size. Has the bounds, the conversion from the largest type, and the
/// largest value of the type.
struct IntegerVisitor<B, F, T>(B, F, T);

impl<T, B, F, E> Visitor<'_> for IntegerVisitor<B, F, T>
where
    T: PartialOrd + fmt::Display,
    B: RangeBounds<T>,
    F: Fn(u64) -> Result<T, E>,
{
    type Value = T;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a whole number")?;
        match (self.0.start_bound(), self.0.end_bound()) {
            (Bound::Included(min), Bound::Included(max)) => {
                write!(formatter, " from {min} to {max}")
            }
            (Bound::Included(min), _) => write!(formatter, " from {min} to {}", self.2),
            _ => Ok(()),
        }
    }

    fn visit_u64<X: de::Error>(self, number: u64) -> Result<T, X> {
        let value = (self.1)(number).ok().filter(|value| self.0.contains(value));
        value.ok_or_else(|| X::custom(out_of(&self.0, number)))
    }

    fn visit_i64<X: de::Error>(self, number: i64) -> Result<T, X> {
        // `serde_json` calls it for positive numbers of a signed type, too.
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(X::custom(out_of(&self.0, number))),
        }
    }

    fn visit_f64<X: de::Error>(self, number: f64) -> Result<T, X> {
        Err(X::invalid_type(Unexpected::Float(number), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error<T: BoundedValue + fmt::Debug>(json: &str, bounds: RangeInclusive<T>) -> String {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let error = between(&mut deserializer, bounds).unwrap_err().to_string();
        error.split(" at line").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn an_error_names_the_bounds_of_the_key() {
        let spans = || Span::from_millis(100)..=Span::from_secs(3600);
        for text in ["0s", "0", "-1s", "5ms", "2h", "9999999999999999999d"] {
            let words = format!("must be between 100ms and 1h, not {text}");
            assert_eq!(error(&format!("{text:?}"), spans()), words);
        }
        assert!(error("\"1x\"", spans()).starts_with("a duration is a number with a unit"));
        let sizes = ByteSize::from_bytes(256)..=ByteSize::from_mib(16);
        assert_eq!(error("\"0\"", sizes), "must be between 256B and 16MiB, not 0");
        for number in ["0", "65", "-1", "5000000000"] {
            let words = format!("must be between 1 and 64, not {number}");
            assert_eq!(error(number, 1..=64_u32), words);
        }
        for other in ["\"x\"", "1.5", "true"] {
            let words = error(other, 1..=64_usize);
            assert!(words.contains("expected a whole number from 1 to 64"), "{words}");
        }
        let below = at_least(&mut serde_json::Deserializer::from_str("-1"), 1_u64).unwrap_err();
        assert!(below.to_string().starts_with("must be at least 1, not -1"));
    }

    #[test]
    fn values_within_the_bounds_are_read() {
        let mut number = serde_json::Deserializer::from_str("64");
        assert_eq!(between(&mut number, 1..=64_u32).unwrap(), 64);
        let mut span = serde_json::Deserializer::from_str("\"1h\"");
        let bounds = Span::from_millis(100)..=Span::from_secs(3600);
        assert_eq!(between(&mut span, bounds).unwrap(), Span::from_secs(3600));
    }
}
