//! Masks times, which differ from run to run, in documents and output.

/// Replaces by `TIME` each time such as `2026-01-31T12:00:10.000Z`, with three or six decimals, and
/// each Unix time in seconds, milliseconds or nanoseconds.
pub(crate) fn without_times(text: &str) -> String {
    let mut masked = String::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (shown, length) = match (rfc3339(rest), digits) {
            (Some(length), _) => ("TIME", length),
            (None, 10 | 13 | 19) => ("TIME", digits),
            (None, 0) => (&rest[..first.len_utf8()], first.len_utf8()),
            (None, _) => (&rest[..digits], digits),
        };
        masked.push_str(shown);
        rest = &rest[length..];
    }
    masked
}

/// The length of the time at the beginning of a text.
fn rfc3339(text: &str) -> Option<usize> {
    ["2026-01-31T12:00:10.000Z", "2026-01-31T12:00:10.000000Z"]
        .into_iter()
        .map(str::as_bytes)
        .find_map(|pattern| {
            let begun = text.as_bytes().get(..pattern.len())?;
            let mut pairs = begun.iter().zip(pattern);
            let is_one = pairs.all(|(byte, like)| {
                byte == like || (byte.is_ascii_digit() && like.is_ascii_digit())
            });
            is_one.then_some(pattern.len())
        })
}
