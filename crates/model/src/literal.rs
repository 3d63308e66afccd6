//! Recognizes texts that JSON can hold without quotes.

/// Whether the text is JSON's notation of a boolean, or of a number that fits into a double.
///
/// Many readers refuse a whole document because of a number outside that range.
#[must_use]
pub fn is_json_literal(text: &str) -> bool {
    matches!(text, "true" | "false")
        || (is_json_number(text) && text.parse::<f64>().is_ok_and(f64::is_finite))
}

fn is_json_number(text: &str) -> bool {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let (decimal, exponent) = cut(unsigned, &['e', 'E']);
    let (whole, fraction) = cut(decimal, &['.']);
    let unsigned_exponent = exponent.map(|text| text.strip_prefix(['+', '-']).unwrap_or(text));
    is_digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(is_digits)
        && unsigned_exponent.is_none_or(is_digits)
}

fn cut<'a>(text: &'a str, separators: &[char]) -> (&'a str, Option<&'a str>) {
    text.split_once(separators).map_or((text, None), |(before, after)| (before, Some(after)))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn booleans_and_numbers_as_json_writes_them_are_literals() {
        for text in
            ["true", "false", "0", "-0", "5060", "-7", "1.50", "0.5", "1e3", "1.5E-3", "2e+08"]
        {
            assert!(is_json_literal(text), "{text}");
        }
        let digits = "74440000000000000000000000000000";
        assert!(is_json_literal(digits), "more digits than a double");
    }

    #[test]
    fn other_texts_are_no_literals() {
        for text in [
            "", "-", "+1", "01", "-01", ".5", "5.", "1e", "1e+", "1.e3", "0x10", "1_000", " 1",
            "1 ", "NaN", "Infinity", "inf", "True", "null", "1.2.3", "1e2e3", "--1", "٣", "1e400",
            "-1e400",
        ] {
            assert!(!is_json_literal(text), "{text}");
        }
    }
}
