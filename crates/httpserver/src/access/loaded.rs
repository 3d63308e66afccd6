//! The access to a server with the content of its files.

use std::collections::BTreeMap;
use std::path::Path;

use hyper::header::{HeaderName, HeaderValue};
use rustls::pki_types::CertificateDer;

use super::config::{AccessConfig, AccessLimits};
use super::error::AccessError;
use super::files::WatchedFiles;
use super::password_hash::{PasswordHash, UserName};
use super::passwords::VerificationPlaces;
use super::rate_limit::RateLimit;
use super::token::AccessToken;
use super::web_config::{WebConfig, WebRateLimit};
use crate::tls::{self, LoadedTls, TlsProblem};

/// The scheme of users, as a challenge.
const BASIC: &str = "Basic realm=\"tallyd\", charset=\"UTF-8\"";
/// The scheme of tokens, as a challenge.
const BEARER: &str = "Bearer realm=\"tallyd\"";

/// The state of the files when they were read. Two versions are equal if no file has changed in between.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessVersion(WatchedFiles);

/// One version of the access to a server.
#[derive(Debug)]
pub struct Access {
    pub(super) config: AccessConfig,
    pub(super) files: WatchedFiles,
    tls: Option<LoadedTls>,
    pub(super) users: BTreeMap<UserName, PasswordHash>,
    /// The hash for users that do not exist.
    pub(super) nobody: PasswordHash,
    pub(super) tokens: Vec<AccessToken>,
    pub(super) places: VerificationPlaces,
    pub(super) rate_limit: Option<RateLimit>,
    /// Headers of each reply, unless the reply has them already.
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Access {
    /// Reads the files of a section. Blocks on the disk.
    ///
    /// # Errors
    /// When two keys contradict each other, or a file cannot be used.
    pub fn load(config: &AccessConfig) -> Result<Self, AccessError> {
        config.check()?;
        let mut files = WatchedFiles::default();
        let (tls, web) = match config.web_config_file() {
            Some(path) => web_config(path, &mut files)?,
            None => {
                let tls = Some(&config.tls).filter(|tls| tls.is_enabled());
                let loaded = tls.map(|tls| {
                    tls.files().for_each(|path| files.add(path));
                    tls::load(tls).map_err(|TlsProblem { key, reason }| AccessError {
                        key: "tls",
                        reason: format!("has an unusable `{key}`: {reason}"),
                    })
                });
                (loaded.transpose()?, WebConfig::default())
            }
        };
        let WebConfig { http_server_config, rate_limit, basic_auth_users, .. } = web;
        let users: BTreeMap<_, _> =
            config.users.clone().into_iter().chain(basic_auth_users).collect();
        Ok(Self {
            files,
            tls,
            nobody: PasswordHash::of_nobody(users.values()),
            users,
            tokens: config.tokens.clone(),
            places: VerificationPlaces::new(&config.limits),
            rate_limit: limit(&rate_limit),
            headers: http_server_config.headers,
            config: config.clone(),
        })
    }

    /// The version of the files.
    #[must_use]
    pub fn version(&self) -> AccessVersion {
        AccessVersion(self.files.clone())
    }

    /// Access for everyone, without TLS.
    #[must_use]
    pub fn open() -> Self {
        let config = AccessConfig::default();
        Self {
            files: WatchedFiles::default(),
            tls: None,
            users: BTreeMap::new(),
            nobody: PasswordHash::of_nobody([].iter()),
            tokens: Vec::new(),
            places: VerificationPlaces::new(&config.limits),
            rate_limit: None,
            headers: Vec::new(),
            config,
        }
    }

    /// Whether a client has to prove who it is.
    #[must_use]
    pub fn is_restricted(&self) -> bool {
        self.needs_credentials() || self.tls.as_ref().is_some_and(LoadedTls::requires_certificates)
    }

    /// Whether the server speaks TLS.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.tls.is_some()
    }

    /// The certificate of the server; `None` for plain HTTP.
    #[must_use]
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.tls.as_ref().map(LoadedTls::certificate)
    }

    /// The settings of the TLS library; `None` for plain HTTP.
    pub(crate) fn tls(&self) -> Option<&LoadedTls> {
        self.tls.as_ref()
    }

    /// The bounds.
    pub(crate) fn limits(&self) -> &AccessLimits {
        &self.config.limits
    }

    /// Headers for replies that lack them.
    pub(crate) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Whether requests need a user or a token.
    pub(super) fn needs_credentials(&self) -> bool {
        !self.users.is_empty() || !self.tokens.is_empty()
    }

    /// Whether both give every client the same access: they have the same keys, except for bounds, and
    /// the same files.
    pub(super) fn has_rules_of(&self, other: &Self) -> bool {
        let AccessConfig { tls, users, tokens, web_config_file, limits: _ } = &self.config;
        let theirs = &other.config;
        self.files == other.files
            && (tls, users) == (&theirs.tls, &theirs.users)
            && (tokens, web_config_file) == (&theirs.tokens, &theirs.web_config_file)
    }

    /// The schemes that a client may use.
    pub(super) fn schemes(&self) -> Vec<&'static str> {
        let basic = (!self.users.is_empty()).then_some(BASIC);
        let bearer = (!self.tokens.is_empty()).then_some(BEARER);
        basic.into_iter().chain(bearer).collect()
    }
}

/// Reads an exporter-toolkit file and the certificates that it names.
fn web_config(
    path: &Path,
    files: &mut WatchedFiles,
) -> Result<(Option<LoadedTls>, WebConfig), AccessError> {
    files.add(path);
    let unusable = |reason: String| AccessError {
        key: "web_config_file",
        reason: format!("is unusable: {reason}"),
    };
    let in_file = |reason: String| unusable(format!("{}: {reason}", path.display()));
    let source = WebConfig::source(path).map_err(|error| in_file(error.to_string()))?;
    // These errors name the file, with their positions.
    let web = WebConfig::read(&source, path).map_err(|errors| unusable(errors.to_string()))?;
    let tls = &web.tls_server_config;
    if !tls.is_enabled() {
        return Ok((None, web));
    }
    tls.files().for_each(|file| files.add(file));
    let loaded = tls.load().map_err(|TlsProblem { key, reason }| {
        in_file(format!("`tls_server_config.{key}`: {reason}"))
    })?;
    Ok((Some(loaded), web))
}

fn limit(config: &WebRateLimit) -> Option<RateLimit> {
    (!config.interval.is_zero()).then(|| RateLimit::new(config.interval, config.burst))
}
