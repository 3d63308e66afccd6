//! The meaning of a scalar's text as a number or a boolean.

/// The boolean words of YAML 1.2, and those of YAML 1.1 as PyYAML knows them (it takes no `y`).
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A whole number: decimal with an optional sign, `0x…` or `0o…`.
pub(crate) fn whole_number(text: &str) -> Option<i128> {
    let with_prefix = |prefix, radix| Some((text.strip_prefix(prefix)?, radix));
    let (digits, radix) =
        with_prefix("0x", 16).or_else(|| with_prefix("0o", 8)).unwrap_or((text, 10));
    // `from_str_radix` would take a sign after the prefix.
    let has_inner_sign = radix != 10 && digits.starts_with(['+', '-']);
    i128::from_str_radix(digits, radix).ok().filter(|_| !has_inner_sign)
}

/// Whether YAML 1.1 read this number in base eight and YAML 1.2 reads it in base ten.
pub(crate) fn is_old_octal(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    digits.starts_with('0')
        && digits.bytes().all(|digit| matches!(digit, b'0'..=b'7'))
        && digits.bytes().any(|digit| digit != b'0')
}

/// A finite decimal number, perhaps with a fraction and an exponent.
pub(crate) fn number(text: &str) -> Option<f64> {
    // `parse` would also take words such as `inf`, `infinity` and `nan`.
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
