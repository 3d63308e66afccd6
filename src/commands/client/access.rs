//! How a command proves its identity to the admin endpoint, and recognises the endpoint.
//!
//! Options come first, then the environment. The local configuration is used only for the endpoint
//! that it describes: its token must not reach another host.

use std::env;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use basics::bounded_read::read_bounded;
use basics::text::Secret;
use clap::{Args, ValueHint};
use httpclient::reqwest::header::HeaderValue;
use httpserver::AccessConfig;
use thiserror::Error;

use super::trust::ServerTrust;

/// Longest file with a token or a password.
const SECRET_BYTES_MAX: usize = 8 << 10;
/// Maximum number of tokens of the configuration that a command tries.
const TOKENS_TRIED_MAX: usize = 8;
/// The environment variable with a token.
const TOKEN_VARIABLE: &str = "TALLYD_TOKEN";
/// The environment variable with the password of `--user`.
const PASSWORD_VARIABLE: &str = "TALLYD_PASSWORD";

/// Options for an admin endpoint with authentication or TLS.
#[derive(Clone, Debug, Default, Args)]
pub struct AccessArgs {
    /// File with the token for the endpoint [default: the variable TALLYD_TOKEN, else the first token of
    /// the configuration that the daemon accepts]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["token", "user"], value_hint = ValueHint::FilePath)]
    pub token_file: Option<PathBuf>,
    /// The token itself; other users of this host can see it
    #[arg(long, value_name = "TOKEN", conflicts_with = "user", hide_short_help = true)]
    pub token: Option<String>,
    /// User of the endpoint, with --password-file or the variable TALLYD_PASSWORD
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// File with the password of --user
    #[arg(long, value_name = "FILE", requires = "user", value_hint = ValueHint::FilePath)]
    pub password_file: Option<PathBuf>,
    /// PEM file with the certificates to trust for https:// [default: the certificate of the
    /// configuration, else the system's]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca_file: Option<PathBuf>,
    /// PEM file with a client certificate
    #[arg(long, value_name = "FILE", requires = "key", value_hint = ValueHint::FilePath)]
    pub cert: Option<PathBuf>,
    /// PEM file with its key
    #[arg(long, value_name = "FILE", requires = "cert", value_hint = ValueHint::FilePath)]
    pub key: Option<PathBuf>,
}

/// Why the options cannot be used.
#[derive(Debug, Error)]
pub(crate) enum AccessArgsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A secret cannot be sent.
    #[error("{0} cannot be sent: it has a control character, or is empty")]
    Unsendable(String),
    /// The password is missing.
    #[error(
        "the password of --user is missing: use --password-file, or the variable TALLYD_PASSWORD"
    )]
    NoPassword,
    /// The TLS settings are unusable.
    #[error("{0}")]
    Tls(String),
    /// There is a secret to send, but neither an option nor a readable configuration has the address.
    #[error(
        "nothing was sent, because the token or password is for a daemon whose address is unknown: {reason}; \
         name the endpoint with --admin http://HOST:PORT, https://HOST:PORT or unix:PATH"
    )]
    UnknownAddress { reason: String },
    /// It is unknown whether the endpoint of the configuration has TLS.
    #[error(
        "nothing was sent, because `admin.web_config_file` decides whether the admin endpoint has TLS: \
         {reason}; {}run this as root or as the user of the service, such as with `sudo -u tallyd`, or name the \
         endpoint with --admin https://HOST:PORT or --admin unix:PATH",
        if *is_forbidden { "" } else { "correct the file, or " }
    )]
    UnknownScheme {
        reason: String,
        /// Whether this user may not read the file, which can therefore be correct.
        is_forbidden: bool,
    },
}

/// The credentials of a client, and the servers that it trusts.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientAccess {
    /// The values of the `Authorization` header to try. There are several if they are the tokens of the
    /// configuration: a daemon that has not read the file yet knows only some of them.
    authorizations: Vec<Secret>,
    pub(super) trust: ServerTrust,
}

