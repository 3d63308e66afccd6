//! The file format of Prometheus' exporter-toolkit (`--web.config.file`).
//!
//! It is read as the toolkit reads it, and unlike tallyd's own file without `${…}`. A setting that
//! cannot have its effect here is an error at its key.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::{Deserializer, Error};
use yaml::{ConfigErrors, Source};

use super::password_hash::{PasswordHash, UserName};
use crate::tls::web::WebTls;

/// The headers that the toolkit can add, each with its possible values; none for any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
    ("Content-Security-Policy", &[]),
];

/// The content of a file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebConfig {
    pub(super) tls_server_config: WebTls,
    pub(super) http_server_config: WebHttp,
    pub(super) rate_limit: WebRateLimit,
    pub(super) basic_auth_users: BTreeMap<UserName, PasswordHash>,
}

/// `http_server_config`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebHttp {
    /// The server speaks HTTP/1.1 only. Every client of HTTP/2 also speaks it, so that this key needs no
    /// effect.
    http2: bool,
    #[serde(deserialize_with = "headers")]
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

impl Default for WebHttp {
    fn default() -> Self {
        Self { http2: true, headers: Vec::new() }
    }
}

/// `rate_limit`; none with an `interval` of zero.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WebRateLimit {
    #[serde(deserialize_with = "duration")]
    pub(super) interval: Duration,
    pub(super) burst: u32,
}

impl WebConfig {
    /// The text of a file.
    ///
    /// # Errors
    /// That of the system.
    pub(super) fn source(path: &Path) -> io::Result<Source> {
        Source::read(path).map(Source::all_literal)
    }

    /// Reads the text of the file at `path`.
    ///
    /// # Errors
    /// Every error in it, with its position.
    pub(super) fn read(source: &Source, path: &Path) -> Result<Self, ConfigErrors> {
        let config: Self = yaml::parse(source, &|_| None)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        Ok(Self { tls_server_config: config.tls_server_config.below(folder), ..config })
    }
}

fn headers<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<(HeaderName, HeaderValue)>, D::Error> {
    let all = BTreeMap::<String, String>::deserialize(deserializer)?;
    let set = all.into_iter().filter(|(_, value)| !value.is_empty());
    set.map(|(name, value)| header(&name, &value).map_err(D::Error::custom)).collect()
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let known = HEADERS.iter().find(|(known, _)| *known == name);
    let (_, values) = known.ok_or_else(|| {
        let names = HEADERS.map(|(name, _)| name).join(", ");
        format!("the header `{name}` cannot be configured: use {names}")
    })?;
    if !values.is_empty() && !values.contains(&value) {
        return Err(format!("`{name}` is {}", values.join(" or ")));
    }
    let value = HeaderValue::from_str(value);
    let value =
        value.map_err(|_| format!("`{name}` has a character that a header cannot contain"))?;
    let name = HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
    Ok((name, value))
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    go_duration(&text).ok_or_else(|| {
        D::Error::custom("must be a duration with a unit, such as 1s, 100ms or 1m30s, or 0")
    })
}

/// Parses a duration as Go does: numbers with units, or just 0.
fn go_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut seconds) = (text, 0.0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(end);
        let end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * unit;
        rest = after;
    }
    (!text.is_empty()).then(|| Duration::try_from_secs_f64(seconds).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<WebConfig, String> {
        let source = Source::new("/etc/web.yml", text).all_literal();
        let read = WebConfig::read(&source, Path::new("/etc/web.yml"));
        read.map_err(|errors| errors.to_string())
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, ms) in
            [("0", 0), ("1s", 1_000), ("1m30s", 90_000), ("1.5h", 5_400_000), ("20ms", 20)]
        {
            assert_eq!(go_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for wrong in ["", "1", "s", "1d", "-1s", "1s2", "1..s"] {
            assert_eq!(go_duration(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_key_of_the_toolkit_is_read() {
        let config = read(
            "tls_server_config:\n  cert_file: server.crt\n  key_file: /etc/server.key\n  \
             client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  \
             client_allowed_sans: [a.example]\n  min_version: TLS13\n  max_version: TLS13\n  \
             cipher_suites: [TLS_AES_128_GCM_SHA256]\n  prefer_server_cipher_suites: false\n  \
             curve_preferences: [X25519]\nhttp_server_config:\n  http2: false\n  headers:\n    \
             X-Frame-Options: deny\n    Content-Security-Policy: ''\nbasic_auth_users:\n  \
             alice: $2y$10$mDwo.lAisC94iLAyP81MCesa29IzH37oigHC/42V2pdJlUprsJPze\nrate_limit:\n  \
             interval: 1s\n  burst: 20\n",
        );
        let config = config.unwrap();
        let tls = &config.tls_server_config;
        let files: Vec<_> = tls.files().collect();
        assert!(tls.is_enabled());
        assert_eq!(files, ["/etc/server.crt", "/etc/server.key", "/etc/ca.crt"].map(Path::new));
        assert_eq!(config.http_server_config.headers.len(), 1);
        assert_eq!(config.basic_auth_users.len(), 1);
        assert_eq!(
            (config.rate_limit.interval, config.rate_limit.burst),
            (Duration::from_secs(1), 20)
        );
        let empty = read("").unwrap();
        assert!(!empty.tls_server_config.is_enabled() && empty.basic_auth_users.is_empty());
    }

    #[test]
    fn an_error_names_its_key_and_no_secret() {
        for (text, words) in [
            ("tls_server_confg: {}\n", "tls_server_config"),
            ("tls_server_config: {client_auth_type: Never}\n", "client_auth_type"),
            (
                "tls_server_config: {cipher_suites: [TLS_RSA_WITH_AES_128_CBC_SHA]}\n",
                "cipher_suites",
            ),
            ("tls_server_config: {curve_preferences: [CurveP521]}\n", "curve_preferences"),
            ("tls_server_config: {min_version: TLS10}\n", "min_version"),
            ("http_server_config: {headers: {Server: x}}\n", "headers"),
            ("http_server_config: {headers: {X-Frame-Options: allow}}\n", "headers"),
            ("basic_auth_users:\n  alice: hunter2hunter2\n", "alice"),
            ("rate_limit: {interval: 5}\n", "interval"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        }
    }
}
