//! Recognises the names of secrets.

/// Endings of the keys of secrets, in any case.
const SECRET_ENDINGS: [&str; 5] = ["apikey", "password", "token", "secret", "_seed"];
/// Maximum number of typing mistakes in such an ending: the line of an unknown key is shown, and
/// its value may have been meant as a secret.
const MISTAKES_MAX: usize = 2;

/// Returns whether the value of this key is a secret, even if the name has a typing mistake.
pub(crate) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let word = key.rsplit(['_', '-', '.']).next().unwrap_or_default();
    SECRET_ENDINGS.iter().any(|ending| {
        // In a short word, two mistakes make a different word.
        let mistakes = MISTAKES_MAX.min(ending.len() / 4);
        key.ends_with(ending) || strsim::osa_distance(word, ending) <= mistakes
    })
}

/// Returns whether a value looks like `apikey:0123`, without the space, or `apikey 0123`, without
/// the colon.
pub(crate) fn looks_like_a_secret_line(text: &str) -> bool {
    secret_words(text).any(|(start, end)| {
        let after = text[end..].trim_start_matches(['"', '\'', ' ', '\t']);
        after.starts_with([':', '=']) || (text[..start].trim().is_empty() && !after.is_empty())
    })
}

/// Iterates over the byte ranges of words that are named like the key of a secret.
pub(crate) fn secret_words(line: &str) -> impl Iterator<Item = (usize, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + line[rest..].find(is_word)?;
        let end = line[start..].find(|c| !is_word(c)).map_or(line.len(), |width| start + width);
        rest = end;
        Some((start, end))
    })
    .filter(|&(start, end)| is_secret_key(&line[start..end]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_secret_by_their_ending_in_any_case() {
        for key in [
            "token",
            "kafka_apikey",
            "API_TOKEN",
            "dbPassword",
            "client-secret",
            "pasword",
            "passwd",
            "kafka_apikye",
            "tokn",
            "set_seed",
        ] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in [
            "kafka_topic",
            "",
            "to",
            "secret_name",
            "ütoken_",
            "select",
            "address",
            "key",
            "data_feed",
        ] {
            assert!(!is_secret_key(key), "{key}");
        }
    }
}
