//! What the text of a scalar means when something other than text is asked for.

/// The meaning of a plain scalar by the core schema of YAML 1.2, for a reader that takes anything.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Core<'a> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(&'a str),
}

impl<'a> Core<'a> {
    /// Resolves a plain scalar. A whole number that does not fit 64 bits, and an infinite number,
    /// stay text: to lose digits silently is worse.
    pub(super) fn resolve(text: &'a str) -> Self {
        if is_null(text) {
            return Self::Null;
        }
        // `yes` and `on` are text here: only a reader that asks for a boolean gets one of those.
        if let "true" | "True" | "TRUE" | "false" | "False" | "FALSE" = text {
            return Self::Bool(boolean(text) == Some(true));
        }
        if let Some(number) = whole_number(text) {
            let unsigned = u64::try_from(number).map(Self::Unsigned);
            let signed = || i64::try_from(number).map(Self::Signed);
            return unsigned.or_else(|_| signed()).unwrap_or(Self::Text(text));
        }
        let is_float = text.contains(['.', 'e', 'E']);
        number(text).filter(|_| is_float).map_or(Self::Text(text), Self::Float)
    }
}

/// Whether a plain scalar means "nothing".
pub(super) fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The boolean words of YAML 1.2, and those of YAML 1.1 as PyYAML knows them (it takes no `y`).
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A whole number: decimal with an optional sign, `0x…` or `0o…`.
pub(super) fn whole_number(text: &str) -> Option<i128> {
    let (radix, digits, sign) = if let Some(digits) = text.strip_prefix("0x") {
        (16, digits, 1)
    } else if let Some(digits) = text.strip_prefix("0o") {
        (8, digits, 1)
    } else if let Some(digits) = text.strip_prefix('-') {
        (10, digits, -1)
    } else {
        (10, text.strip_prefix('+').unwrap_or(text), 1)
    };
    // `from_str_radix` would take a second sign.
    let all_digits = digits.chars().all(|c| c.is_digit(radix));
    let number = i128::from_str_radix(digits, radix).ok().filter(|_| all_digits)?;
    Some(sign * number)
}

/// Whether YAML 1.1 read this number in base eight and YAML 1.2 reads it in base ten.
pub(super) fn is_old_octal(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    digits.starts_with('0')
        && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'))
        && digits.bytes().any(|digit| digit != b'0')
}

/// A finite decimal number, perhaps with a fraction and an exponent.
pub(super) fn number(text: &str) -> Option<f64> {
    // `parse` would also take words such as `inf`, `infinity` and `nan`.
    let decimal = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'+' | b'-' | b'e' | b'E'));
    text.parse().ok().filter(|number: &f64| decimal && number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_scalars_resolve_by_the_core_schema() {
        for (text, meaning) in [
            ("", Core::Null),
            ("~", Core::Null),
            ("null", Core::Null),
            ("True", Core::Bool(true)),
            ("false", Core::Bool(false)),
            ("yes", Core::Text("yes")),
            ("5090", Core::Unsigned(5090)),
            ("-7", Core::Signed(-7)),
            ("0x1F", Core::Unsigned(31)),
            ("0o17", Core::Unsigned(15)),
            ("1.10", Core::Float(1.1)),
            ("-.5e3", Core::Float(-500.0)),
            ("0123e4", Core::Float(1_230_000.0)),
            (".inf", Core::Text(".inf")),
            ("inf", Core::Text("inf")),
            ("1e999", Core::Text("1e999")),
            ("99999999999999999999999", Core::Text("99999999999999999999999")),
            ("1.2.3", Core::Text("1.2.3")),
            ("0x", Core::Text("0x")),
            ("0x+5", Core::Text("0x+5")),
            ("+-5", Core::Text("+-5")),
            ("1_000", Core::Text("1_000")),
            (".", Core::Text(".")),
        ] {
            assert_eq!(Core::resolve(text), meaning, "{text}");
        }
    }

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
