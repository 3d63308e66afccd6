//! The words with which servers of time series refuse content.
//!
//! Statuses mislead: InfluxDB 2 reports points beyond a retention policy with 500, older versions
//! of InfluxDB Cloud a partial write with 201, and Thanos samples out of order with 409. A server
//! that says such words has read the data, and will refuse it again.

/// Parts of the texts of servers, in lower case. Each is specific enough to be in no message about
/// the server itself: "out of bounds" alone could be a programming error.
const PHRASES: [&str; 27] = [
    // Servers of line protocol. With the quote that begins a line: a gateway is "unable to parse"
    // the reply of its upstream server.
    "unable to parse '",
    "field type conflict",
    "invalid column type",
    "schema conflict",
    "beyond retention policy",
    "outside retention policy",
    "time outside range",
    "invalid field format",
    "missing fields",
    "invalid line protocol",
    "parsing failed for write",
    "max-series-per-database",
    "max-values-per-tag",
    "max key length",
    // Servers of remote write.
    "out of order sample",
    "out-of-order sample",
    "sample out of order",
    "duplicate sample",
    "duplicate timestamp",
    "timestamp is too old",
    "too old sample",
    "too far in the future",
    "received a series",
    "received series",
    "invalid label",
    "invalid metric name",
    "label value too long",
];

/// Whether a server's text is about the content of a request.
#[must_use]
pub fn is_about_content(reason: &str) -> bool {
    let reason = reason.to_lowercase();
    let is_partial = reason.contains("partial write") && dropped(&reason).is_some_and(|n| n > 0);
    is_partial || PHRASES.iter().any(|phrase| reason.contains(phrase))
}

/// The number in the last `dropped=N` of a text.
#[must_use]
pub fn dropped(reason: &str) -> Option<usize> {
    let (_, count) = reason.rsplit_once("dropped=")?;
    let digits = count.bytes().take_while(u8::is_ascii_digit).count();
    // A number that does not fit is still a large one.
    (digits > 0).then(|| count[..digits].parse().unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_about_content_are_told_from_words_about_the_server() {
        for (reason, is_content) in [
            ("partial write: points beyond retention policy dropped=1", true),
            ("partial write: something new dropped=2", true),
            ("write failed: Field type conflict: input field \"v\"", true),
            ("unable to parse 'x': missing fields", true),
            ("dropped 5 points outside retention policy of duration 1h", true),
            ("store locally for endpoint a: add 1 samples: out of order sample", true),
            ("the sample has been rejected because its timestamp is too far in the future", true),
            // A cluster that lacks a node says this too.
            ("partial write", false),
            ("partial write: something dropped=0", false),
            ("timeout", false),
            ("unable to parse response from upstream", false),
            ("no space left on device", false),
            ("index out of bounds: the len is 3", false),
            ("panic: parsing failed", false),
            ("at least 2 live replicas required, could only find 1", false),
            ("hinted handoff queue not empty", false),
            ("", false),
        ] {
            assert_eq!(is_about_content(reason), is_content, "{reason}");
        }
    }

    #[test]
    fn the_last_count_of_dropped_points_is_found() {
        for (reason, count) in [
            ("dropped=3", Some(3)),
            ("dropped 550 points: dropped=550 for database: x", Some(550)),
            ("dropped=18446744073709551616", Some(usize::MAX)),
            ("dropped=-1", None),
            ("dropped=", None),
            ("", None),
        ] {
            assert_eq!(dropped(reason), count, "{reason}");
        }
    }
}
