//! Numbers as people read them.

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// In at most six characters: `0.25`, `12.3`, `1234`, `56.7k`, `1.23M`.
pub(crate) fn short(number: f64) -> String {
    for (size, from, unit) in [(1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e3, 1e4, "k")] {
        // A number that would be rounded up to 1 of the next unit is shown in that unit.
        if number >= from * 0.999_5 {
            return format!("{}{unit}", three_digits(number / size));
        }
    }
    if number >= 99.95 { format!("{number:.0}") } else { three_digits(number) }
}

/// `9.4 MiB`.
pub(crate) fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut number, mut unit) = (bytes, 0);
    while number >= 1023.5 && unit + 1 < UNITS.len() {
        number /= 1024.0;
        unit += 1;
    }
    let digits = if number >= 99.95 { format!("{number:.0}") } else { three_digits(number) };
    format!("{digits} {}", UNITS[unit])
}

/// `3d 4h`, in its two largest units.
pub(crate) fn span(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let units = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let Some(first) = units.iter().position(|(size, _)| seconds >= *size) else {
        return "0s".to_owned();
    };
    let (size, unit) = units[first];
    match units.get(first + 1) {
        Some((smaller, next)) if seconds % size / smaller > 0 => {
            format!("{}{unit} {}{next}", seconds / size, seconds % size / smaller)
        }
        _ => format!("{}{unit}", seconds / size),
    }
}

fn three_digits(number: f64) -> String {
    let decimals = if number >= 99.95 || number == 0.0 {
        0
    } else if number >= 9.995 {
        1
    } else {
        2
    };
    let text = format!("{number:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn short_numbers_are_short() {
        for (number, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (1.0, "1"),
            (12.34, "12.3"),
            (99.96, "100"),
            (1_234.4, "1234"),
            (9_994.0, "9994"),
            (9_999.6, "10k"),
            (56_700.0, "56.7k"),
            (999_960.0, "1M"),
            (1_234_567.0, "1.23M"),
            (2.5e9, "2.5G"),
        ] {
            assert_eq!(short(number), text);
        }
        for number in [0.012, 9.996, 98.7, 999.9, 9_995.0, 99_960.0, 999_499.0, 9e8] {
            assert!(short(number).len() <= 6, "{}", short(number));
        }
    }

    #[test]
    fn bytes_and_spans_have_units() {
        assert_eq!(bytes(0.0), "0 B");
        assert_eq!(bytes(1024.0), "1 KiB");
        assert_eq!(bytes(9_437_184.0), "9 MiB");
        assert_eq!(bytes(1_048_575.0), "1 MiB");
        for (seconds, text) in
            [(0.4, "0s"), (59.9, "59s"), (61.0, "1m 1s"), (3600.0, "1h"), (273_700.0, "3d 4h")]
        {
            assert_eq!(span(seconds), text);
        }
    }
}
