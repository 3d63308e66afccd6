//! The secrets of a listener, and the bounds on the memory for signed datagrams.

use std::fmt;

use basics::bounds::between;
use basics::text::Secret;
use basics::units::Span;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

use super::replay::{ReplayBounds, WINDOW_MAX};

/// Maximum number of secrets: a datagram that none of them has signed costs an HMAC for each.
const SECRETS_MAX: usize = 2;
/// Minimum length of a secret: an attacker who captures a datagram can try short ones offline.
const SECRET_BYTES_MIN: usize = 16;
/// Maximum length of the name of a secret, which is a label of metrics.
const NAME_BYTES_MAX: usize = 64;
/// The name of a secret that the configuration does not name.
const UNNAMED: &str = "default";

/// The secrets of a listener; without any, it takes unsigned datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretKeys(Vec<NamedSecret>);

/// A secret and its name in the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSecret {
    /// The name.
    pub name: String,
    /// The text from which the key is derived.
    pub secret: Secret,
}

impl SecretKeys {
    /// The secrets in the order of the configuration.
    #[must_use]
    pub fn all(&self) -> &[NamedSecret] {
        &self.0
    }

    /// Adds a secret under a name.
    ///
    /// # Errors
    /// When there are too many, or the name or the secret is not allowed: the rule.
    pub fn push(&mut self, name: &str, secret: &str) -> Result<(), String> {
        if self.0.len() >= SECRETS_MAX {
            return Err(format!("at most {SECRETS_MAX} secrets, the old and the new one"));
        }
        let is_label = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_label) {
            return Err(format!(
                "the name of a secret has 1 to {NAME_BYTES_MAX} letters, digits and `_-.`"
            ));
        }
        if secret.len() < SECRET_BYTES_MIN {
            return Err(format!(
                "a secret must have at least {SECRET_BYTES_MIN} bytes, such as those of `openssl rand \
                 -hex 32`"
            ));
        }
        if self.0.iter().any(|other| other.name == name || other.secret.reveal() == secret) {
            return Err("two secrets must differ, and so must their names".to_owned());
        }
        self.0.push(NamedSecret { name: name.to_owned(), secret: Secret::new(secret) });
        Ok(())
    }
}

/// The `secret` key of a listener: a text, or a section with a name for each secret.
///
/// It is checked later: a message about a value while it is read would be hidden, because it could
/// contain the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretSection(Vec<NamedSecret>);

impl SecretSection {
    /// The secrets.
    ///
    /// # Errors
    /// When there is none or there are too many, or a name or a secret is not allowed: the rule.
    pub fn check(&self) -> Result<SecretKeys, String> {
        let mut keys = SecretKeys::default();
        for NamedSecret { name, secret } in &self.0 {
            keys.push(name, secret.reveal())?;
        }
        if keys.0.is_empty() {
            return Err("must contain a secret; omit the key for unsigned datagrams".to_owned());
        }
        Ok(keys)
    }
}

impl<'de> Deserialize<'de> for SecretSection {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // As text: a secret may look like a number.
        deserializer.deserialize_str(SecretsVisitor)
    }
}

struct SecretsVisitor;

impl<'de> Visitor<'de> for SecretsVisitor {
    type Value = SecretSection;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a text, or a section with a name for each secret")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<SecretSection, E> {
        let (name, secret) = (UNNAMED.to_owned(), Secret::new(text));
        Ok(SecretSection(vec![NamedSecret { name, secret }]))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretSection, A::Error> {
        let mut secrets = Vec::new();
        while let Some((name, secret)) = map.next_entry()? {
            secrets.push(NamedSecret { name, secret });
        }
        Ok(SecretSection(secrets))
    }
}

/// The `signatures` section: bounds for listeners with a `secret`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignatureConfig {
    /// Maximum difference between the time in a signed datagram and the clock of this host, in either
    /// direction. A longer window tolerates larger differences between clocks, at the cost of memory: a
    /// datagram is remembered for up to twice as long, so that it is not accepted again. 1s to 10m.
    /// Defaults to `30s`.
    #[serde(deserialize_with = "window")]
    pub window: Span,
    /// Maximum number of datagrams of a secret that are remembered, each in about 20 bytes. Beyond it the
    /// window becomes shorter, which is counted: the oldest second is forgotten, and further datagrams of
    /// it are rejected. 1000 to 100000000. Defaults to `1000000`.
    #[serde(deserialize_with = "max_datagrams")]
    pub max_datagrams: usize,
    /// Maximum number of senders, by address and port, for which each listening socket remembers the latest
    /// datagram numbers, to count lost and reordered datagrams; each sender takes about 100 bytes. Beyond it
    /// the least recent senders are forgotten, which is counted. 2 to 1000000. Defaults to `10000`.
    #[serde(deserialize_with = "max_senders")]
    pub max_senders: usize,
}

