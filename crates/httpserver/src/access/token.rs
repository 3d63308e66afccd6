//! Bearer tokens.

use basics::text::{Secret, TextVisitor};
use serde::Deserialize;
use serde::de::Deserializer;

/// Minimum length: shorter ones can be guessed.
const LENGTH_MIN: usize = 16;
/// Maximum length, far below the length of a request's head.
const LENGTH_MAX: usize = 4096;

/// A token of clients. No log line and no error shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessToken(Secret);

impl AccessToken {
    /// Checks a token.
    ///
    /// # Errors
    /// When it is shorter than 16 or longer than 4,096 characters, or has a character that the header
    /// cannot contain (RFC 6750).
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_token_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
        if !(LENGTH_MIN..=LENGTH_MAX).contains(&text.len()) {
            return Err(format!(
                "a token has {LENGTH_MIN} to {LENGTH_MAX} characters; `openssl rand -hex 32` makes one"
            ));
        }
        if !text.bytes().all(is_token_byte) {
            let words =
                "a token has letters, digits and `-._~+/=`; `openssl rand -hex 32` makes one";
            return Err(words.to_owned());
        }
        Ok(Self(Secret::new(text)))
    }

    /// The text, for the code that sends or compares it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        self.0.reveal()
    }
}

impl<'de> Deserialize<'de> for AccessToken {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor::new("a token", Self::parse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_that_a_header_can_carry_and_nobody_guesses_is_accepted() {
        let token = AccessToken::parse("0123456789abcdef").unwrap();
        assert_eq!(
            (token.reveal(), format!("{token:?}").contains("0123")),
            ("0123456789abcdef", false)
        );
        for wrong in ["", "short", "with a blank in it", "0123456789abcdef\n", "0123456789abcdeé"]
        {
            let words = AccessToken::parse(wrong).unwrap_err();
            assert!(words.contains("openssl rand"), "{words}");
        }
        assert!(AccessToken::parse(&"x".repeat(LENGTH_MAX + 1)).is_err());
    }
}
