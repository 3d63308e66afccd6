//! Knows the names of secrets.

/// How the name of a secret's key ends, in any case.
const SECRET_ENDINGS: [&str; 4] = ["apikey", "password", "token", "secret"];
/// The most typing mistakes with which a name still counts as one of these: the line of an unknown
/// key is shown, and its value was meant to be a secret.
const MISTAKES_MAX: usize = 2;

/// Whether the value of this key is a secret, also where its name has a typing mistake.
pub(crate) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let word = key.rsplit(['_', '-', '.']).next().unwrap_or_default();
    SECRET_ENDINGS.iter().any(|ending| {
        // In a short word two mistakes make another word.
        let mistakes = MISTAKES_MAX.min(ending.len() / 4);
        key.ends_with(ending) || strsim::osa_distance(word, ending) <= mistakes
    })
}

/// Whether a value looks like `apikey:0123`, where the space is missing, or like `apikey 0123`,
/// where the colon is.
pub(crate) fn looks_like_a_secret_line(text: &str) -> bool {
    secret_words(text).any(|(start, end)| {
        let after = text[end..].trim_start_matches(['"', '\'', ' ', '\t']);
        after.starts_with([':', '=']) || (text[..start].trim().is_empty() && !after.is_empty())
    })
}

/// The byte ranges of words that are named like a secret's key.
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
        ] {
            assert!(is_secret_key(key), "{key}");
        }
        for key in ["kafka_topic", "", "to", "secret_name", "ütoken_", "select", "address", "key"]
        {
            assert!(!is_secret_key(key), "{key}");
        }
    }
}
