//! The words with which servers report that they have temporary trouble.
//!
//! Statuses mislead here too: clients of InfluxDB see a full cache as 400, and gateways pass on
//! the error of another server with a status of their choice.

/// Parts of the texts of servers that lack a resource, in lower case. The same request succeeds when
/// the server has it again.
const SHORTAGES: [&str; 25] = [
    // Servers of line protocol.
    "cache-max-memory-size",
    "cache maximum memory size",
    "hit max memory",
    "engine is closed",
    "shard is disabled",
    "snapshot in progress",
    "exceed max connections",
    // Servers of remote write, and servers of both protocols.
    "too many requests",
    "too many inflight",
    "too many outstanding",
    "cannot handle more than",
    "rate limit",
    "queue is full",
    "shutting down",
    "temporarily unavailable",
    "code = unavailable",
    "readonly mode",
    "read-only mode",
    // The operating system of the server.
    "no space left on device",
    "not enough free disk",
    "read-only file system",
    "too many open files",
    "out of memory",
    "cannot allocate memory",
    "connection refused",
];

/// Parts of texts about timeouts. A smaller request may take less time.
const TIMEOUTS: [&str; 4] = ["timeout", "timed out", "deadline exceeded", "context canceled"];

/// Whether a server lacks a resource according to its text.
pub(super) fn is_about_shortage(reason: &str) -> bool {
    let reason = without_quotes(reason);
    SHORTAGES.iter().any(|phrase| reason.contains(phrase))
}

/// Whether a server's text is about a condition that passes.
pub(super) fn is_temporary(reason: &str) -> bool {
    let own = without_quotes(reason);
    SHORTAGES.iter().chain(&TIMEOUTS).any(|phrase| own.contains(phrase))
}

/// The text in lower case without its quoted parts, which repeat names of the request. A quote within
/// a word is an apostrophe.
fn without_quotes(reason: &str) -> String {
    let mut own = String::new();
    let mut rest = reason;
    while let Some(start) = rest.find(['"', '\'', '`']) {
        let (before, quoted) = rest.split_at(start);
        own.push_str(before);
        let quote = &quoted[..1];
        let is_opening = !before.ends_with(char::is_alphanumeric);
        rest = &quoted[1..];
        if is_opening && let Some((_, after)) = rest.split_once(quote) {
            // Keeps the words around it apart.
            own.push(' ');
            rest = after;
        }
    }
    own.push_str(rest);
    own.to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_trouble_is_told_from_content() {
        for (reason, is_short, is_temporary_too) in [
            ("engine: cache-max-memory-size exceeded: (1073831987/1073741824)", true, true),
            ("partial write: engine: cache-max-memory-size exceeded dropped=5", true, true),
            ("write failed for shard 143: engine: cache maximum memory size exceeded", true, true),
            ("engine is closed", true, true),
            ("open /data/wal/1.wal: No space left on device", true, true),
            ("cannot handle more than 8 concurrent inserts during 1m0s", true, true),
            ("the tenant's ingestion rate limit was exceeded", true, true),
            ("rpc error: code = Unavailable desc = closing", true, true),
            ("timeout", false, true),
            ("write failed: read tcp 10.0.0.1:8088: i/o timeout", false, true),
            ("context deadline exceeded", false, true),
            (
                "field type conflict: input field \"v\" on measurement \"read timeout\"",
                false,
                false,
            ),
            ("unable to parse 'x engine is closed': invalid", false, false),
            ("out of order sample: {__name__=\"too many requests\"}", false, false),
            ("max-series-per-database limit exceeded: (50)", false, false),
            ("time outside range", false, false),
            ("", false, false),
        ] {
            assert_eq!(is_about_shortage(reason), is_short, "{reason}");
            assert_eq!(is_temporary(reason), is_temporary_too, "{reason}");
        }
    }

    #[test]
    fn quoted_parts_are_left_out() {
        for (reason, own) in [
            ("a 'b' \"c\" `d` e", "a       e"),
            ("the tenant's limit 'x'", "the tenants limit  "),
            ("an open 'quote", "an open quote"),
            ("'é'", " "),
        ] {
            assert_eq!(without_quotes(reason), own, "{reason}");
        }
    }
}
