//! Durations of other programs, and in tallyd's notation.

use std::time::Duration;

/// Units of Go's durations, and days, which Prometheus' programs accept as well. The longer ones of
/// two with the same beginning come first.
const UNITS: [(&str, f64); 9] = [
    ("ns", 1e-9),
    ("us", 1e-6),
    ("µs", 1e-6),
    ("ms", 1e-3),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3600.0),
    ("d", 86400.0),
    ("w", 604_800.0),
];

/// Parses a duration of Go, such as `1m30s`; a number without a unit is in seconds.
pub(super) fn go_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        let has_unit = |(unit, _): &&(&str, f64)| rest[end..].starts_with(unit);
        let (unit, factor) = UNITS.iter().find(has_unit)?;
        seconds += number * factor;
        rest = &rest[end + unit.len()..];
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

/// Writes a duration in the largest unit that divides it, down to microseconds.
pub(super) fn span(duration: Duration) -> String {
    let micros = duration.as_micros();
    let units = [("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1000)];
    let dividing =
        units.into_iter().find(|(_, unit)| micros >= *unit && micros.is_multiple_of(*unit));
    let (unit, size) = dividing.unwrap_or(("us", 1));
    format!("{}{unit}", micros / size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_of_go_become_tallyds() {
        for (text, expected) in [
            ("10s", "10s"),
            ("1m30s", "90s"),
            ("1h", "1h"),
            ("250ms", "250ms"),
            ("1.5s", "1500ms"),
            ("5", "5s"),
            ("2d", "48h"),
            ("0s", "0us"),
        ] {
            assert_eq!(go_duration(text).map(span).as_deref(), Some(expected), "{text}");
        }
        for wrong in ["", "s", "10x", "1m-", "-5s", "ten"] {
            assert_eq!(go_duration(wrong), None, "{wrong}");
        }
    }
}
