//! Percentiles as they are configured.

/// A percentile to compute, as configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Percentile {
    rank: f64,
    label: String,
}

impl Percentile {
    /// Parses the decimal text of a percentile, greater than 0 and at most 100, such as `99.9`.
    ///
    /// The output field is `p` and this text with `_` for the dot (`p99_9`), so that no two
    /// percentiles share a field.
    ///
    /// # Errors
    /// When the text is not such a number. The error says which numbers are allowed.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Otherwise `99.90` and `99.9` would be two fields with the same values.
        let trimmed = match text.split_once('.') {
            Some((whole, fraction)) => match fraction.trim_end_matches('0') {
                "" => whole.to_owned(),
                digits => format!("{whole}.{digits}"),
            },
            None => text.to_owned(),
        };
        let is_decimal = trimmed.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
            && trimmed.starts_with(|first: char| first.is_ascii_digit());
        match trimmed.parse::<f64>() {
            Ok(rank) if is_decimal && rank > 0.0 && rank <= 100.0 => {
                Ok(Self { rank, label: format!("p{}", trimmed.replace('.', "_")) })
            }
            _ => Err(format!(
                "a percentile is a decimal number greater than 0 and at most 100, not `{text}`"
            )),
        }
    }

    /// The percentile itself, greater than 0 and at most 100.
    #[must_use]
    pub fn rank(&self) -> f64 {
        self.rank
    }

    /// The output field, such as `p99_9`.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rank_is_the_configured_number() {
        assert_eq!(Percentile::parse("99.90").unwrap().rank(), 99.9);
        assert_eq!(Percentile::parse("100").unwrap().rank(), 100.0);
        assert_eq!(Percentile::parse("0.5").unwrap().rank(), 0.5);
    }

    #[test]
    fn labels_keep_the_decimal_text_apart() {
        assert_eq!(Percentile::parse("99.9").unwrap().label(), "p99_9");
        assert_eq!(Percentile::parse("99.90").unwrap().label(), "p99_9");
        assert_eq!(Percentile::parse("50.0").unwrap().label(), "p50");
        for wrong in ["0", "100.1", "-5", "x", "nan", "1e1", "", "."] {
            assert!(Percentile::parse(wrong).is_err(), "{wrong}");
        }
    }
}
