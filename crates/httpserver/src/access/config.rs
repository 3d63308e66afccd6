//! The keys that every server has.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use basics::bounds::between;
use basics::units::Span;
use serde::Deserialize;
use serde::de::Deserializer;

use super::error::AccessError;
use super::password_hash::{PasswordHash, UserName};
use super::token::AccessToken;
use crate::tls::ServerTls;

/// Largest `max_verifications`.
const VERIFICATIONS_MAX: u32 = 16;
/// Largest `max_waiting`.
const WAITING_MAX: u32 = 1024;
/// Largest `max_handshakes`.
const HANDSHAKES_MAX: u32 = 65_536;

/// The keys of a section about access to its server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessConfig {
    /// The certificate of the server.
    pub tls: ServerTls,
    /// The users with the hashes of their passwords.
    pub users: BTreeMap<UserName, PasswordHash>,
    /// The tokens of clients.
    pub tokens: Vec<AccessToken>,
    /// A file in the format of Prometheus' exporter-toolkit, instead of `tls` and `users`; `""` for
    /// none.
    pub web_config_file: PathBuf,
    /// The bounds.
    pub limits: AccessLimits,
}

impl AccessConfig {
    /// Whether the section restricts nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.tls.is_enabled()
            && self.users.is_empty()
            && self.tokens.is_empty()
            && self.web_config_file().is_none()
    }

    /// The file of exporter-toolkit, if there is one.
    pub(super) fn web_config_file(&self) -> Option<&Path> {
        Some(self.web_config_file.as_path()).filter(|path| !path.as_os_str().is_empty())
    }

    /// A key that the section has.
    #[must_use]
    pub fn first_key(&self) -> &'static str {
        if self.tls.is_enabled() {
            "tls"
        } else if self.web_config_file().is_some() {
            "web_config_file"
        } else if self.users.is_empty() {
            "tokens"
        } else {
            "users"
        }
    }

    /// Checks that the keys fit together, without reading a file.
    ///
    /// # Errors
    /// At the first key that contradicts another one.
    pub fn check(&self) -> Result<(), AccessError> {
        let other = match (self.tls.is_enabled(), self.users.is_empty()) {
            _ if self.web_config_file().is_none() => return Ok(()),
            (true, _) => "tls",
            (false, false) => "users",
            (false, true) => return Ok(()),
        };
        let reason =
            format!("contradicts `{other}`: the file replaces this key, so remove one of them");
        Err(AccessError { key: "web_config_file", reason })
    }
}

/// `access`: bounds on unauthenticated clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessLimits {
    /// Maximum number of passwords that are verified at a time. Each takes a processor for some 50 ms with
    /// a cost of 10, and twice as long with each further step. 1 to 16. Defaults to `1`.
    #[serde(deserialize_with = "verifications")]
    pub max_verifications: u32,
    /// Maximum number of requests that wait for this; further ones are refused with 503 and counted. A
    /// password that was verified before waits for nothing. 0 to 1024. Defaults to `16`.
    #[serde(deserialize_with = "waiting")]
    pub max_waiting: u32,
    /// How long a TLS handshake may take. A longer time suits a slow network. Defaults to `5s`.
    pub handshake_timeout: Span,
    /// Maximum number of TLS handshakes at a time. When all are taken, a new connection replaces the one
    /// whose handshake has lasted longest, which is counted. 1 to 65536. Defaults to `32`.
    #[serde(deserialize_with = "handshakes")]
    pub max_handshakes: u32,
}

impl Default for AccessLimits {
    fn default() -> Self {
        Self {
            max_verifications: 1,
            max_waiting: 16,
            handshake_timeout: Span::from_secs(5),
            max_handshakes: 32,
        }
    }
}

fn verifications<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    between(deserializer, 1..=VERIFICATIONS_MAX)
}

fn waiting<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    between(deserializer, 0..=WAITING_MAX)
}

fn handshakes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    between(deserializer, 1..=HANDSHAKES_MAX)
}
