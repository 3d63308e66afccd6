//! Points in time, as Unix milliseconds and as text.

use std::time::SystemTime;

use jiff::Timestamp;
use jiff::tz::Offset;

/// Unix milliseconds of a point in time; 0 before 1970.
#[must_use]
pub fn unix_ms(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// A point in time as `2017-03-21T16:34:34.000Z`.
#[must_use]
pub fn rfc3339(time: SystemTime) -> String {
    rfc3339_ms(unix_ms(time))
}

/// Unix milliseconds as `2017-03-21T16:34:34.000Z`.
#[must_use]
pub fn rfc3339_ms(unix_ms: u64) -> String {
    let mut text = Vec::new();
    write_rfc3339(&mut text, unix_ms);
    String::from_utf8_lossy(&text).into_owned()
}

/// Reads a point in time with a date, a time and an offset, such as `2017-03-21T16:34:34.000Z`, as Unix
/// milliseconds.
#[must_use]
pub fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond)
}

/// Appends `2017-03-21T16:34:34.000Z`: UTC with milliseconds.
pub fn write_rfc3339(out: &mut Vec<u8>, unix_ms: u64) {
    let moment = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let time = Offset::UTC.to_datetime(moment.unwrap_or(Timestamp::MAX));
    // Digit by digit, because some formats write the time of every point.
    let mut text = *b"0000-00-00T00:00:00.000Z";
    write_digits(&mut text[0..4], time.year());
    write_digits(&mut text[5..7], time.month().into());
    write_digits(&mut text[8..10], time.day().into());
    write_digits(&mut text[11..13], time.hour().into());
    write_digits(&mut text[14..16], time.minute().into());
    write_digits(&mut text[17..19], time.second().into());
    write_digits(&mut text[20..23], time.millisecond());
    out.extend_from_slice(&text);
}

fn write_digits(place: &mut [u8], mut number: i16) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_always_written() {
        for (ms, text) in [
            (1_490_114_074_000, "2017-03-21T16:34:34.000Z"),
            (1_490_114_074_250, "2017-03-21T16:34:34.250Z"),
            (0, "1970-01-01T00:00:00.000Z"),
            (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
            (u64::MAX, "9999-12-30T22:00:00.999Z"),
        ] {
            let mut out = Vec::new();
            write_rfc3339(&mut out, ms);
            assert_eq!(String::from_utf8(out).unwrap(), text);
        }
    }
}
