//! Window ends as text.

use jiff::Timestamp;

/// Appends `2017-03-21T16:34:34.000Z`: UTC with milliseconds.
pub fn write_rfc3339(out: &mut Vec<u8>, unix_ms: u64) {
    let text = i64::try_from(unix_ms)
        .ok()
        .and_then(|ms| Timestamp::from_millisecond(ms).ok())
        .unwrap_or(Timestamp::MAX)
        .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        .to_string();
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_always_there() {
        for (ms, text) in [
            (1_490_114_074_000, "2017-03-21T16:34:34.000Z"),
            (1_490_114_074_250, "2017-03-21T16:34:34.250Z"),
            (0, "1970-01-01T00:00:00.000Z"),
        ] {
            let mut out = Vec::new();
            write_rfc3339(&mut out, ms);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
        write_rfc3339(&mut Vec::new(), u64::MAX);
    }
}
