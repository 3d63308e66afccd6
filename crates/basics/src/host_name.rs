//! A name of a host, as a `Host` header has it.

use std::fmt;

use serde::Deserialize;

/// A DNS name, with or without the dot that marks it as complete, and without a scheme or a port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct HostName(String);

impl HostName {
    /// The name as configured.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for HostName {
    type Error = HostNameError;

    fn try_from(text: String) -> Result<Self, HostNameError> {
        let name = text.strip_suffix('.').unwrap_or(&text);
        if name.split('.').all(is_label) { Ok(Self(text)) } else { Err(HostNameError(text)) }
    }
}

/// Whether a text is a part of a name between dots. Names of containers also contain `_`.
#[must_use]
pub fn is_label(text: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    !text.is_empty() && text.bytes().all(is_part)
}

/// A text that no client can send as the name of a host.
#[derive(Debug)]
pub struct HostNameError(String);

impl fmt::Display for HostNameError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.as_str();
        let advice = if text.contains('/') {
            "leave out the scheme and the path"
        } else if text.contains('*') {
            "list each name; there are no wildcards"
        } else if text.contains(':') {
            "leave out the port; addresses are always allowed"
        } else if !text.is_ascii() {
            "write the name as browsers send it, with `xn--`"
        } else {
            "a name has letters, digits, `-` and `_` between dots"
        };
        write!(formatter, "`{text}` is not a name such as `metrics.example.net`: {advice}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_accepted_with_and_without_a_final_dot() {
        for name in
            ["metrics.example.net", "a.b.", "tallyd", "xn--bcher-kva.example", "my_host.lan"]
        {
            assert_eq!(HostName::try_from(name.to_owned()).unwrap().as_str(), name);
        }
    }

    #[test]
    fn a_text_that_no_request_can_match_is_rejected_with_advice() {
        for (text, advice) in [
            ("https://metrics.example.net", "scheme"),
            ("metrics.example.net/status", "path"),
            ("metrics.example.net:9495", "port"),
            ("[::1]", "addresses are always allowed"),
            ("*.example.net", "no wildcards"),
            ("bücher.example", "`xn--`"),
            ("", "letters"),
            (".", "letters"),
            ("a..b", "letters"),
            ("a b", "letters"),
        ] {
            let error = HostName::try_from(text.to_owned()).unwrap_err().to_string();
            assert!(error.contains(advice), "{error}");
        }
    }
}