impl Default for SignatureConfig {
    fn default() -> Self {
        Self { window: Span::from_secs(30), max_datagrams: 1_000_000, max_senders: 10_000 }
    }
}

impl SignatureConfig {
    /// The window in whole seconds, like the times of signatures: a part of a second counts as one.
    #[must_use]
    pub fn window_seconds(&self) -> u64 {
        self.window.get().as_secs_f64().ceil() as u64
    }

    /// The bounds of a replay window.
    pub(super) fn replay_bounds(&self) -> ReplayBounds {
        ReplayBounds { seconds: self.window_seconds(), datagrams: self.max_datagrams }
    }
}

fn window<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    between(deserializer, Span::from_secs(1)..=WINDOW_MAX)
}

fn max_datagrams<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    between(deserializer, 1_000..=100_000_000)
}

fn max_senders<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    between(deserializer, 2..=1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(secret: &str) -> Result<Vec<(String, String)>, String> {
        #[derive(Deserialize)]
        struct File {
            secret: SecretSection,
        }
        let source = yaml::Source::new("f", format!("secret: {secret}\n"));
        let file: Result<File, _> = yaml::parse(&source, &|_| None);
        let keys = file.map_err(|errors| errors.to_string())?.secret.check()?;
        let shown = |key: &NamedSecret| (key.name.clone(), key.secret.reveal().to_owned());
        Ok(keys.all().iter().map(shown).collect())
    }

    #[test]
    fn a_secret_is_a_text_or_two_with_names() {
        let named = |name: &str, secret: &str| (name.to_owned(), secret.to_owned());
        let (one, two) = ("0123456789012345", "fedcba9876543210");
        assert_eq!(read(one), Ok(vec![named("default", one)]));
        let both = format!("{{ new: {one}, \"2025\": {two} }}");
        assert_eq!(read(&both), Ok(vec![named("new", one), named("2025", two)]));
    }

    #[test]
    fn secrets_that_are_short_equal_or_too_many_are_refused() {
        let (one, two, three) = ("0123456789abcdef", "fedcba9876543210", "a third secret..");
        for (secret, words) in [
            ("0123456789abcde".to_owned(), "at least 16 bytes"),
            ("5".to_owned(), "at least 16 bytes"),
            (format!("{{ a: {one}, b: {one} }}"), "must differ"),
            (format!("{{ a: {one}, b: {two}, c: {three} }}"), "at most 2 secrets"),
            (format!("{{ a b: {one} }}"), "letters, digits"),
            (format!("{{ \"\": {one} }}"), "letters, digits"),
            ("{}".to_owned(), "must contain a secret"),
            (format!("[{one}]"), "must be a text, or a section"),
        ] {
            let error = read(&secret).unwrap_err();
            assert!(error.contains(words), "{secret}: {error}");
            assert!(!error.contains("0123456789abcde"), "{error}");
        }
    }

    #[test]
    fn the_name_of_a_secret_has_at_most_64_bytes() {
        let push = |name: &str| SecretKeys::default().push(name, "0123456789abcdef");
        assert_eq!(push(&"a".repeat(64)), Ok(()));
        assert_eq!(push("2025-11_new.key"), Ok(()));
        assert!(push(&"a".repeat(65)).unwrap_err().contains("1 to 64"));
    }

    #[test]
    fn two_secrets_have_different_names() {
        let mut keys = SecretKeys::default();
        assert_eq!(keys.push("a", "0123456789abcdef"), Ok(()));
        assert!(keys.push("a", "fedcba9876543210").unwrap_err().contains("must differ"));
    }

    #[test]
    fn a_section_takes_bounds_and_refuses_others() {
        let read = |text: &str| -> Result<SignatureConfig, String> {
            let source = yaml::Source::new("f", text);
            yaml::parse(&source, &|_| None).map_err(|errors| errors.to_string())
        };
        let expected =
            SignatureConfig { window: Span::from_secs(1), max_datagrams: 1_000, max_senders: 2 };
        let text = "window: 1s\nmax_datagrams: 1000\nmax_senders: 2\n";
        assert_eq!(read(text), Ok(expected));
        for text in ["window: 11m\n", "max_datagrams: 999\n", "max_senders: 1\n"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_of_a_second_is_a_second() {
        let window = Span::from_millis(1_500);
        let bounds = SignatureConfig { window, ..SignatureConfig::default() }.replay_bounds();
        assert_eq!(bounds.seconds, 2);
    }
}
