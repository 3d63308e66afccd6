//! Names of users, and the bcrypt hashes of their passwords.

use std::fmt;
use std::str::FromStr;

use bcrypt::HashParts;
use serde::Deserialize;
use serde::de::Deserializer;

use basics::text::TextVisitor;

/// Largest cost of a hash: each step doubles the time, and 16 takes several seconds.
const COST_MAX: u32 = 16;
/// Smallest cost that bcrypt has.
const COST_MIN: u32 = 4;
/// Cost of the comparison for an unknown user when there is no user at all.
const COST_DEFAULT: u32 = 10;
/// The version, and the salt and hash of no password, of a comparison that always fails.
const NO_PASSWORD: (&str, &str) = ("2b", "abcdefghijklmnopqrstuuAbcdefghijklmnopqrstuvwxyzABCDe");

/// A bcrypt hash, such as `htpasswd -nBC 10 ""` prints. No log line and no error shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash {
    text: String,
    cost: u32,
}

impl PasswordHash {
    /// Parses a hash.
    ///
    /// # Errors
    /// When the text is not a bcrypt hash, or its cost is above 16.
    pub fn parse(text: &str) -> Result<Self, String> {
        let advice = "such as `htpasswd -nBC 10 \"\" | tr -d ':\\n'` prints";
        let version = text.get(..4).unwrap_or_default();
        // `$2x$` marks the hashes of an implementation with a bug, which no library repeats.
        let is_known = ["$2a$", "$2b$", "$2y$"].contains(&version);
        let parts = HashParts::from_str(text).ok().filter(|_| is_known);
        let parts = parts.ok_or_else(|| format!("must be a bcrypt hash, {advice}"))?;
        let cost = parts.get_cost();
        if (COST_MIN..=COST_MAX).contains(&cost) {
            return Ok(Self { text: text.to_owned(), cost });
        }
        Err(format!(
            "must be a bcrypt hash with a cost between {COST_MIN} and {COST_MAX}, {advice}, not with \
             {cost}: each step doubles the time of a login"
        ))
    }

    /// A hash that no password has, whose comparison takes as long as that of the most expensive of
    /// `hashes`: so the time of a reply does not show whether a user exists.
    pub(crate) fn of_nobody<'a>(hashes: impl Iterator<Item = &'a Self>) -> Self {
        let cost = hashes.map(|hash| hash.cost).max().unwrap_or(COST_DEFAULT);
        let (version, rest) = NO_PASSWORD;
        Self { text: format!("${version}${cost:02}${rest}"), cost }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether this is the hash of `password`. Takes between milliseconds and seconds of CPU time.
    pub(crate) fn is_of(&self, password: &[u8]) -> bool {
        // The text was parsed, so the library finds no error in it.
        bcrypt::verify(password, &self.text).unwrap_or(false)
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl<'de> Deserialize<'de> for PasswordHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor::new("a bcrypt hash", Self::parse))
    }
}

/// The name of a user, as HTTP's basic authentication can send it: without a colon.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct UserName(String);

impl UserName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UserName {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() || text.contains(':') || text.contains(char::is_control) {
            return Err(
                "the name of a user has no colon and no control character, and is not empty",
            );
        }
        Ok(Self(text))
    }
}

impl std::borrow::Borrow<str> for UserName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes of `tallyd` by the versions of bcrypt that tools write.
    fn hash(version: &str) -> String {
        let hash = bcrypt::hash_with_salt("tallyd", 4, [7; 16]).unwrap();
        hash.to_string().replace("$2b$", &format!("${version}$"))
    }

    #[test]
    fn hashes_of_every_version_are_verified() {
        for version in ["2a", "2b", "2y"] {
            let hash = PasswordHash::parse(&hash(version)).unwrap();
            assert!(hash.is_of(b"tallyd") && !hash.is_of(b"tallyD") && !hash.is_of(b""));
            assert_eq!(format!("{hash:?}"), "***");
        }
    }

    #[test]
    fn a_text_that_is_no_usable_hash_is_rejected_without_showing_it() {
        let expensive = hash("2b").replace("$04$", "$17$");
        for wrong in ["", "hunter2", &hash("2x"), &hash("2b")[..59], "$1$salt$abcdef", &expensive] {
            let words = PasswordHash::parse(wrong).unwrap_err();
            assert!(words.contains("bcrypt hash") && (wrong.is_empty() || !words.contains(wrong)));
        }
    }

    #[test]
    fn an_unknown_user_costs_as_much_as_the_most_expensive_one() {
        let hashes = [4, 6, 5].map(|cost| {
            let text = bcrypt::hash_with_salt("a", cost, [1; 16]).unwrap().to_string();
            PasswordHash::parse(&text).unwrap()
        });
        let nobody = PasswordHash::of_nobody(hashes.iter());
        assert_eq!(nobody.cost, 6);
        assert_eq!(PasswordHash::parse(nobody.as_str()).as_ref(), Ok(&nobody));
        assert_eq!(PasswordHash::of_nobody([].iter()).cost, COST_DEFAULT);
    }

    #[test]
    fn a_name_with_a_colon_is_rejected() {
        for wrong in ["", "a:b", "a\nb"] {
            assert!(UserName::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
        assert_eq!(UserName::try_from("jürgen k".to_owned()).unwrap().as_str(), "jürgen k");
    }
}
