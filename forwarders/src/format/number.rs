//! Finite doubles as text that every reader takes.

/// Integral doubles below this are written without fraction or exponent; above, not every integer
/// is a double.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Appends the shortest text that reads back as the same double; an integral value is written as an
/// integer (`43`, not `43.0`).
pub fn write(out: &mut Vec<u8>, value: f64) {
    // Compared with a rounding, which is a function call on processors of the oldest kind.
    let integer = value as i64;
    if integer as f64 == value && value.abs() <= INTEGER_MAX {
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    } else {
        out.extend_from_slice(zmij::Buffer::new().format(value).as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: f64) -> String {
        let mut out = Vec::new();
        write(&mut out, value);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn integral_values_are_integers() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "0"),
            (43.0, "43"),
            (-7.0, "-7"),
            (12.75, "12.75"),
            (0.1, "0.1"),
            (9_007_199_254_740_992.0, "9007199254740992"),
        ] {
            assert_eq!(written(value), text);
        }
    }

    proptest! {
        #[test]
        fn every_finite_double_reads_back_and_is_json(value in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL) {
            let text = written(value);
            prop_assert_eq!(text.parse::<f64>().unwrap(), value);
            prop_assert!(serde_json::from_str::<serde_json::Number>(&text).is_ok(), "{}", text);
        }
    }
}
