//! Interprets the text of a scalar for the type of a field.

/// A key or a single value.
#[derive(Default)]
pub(crate) struct YamlScalar {
    /// The text as written, or after expansion.
    pub(crate) text: String,
    /// Whether it has no quotes, so that `true` is a boolean.
    pub(crate) is_plain: bool,
    /// Whether it means that the value is missing.
    pub(crate) is_null: bool,
    /// Whether it belongs to a key that is named like a secret, directly or through an alias.
    pub(crate) is_secret: bool,
    /// The `${…}` in the original text, if any, such as `${VAR}`.
    pub(crate) references: Option<String>,
}

/// The type that a visitor expects.
#[derive(Clone, Copy)]
pub(crate) enum WantedType {
    Any,
    Text,
    Boolean,
    Integer,
    Number,
}

/// A scalar as one of serde's types.
pub(crate) enum ScalarValue<'a> {
    Null,
    Boolean(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
}

impl YamlScalar {
    /// Returns the value for a visitor. A value that does not fit stays text, which the visitor
    /// rejects.
    pub(crate) fn value(&self, wanted: WantedType) -> ScalarValue<'_> {
        let text = self.text.as_str();
        let is_expanded = self.references.is_some();
        let value = match wanted {
            // An empty expanded value is an empty text.
            WantedType::Text if is_expanded => None,
            _ if self.is_null => Some(ScalarValue::Null),
            WantedType::Text => None,
            // Quotes make a value text, except around a `${…}`.
            WantedType::Boolean if !self.is_plain && !is_expanded => None,
            WantedType::Boolean => boolean(text).map(ScalarValue::Boolean),
            WantedType::Integer if self.is_ambiguous() => None,
            WantedType::Integer => integer(text),
            WantedType::Number => number(text).map(ScalarValue::Float),
            WantedType::Any => Some(text).filter(|_| self.is_plain).and_then(core_schema),
        };
        value.unwrap_or(ScalarValue::Text(text))
    }

    /// Returns whether the value is a number or a boolean for YAML 1.1, for which existing files were
    /// written: its numbers need a point before and a sign in an exponent, so that `69e3` is text.
    pub(crate) fn is_literal(&self) -> bool {
        let text = self.text.as_str();
        let is_yaml_1_1 = text.split_once(['e', 'E']).is_none_or(|(decimal, exponent)| {
            decimal.contains('.') && exponent.starts_with(['+', '-'])
        });
        let is_number = || is_yaml_1_1 && number(text).is_some();
        self.is_plain && !self.is_null && (is_number() || boolean(text).is_some())
    }

    /// Returns whether YAML 1.1, and so the parser for which the files were written, reads another
    /// number.
    pub(crate) fn is_ambiguous(&self) -> bool {
        self.is_plain && self.references.is_none() && is_old_octal(&self.text)
    }
}

/// Returns the value of a plain scalar in YAML 1.2. `yes` and `on` are text: only a boolean field
/// accepts them as booleans.
fn core_schema(text: &str) -> Option<ScalarValue<'_>> {
    if let "true" | "True" | "TRUE" | "false" | "False" | "FALSE" = text {
        return boolean(text).map(ScalarValue::Boolean);
    }
    let is_fraction = text.contains(['.', 'e', 'E']);
    let float = || number(text).filter(|_| is_fraction).map(ScalarValue::Float);
    integer(text).or_else(float)
}

/// Parses an integer of 64 bits. A larger one stays text, because losing digits silently would be
/// worse.
fn integer(text: &str) -> Option<ScalarValue<'_>> {
    let number = whole_number(text)?;
    let signed = || i64::try_from(number).map(ScalarValue::Signed);
    u64::try_from(number).map(ScalarValue::Unsigned).or_else(|_| signed()).ok()
}

/// Parses the boolean words of YAML 1.2, and of YAML 1.1 as implemented by PyYAML (without `y`).
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// Parses a whole number: decimal with an optional sign, `0x…` or `0o…`.
pub(crate) fn whole_number(text: &str) -> Option<i128> {
    let with_prefix = |prefix, radix| Some((text.strip_prefix(prefix)?, radix));
    let (digits, radix) =
        with_prefix("0x", 16).or_else(|| with_prefix("0o", 8)).unwrap_or((text, 10));
    // `from_str_radix` would accept a sign after the prefix.
    let has_inner_sign = radix != 10 && digits.starts_with(['+', '-']);
    i128::from_str_radix(digits, radix).ok().filter(|_| !has_inner_sign)
}

/// Returns whether YAML 1.1 reads this number in base eight and YAML 1.2 in base ten.
fn is_old_octal(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    digits.starts_with('0')
        && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'))
        && digits.bytes().any(|digit| digit != b'0')
}

/// Parses a finite decimal number with optional fraction and exponent.
fn number(text: &str) -> Option<f64> {
    // `parse` would also accept words such as `inf`, `infinity` and `nan`.
    let decimal = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E'));
    text.parse().ok().filter(|number: &f64| decimal && number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_are_those_of_pyyaml() {
        for word in ["true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"] {
            assert_eq!(boolean(word), Some(true), "{word}");
        }
        for word in ["false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"] {
            assert_eq!(boolean(word), Some(false), "{word}");
        }
        for word in ["y", "n", "1", "0", "tRUE", "", "oN"] {
            assert_eq!(boolean(word), None, "{word}");
        }
    }

    #[test]
    fn only_a_number_that_changed_its_meaning_is_an_old_octal() {
        assert!(is_old_octal("0123") && is_old_octal("-017"));
        assert!(!is_old_octal("0") && !is_old_octal("00") && !is_old_octal("0129"));
        assert!(!is_old_octal("123") && !is_old_octal(""));
    }
}
