//! Recognises the names of secrets.

/// Endings of the keys of secrets, in any case.
const SECRET_ENDINGS: [&str; 5] = ["apikey", "password", "token", "secret", "_seed"];
/// Properties of librdkafka that are or may contain a secret.
const SECRET_PROPERTIES: [&str; 12] = [
    "ssl.key.pem",
    "ssl.key.location",
    "ssl.ca.pem",
    "https.ca.pem",
    "ssl.certificate.pem",
    "sasl.username",
    "sasl.kerberos.kinit.cmd",
    "sasl.oauthbearer.config",
    "sasl.oauthbearer.assertion.private.key.file",
    "sasl.oauthbearer.assertion.private.key.pem",
    "sasl.oauthbearer.assertion.private.key.passphrase",
    "sasl.oauthbearer.assertion.jwt.template.file",
];
/// A section of which every value may be a secret: HTTP headers.
const SECRET_SECTION: &str = "headers";
/// Sections with the passwords of users, or their hashes. A list of this name has names.
const PASSWORD_SECTIONS: [&str; 2] = ["users", "basic_auth_users"];
/// The mark of a private key in PEM.
const PEM_KEY: &str = "PRIVATE KEY-----";
/// Maximum number of typing mistakes in such an ending: the line of an unknown key is shown, and
/// its value may have been meant as a secret.
const MISTAKES_MAX: usize = 2;

/// Returns whether the value of this key is a secret, even if the name has a typing mistake.
pub(crate) fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let word = key.rsplit(['_', '-', '.']).next().unwrap_or_default();
    let is_like = |property: &&str| is_almost(&key, property, MISTAKES_MAX);
    key == SECRET_SECTION
        || (key.contains('.') && SECRET_PROPERTIES.iter().any(is_like))
        || SECRET_ENDINGS.iter().any(|ending| {
            // In a short word, two mistakes make a different word.
            let mistakes = MISTAKES_MAX.min(ending.len() / 4);
            key.ends_with(ending) || is_almost(word, ending, mistakes)
        })
}

/// Returns whether `word` is `other` with at most so many typing mistakes.
fn is_almost(word: &str, other: &str, mistakes: usize) -> bool {
    // Most words have another length, and the distance takes far longer to compute.
    word.chars().count().abs_diff(other.chars().count()) <= mistakes
        && strsim::osa_distance(word, other) <= mistakes
}

/// Returns whether each value of a section of this name is a secret.
pub(crate) fn is_password_section(key: &str) -> bool {
    PASSWORD_SECTIONS.contains(&key)
}

/// Returns whether a value looks like `apikey:0123`, without the space, or `apikey 0123`, without
/// the colon, or contains a private key.
pub(crate) fn looks_like_a_secret_line(text: &str) -> bool {
    credentials(text).is_some()
        || text.contains(PEM_KEY)
        || secret_words(text).any(|(start, end)| {
            let after = text[end..].trim_start_matches(['"', '\'', ' ', '\t']);
            after.starts_with([':', '=']) || (text[..start].trim().is_empty() && !after.is_empty())
        })
}

/// Returns where the credentials of an address begin: `user:password@` before its host, or the
/// parameters of a URL. Each vendor has its own names for a parameter with a secret, such as `p`,
/// `X-License-Key` or `sig`, so all of them count.
pub(crate) fn credentials(text: &str) -> Option<usize> {
    let word = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | ',' | '{' | '}' | '/');
    let user = text.match_indices('@').find_map(|(at, _)| {
        let before = text[..at].char_indices().rev().find(|(_, c)| word(*c));
        let start = before.map_or(0, |(end, c)| end + c.len_utf8());
        text[start..at].contains(':').then_some(start)
    });
    let parameters = || {
        let url = text.find("://")?;
        let start = url + text[url..].find('?')?;
        text[start..].contains('=').then_some(start)
    };
    user.into_iter().chain(parameters()).min()
}

/// Iterates over the byte ranges of words that are named like the key of a secret.
pub(crate) fn secret_words(line: &str) -> impl Iterator<Item = (usize, usize)> {
    words(line).filter(|&(start, end)| is_secret_key(&line[start..end]))
}

/// The same, and those of words that are named like a section of passwords.
pub(crate) fn names_of_secrets(line: &str) -> impl Iterator<Item = (usize, usize)> {
    words(line).filter(|&(start, end)| {
        let word = &line[start..end];
        is_secret_key(word) || is_password_section(word)
    })
}

/// Returns where the mark of a private key in PEM begins.
pub(crate) fn private_key(line: &str) -> Option<usize> {
    line.contains(PEM_KEY).then(|| line.find("-----").unwrap_or(0))
}

fn words(line: &str) -> impl Iterator<Item = (usize, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let mut rest = 0;
    std::iter::from_fn(move || {
        let start = rest + line[rest..].find(is_word)?;
        let end = line[start..].find(|c| !is_word(c)).map_or(line.len(), |width| start + width);
        rest = end;
        Some((start, end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_addresses_are_secrets() {
        for (text, start) in [
            ("http://user:word@host:1/", Some(7)),
            ("url: 'htp://user:word@host'", Some(12)),
            ("user:word@host:2003", Some(0)),
            ("PLAINTEXT://user:word@host:9092, other:9092", Some(12)),
            ("http://host/?db=a&p=word", Some(12)),
            ("https://host/write?X-License-Key=word", Some(18)),
            ("http://host/?sig=word,user:word@host", Some(12)),
            ("http://host/a?b", None),
            ("http://user@host/", None),
            ("http://host/a:b/c@d", None),
            ("host:2003", None),
            ("[fe80::1%eth0]:8125", None),
            ("a: 1, user@host: b", None),
            ("\u{85}@b: ab: ", None),
            ("", None),
        ] {
            assert_eq!(credentials(text), start, "{text}");
        }
    }

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
            "ssl.key.pem",
            "ssl.key.password",
            "ssl.keystore.password",
            "sasl.oauthbearer.config",
            "sasl.oauthbearer.confg",
            "sasl.oauthbearer.client.secret",
            "sasl.oauthbearer.assertion.private.key.passphrase",
            "sasl.kerberos.kinit.cmd",
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
            "ssl.ca.location",
            "linger.ms",
            "example.net",
        ] {
            assert!(!is_secret_key(key), "{key}");
        }
    }
}