impl ClientAccess {
    /// The access by the options and the environment; for the endpoint of the local configuration, also
    /// by its `config`.
    ///
    /// # Errors
    /// When a file that they name cannot be used.
    pub(crate) fn new(
        args: &AccessArgs,
        config: Option<&AccessConfig>,
    ) -> Result<Self, AccessArgsError> {
        let authorizations = match authorization(args)? {
            Some(given) => vec![given],
            None => {
                let tokens = config.into_iter().flat_map(|config| &config.tokens);
                let tokens = tokens.take(TOKENS_TRIED_MAX);
                tokens.map(|token| Secret::new(format!("Bearer {}", token.reveal()))).collect()
            }
        };
        let own = || config.map(AccessConfig::own_certificate).transpose().map(Option::flatten);
        let identity = args.cert.clone().zip(args.key.clone());
        let trust = match &args.ca_file {
            Some(path) => ServerTrust::authorities(path, identity),
            // Unreadable for this user, or invalid: the system's authorities may know it.
            None => match own() {
                Ok(Some(certificate)) => Ok(ServerTrust::only(certificate, identity)),
                Ok(None) | Err(_) => Ok(ServerTrust::system(identity)),
            },
        };
        Ok(Self { authorizations, trust: trust.map_err(AccessArgsError::Tls)? })
    }

    /// The access to a guessed address, which must not get a secret: any user of the host can listen there.
    ///
    /// # Errors
    /// When the options or the environment have a token or a password, with the `reason` for the guess; and
    /// as for [`ClientAccess::new`].
    pub(super) fn without_secret(args: &AccessArgs, reason: &str) -> Result<Self, AccessArgsError> {
        let access = Self::new(args, None)?;
        if access.authorizations.is_empty() {
            return Ok(access);
        }
        Err(AccessArgsError::UnknownAddress { reason: reason.to_owned() })
    }

    /// Whether the client has something to prove its identity with.
    pub(super) fn has_identity(&self) -> bool {
        !self.authorizations.is_empty() || self.trust.has_identity()
    }

    /// The values of the `Authorization` header to try in turn, which no debug output shows.
    pub(super) fn headers(&self) -> Vec<HeaderValue> {
        let values = self.authorizations.iter();
        let mut values: Vec<_> =
            values.filter_map(|value| HeaderValue::from_str(value.reveal()).ok()).collect();
        values.iter_mut().for_each(|value| value.set_sensitive(true));
        values
    }
}

/// The value of the header by the options and the environment.
fn authorization(args: &AccessArgs) -> Result<Option<Secret>, AccessArgsError> {
    if let Some(user) = &args.user {
        let password = match &args.password_file {
            Some(path) => secret_file(path)?,
            None => variable(PASSWORD_VARIABLE).ok_or(AccessArgsError::NoPassword)?,
        };
        let pair = STANDARD.encode(format!("{user}:{password}"));
        return Ok(Some(Secret::new(format!("Basic {pair}"))));
    }
    let (token, origin) = match (&args.token, &args.token_file) {
        (Some(token), _) => (token.trim().to_owned(), "the token".to_owned()),
        (None, Some(path)) => (secret_file(path)?, format!("the token in {}", path.display())),
        (None, None) => match variable(TOKEN_VARIABLE) {
            Some(token) => (token.trim().to_owned(), format!("the token in {TOKEN_VARIABLE}")),
            None => return Ok(None),
        },
    };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(AccessArgsError::Unsendable(origin));
    }
    Ok(Some(Secret::new(format!("Bearer {token}"))))
}

/// The value of a variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// The content of a file, without the newline that editors add.
fn secret_file(path: &Path) -> Result<String, AccessArgsError> {
    let read = read_bounded(path, SECRET_BYTES_MAX).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| {
            std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error().to_string())
        })
    });
    let text = read.map_err(|source| AccessArgsError::File { path: path.to_owned(), source })?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_password_and_a_token_come_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        fs::write(&file, "0123456789abcdef\n").unwrap();
        let header = |args: AccessArgs| ClientAccess::new(&args, None).unwrap().headers().remove(0);
        let by_token = AccessArgs { token_file: Some(file.clone()), ..AccessArgs::default() };
        assert_eq!(header(by_token), "Bearer 0123456789abcdef");
        let by_password = AccessArgs {
            user: Some("alice".to_owned()),
            password_file: Some(file.clone()),
            ..AccessArgs::default()
        };
        let value = header(by_password);
        assert_eq!(value, "Basic YWxpY2U6MDEyMzQ1Njc4OWFiY2RlZg==");
        assert!(value.is_sensitive());
        fs::write(&file, "\n").unwrap();
        let empty = AccessArgs { token_file: Some(file), ..AccessArgs::default() };
        let error = ClientAccess::new(&empty, None).unwrap_err();
        assert!(matches!(error, AccessArgsError::Unsendable(_)), "{error}");
        let missing = AccessArgs { token_file: Some("/no/token".into()), ..AccessArgs::default() };
        assert!(ClientAccess::new(&missing, None).unwrap_err().to_string().contains("/no/token"));
    }
}
