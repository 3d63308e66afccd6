//! Writes finite doubles as text that every reader accepts.

/// Integral doubles up to this are written without fraction or exponent. Above it, a double cannot
/// represent every integer.
const INTEGER_MAX: f64 = 9_007_199_254_740_992.0;

/// Appends the shortest text that reads back as the same double; an integral value is written as an
/// integer (`43`, not `43.0`).
pub fn write(out: &mut Vec<u8>, value: f64) {
    // A cast instead of `f64::trunc`, which is a function call on baseline x86-64 (no SSE4.1).
    let integer = value as i64;
    if integer as f64 == value && value.abs() <= INTEGER_MAX {
        // A fast path for most counts.
        if (0..10).contains(&integer) {
            return out.push(b'0' + integer as u8);
        }
        out.extend_from_slice(itoa::Buffer::new().format(integer).as_bytes());
    } else {
        out.extend_from_slice(zmij::Buffer::new().format(value).as_bytes());
    }
}

/// Appends the number as Go prints it: with an exponent of at least two digits if more than six
/// digits stand before the point or at least four zeros follow it.
#[cfg(feature = "prometheus")]
pub(crate) fn write_as_go(out: &mut Vec<u8>, value: f64) {
    // Rust prints the shortest digits, like Go, but leaves the choice of an exponent to the caller.
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return };
    let Ok(exponent) = exponent.parse::<i32>() else { return };
    if (-4..=5).contains(&exponent) {
        out.extend_from_slice(format!("{value}").as_bytes());
    } else {
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("{digits}e{sign}{:02}", exponent.abs()).as_bytes());
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

    #[test]
    #[cfg(feature = "prometheus")]
    fn numbers_look_as_go_prints_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (-467.0, "-467"),
            (-2.5, "-2.5"),
            (0.1, "0.1"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (732_504.0, "732504"),
            (999_999.5, "999999.5"),
            (1_000_000.0, "1e+06"),
            (27_721_592.0, "2.7721592e+07"),
            (467e9, "4.67e+11"),
            (18_446_744_073_709_551_149.0, "1.8446744073709552e+19"),
            (1e300, "1e+300"),
        ] {
            let mut out = Vec::new();
            write_as_go(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), text);
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
