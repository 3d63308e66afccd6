//! The address of an HTTP server.

use std::fmt::{self, Write};
use std::net::IpAddr;

use httpclient::reqwest::Url;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::{Deserialize, Deserializer};

use basics::text::TextVisitor;

/// The characters that are escaped in a parameter of a URL: all except the unreserved ones of RFC
/// 3986.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// Longest URL that the client sends, in bytes.
const URL_BYTES_MAX: usize = (64 << 10) - 2;
const WRONG: &str = "must be a URL such as http://127.0.0.1:8086 or https://metrics.example.net";

/// An `http://` or `https://` URL without credentials. It may have a path and parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    url: Url,
    /// The URL as the operator wrote it, without `/` at its end.
    text: String,
}

impl HttpUrl {
    /// Parses `http://host[:port][/path]`, or the same with `https`.
    ///
    /// # Errors
    /// When the text is not such a URL. The message says which form is allowed and does not repeat
    /// the text, which may contain credentials.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let url = Url::parse(text).map_err(|_| WRONG.to_owned())?;
        // The parser repairs text that is not a URL: spaces, `\` for `/`, missing slashes. Such
        // text is more likely a mistake, so it is rejected.
        let authority = authority(text).filter(|_| text.bytes().all(is_url_byte));
        let Some(authority) = authority else { return Err(WRONG.to_owned()) };
        if authority.contains('@') {
            return Err("must not contain credentials: set them with separate keys".to_owned());
        }
        // The parser also accepts an empty port, which is probably an unfinished one.
        let is_http = matches!(url.scheme(), "http" | "https");
        if !is_http || authority.ends_with(':') || url.port() == Some(0) {
            return Err(WRONG.to_owned());
        }
        if url.fragment().is_some() {
            return Err("must hold no `#`".to_owned());
        }
        Ok(Self { text: text.trim_end_matches('/').to_owned(), url })
    }

    /// Whether requests are encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    /// Whether the server is on this host, so that requests do not cross a network. False for names
    /// other than `localhost`, because names are not resolved.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.url.host_str().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// The host name and the port; `None` for an address, which needs no look-up.
    pub(super) fn domain(&self) -> Option<(&str, u16)> {
        Some((self.url.domain()?, self.url.port_or_known_default()?))
    }

    /// Whether the URL has parameters.
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.url.query().is_some()
    }

    /// The parsed URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Appends a path and parameters to this URL. The values of parameters may contain any text.
    ///
    /// # Errors
    /// When the URL would be longer than the client can send (64 KiB).
    pub fn below(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Url, String> {
        let mut text = format!("{}{path}", self.text);
        let mut separator = '?';
        for (key, value) in parameters {
            // Writing to a string cannot fail.
            let written = write!(text, "{separator}{key}={}", utf8_percent_encode(value, ESCAPED));
            debug_assert!(written.is_ok());
            separator = '&';
        }
        let url = Url::parse(&text).ok().filter(|url| url.as_str().len() <= URL_BYTES_MAX);
        url.ok_or_else(|| "its parameters make the URL too long".to_owned())
    }
}

/// Scheme, host and port of a URL, for messages: parameters may contain secrets.
pub(super) fn origin(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.authority())
}

/// The text between `://` and the path; `None` if it is empty or there is no `://`.
fn authority(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("://")?;
    rest.split(['/', '?', '#']).next().filter(|authority| !authority.is_empty())
}

/// Whether a URL may contain the byte unescaped (RFC 3986).
fn is_url_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte)
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl fmt::Debug for HttpUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "HttpUrl({})", self.text)
    }
}

impl<'de> Deserialize<'de> for HttpUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor::new("an http:// or https:// URL", Self::parse))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_servers_are_accepted_and_others_are_refused() {
        for good in [
            "http://127.0.0.1:8086",
            "https://metrics.example.net/",
            "http://[::1]:8086/influx",
            "HTTP://eu:8086",
        ] {
            assert!(HttpUrl::parse(good).is_ok(), "{good}");
        }
        for wrong in [
            "",
            "eu:8086",
            "127.0.0.1",
            "ftp://eu",
            "http://",
            "http://eu:0",
            "http://eu:99999",
            "http://eu:x",
            "http://a b",
            "http:eu",
            "http:///eu",
            "http:\\\\eu",
            "http://eu:",
            "http://é",
            "http://a{b",
            "udp://eu:8089",
            "http://eu/#x",
        ] {
            assert!(HttpUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        let error = HttpUrl::parse("http://joe:canary@eu:8086").unwrap_err();
        assert!(error.contains("not contain credentials") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn a_url_below_keeps_the_path_and_escapes_the_parameters() {
        let url = HttpUrl::parse("http://eu:8086/influx/").unwrap();
        let below = url.below("/write", &[("db", "a b&c=ä"), ("precision", "s")]).unwrap();
        assert_eq!(below.as_str(), "http://eu:8086/influx/write?db=a%20b%26c%3D%C3%A4&precision=s");
        assert!(url.below("/write", &[("db", &"x".repeat(70_000))]).is_err());
    }

    #[test]
    fn loopback_addresses_are_recognized() {
        for (url, here) in [
            ("http://localhost", true),
            ("http://127.0.0.2:1", true),
            ("http://[::1]:1", true),
            ("http://10.0.0.1", false),
            ("http://localhost.example.net", false),
        ] {
            assert_eq!(HttpUrl::parse(url).unwrap().is_loopback(), here, "{url}");
        }
    }
}
