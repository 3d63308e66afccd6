//! Where an HTTP server is.

use std::fmt::{self, Write};
use std::net::IpAddr;

use hyper::Uri;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::{Deserialize, Deserializer};

use basics::text::TextVisitor;

/// What needs no escape in a parameter of a URL (RFC 3986, "unreserved").
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An `http://` or `https://` address, perhaps with a path, without credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct HttpUrl {
    uri: Uri,
    /// As it is written, without a `/` at its end.
    text: String,
}

impl HttpUrl {
    /// Takes `http://host[:port][/path]`, or the same with `https`.
    ///
    /// # Errors
    /// A sentence that says what is allowed. It does not repeat credentials.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let wrong = "must be a URL such as http://127.0.0.1:8086 or https://metrics.example.net";
        let uri: Uri = text.parse().map_err(|_| wrong.to_owned())?;
        let Some(authority) = uri.authority() else { return Err(wrong.to_owned()) };
        if !matches!(uri.scheme_str(), Some("http" | "https")) || authority.host().is_empty() {
            return Err(wrong.to_owned());
        }
        if authority.as_str().contains('@') {
            return Err("must hold no credentials: they have keys of their own".to_owned());
        }
        let has_port = authority.as_str().len() > authority.host().len();
        if has_port && authority.port_u16().is_none_or(|port| port == 0) {
            return Err(wrong.to_owned());
        }
        if text.contains('#') {
            return Err("must hold no `#`".to_owned());
        }
        Ok(Self { text: text.trim_end_matches('/').to_owned(), uri })
    }

    /// Whether what is sent is encrypted.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    /// Whether it is on this host, so that nobody in between can read along.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        let host = self.uri.host().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse().is_ok_and(|address: IpAddr| address.is_loopback())
    }

    /// Whether it has parameters already.
    #[must_use]
    pub fn has_query(&self) -> bool {
        self.uri.query().is_some()
    }

    /// The URL itself, to send to.
    #[must_use]
    pub fn uri(&self) -> &Uri {
        &self.uri
    }

    /// A URL below this one, with parameters, which may hold any text.
    ///
    /// # Errors
    /// When it would be longer than a URL can be (64 KiB).
    pub fn below(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Uri, String> {
        let mut text = format!("{}{path}", self.text);
        let mut separator = '?';
        for (key, value) in parameters {
            // Writing to a string cannot fail.
            let written = write!(text, "{separator}{key}={}", utf8_percent_encode(value, ESCAPED));
            debug_assert!(written.is_ok());
            separator = '&';
        }
        text.parse().map_err(|_| "its parameters make the URL too long".to_owned())
    }
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
    fn urls_of_servers_are_taken_and_others_are_not() {
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
            "udp://eu:8089",
            "http://eu/#x",
        ] {
            assert!(HttpUrl::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn credentials_in_a_url_are_refused_and_not_repeated() {
        let error = HttpUrl::parse("http://joe:canary@eu:8086").unwrap_err();
        assert!(error.contains("no credentials") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn what_lies_below_keeps_the_path_and_escapes_the_parameters() {
        let url = HttpUrl::parse("http://eu:8086/influx/").unwrap();
        let uri = url.below("/write", &[("db", "a b&c=ä"), ("precision", "s")]).unwrap();
        assert_eq!(uri, "http://eu:8086/influx/write?db=a%20b%26c%3D%C3%A4&precision=s");
        assert!(url.below("/write", &[("db", &"x".repeat(70_000))]).is_err());
    }

    #[test]
    fn it_knows_this_host() {
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
