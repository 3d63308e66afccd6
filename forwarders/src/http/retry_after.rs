//! Parses the header `Retry-After`: a number of seconds, or a date (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

/// Longest pause that a server can request. A longer one is more likely a mistake, or its clock is
/// wrong.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The pause from `now` on that the header requests; `None` if the text is neither a number of
/// seconds nor a date. A date in the past gives a pause of zero.
pub(super) fn parse(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let pause = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // A number that does not fit into 64 bits is still a valid one, and above the longest
        // pause.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        until.duration_since(now).unwrap_or_default()
    };
    Some(pause.min(PAUSE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_and_dates_are_understood_and_bounded() {
        // Sun, 06 Nov 1994 08:49:37 GMT
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (text, seconds) in [
            ("2", Some(2)),
            (" 120 ", Some(120)),
            ("0", Some(0)),
            ("3600", Some(300)),
            ("99999999999999999999999", Some(300)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sunday, 06-Nov-94 08:49:47 GMT", Some(10)),
            ("Sun Nov  6 08:49:38 1994", Some(1)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("Sun, 06 Nov 2044 08:49:00 GMT", Some(300)),
            ("", None),
            ("soon", None),
            ("-1", None),
            ("1.5", None),
        ] {
            assert_eq!(parse(text, now).map(|pause| pause.as_secs()), seconds, "{text}");
        }
    }
}
