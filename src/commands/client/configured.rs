//! The admin endpoint of a daemon, by the options and the configuration.

use clap::{Args, ValueHint};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use api::path::DEFAULT_URL;
use basics::address::Listen;

use super::access::{AccessArgs, AccessArgsError, ClientAccess};
use super::endpoint::SendEndpoint;
use crate::config::{self, ConfigFile, LoadError};

/// Which configuration file.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file [default: /etc/tallyd/tallyd.yaml if it exists, else built-in defaults]
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

impl ConfigArgs {
    /// The file that `--config` names.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}

/// Loads the configuration; `None` if the default file exists but this user may not read it.
///
/// # Errors
/// When the file is invalid, or the named one cannot be read.
pub(crate) fn load(args: &ConfigArgs) -> Result<Option<ConfigFile>, LoadError> {
    match config::load(args.path()) {
        Ok(loaded) => Ok(Some(loaded)),
        Err(LoadError::Unreadable { source, .. })
            if args.config.is_none() && source.kind() == ErrorKind::PermissionDenied =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The admin endpoint of a daemon, and how a client gets access to it.
#[derive(Clone, Debug)]
pub(crate) struct AdminEndpoint {
    pub(super) url: String,
    pub(super) access: ClientAccess,
}

impl AdminEndpoint {
    /// An endpoint that a user names.
    ///
    /// # Errors
    /// When a file of the options cannot be used.
    pub(crate) fn named(url: &str, access: &AccessArgs) -> Result<Self, AccessArgsError> {
        Ok(Self { url: url.to_owned(), access: ClientAccess::new(access, None)? })
    }

    /// The endpoint of a daemon with the built-in defaults, which a command tries although its address is
    /// unknown for this `reason`.
    ///
    /// # Errors
    /// When there is a token or a password, which is sent only to a known address; and as for
    /// [`AdminEndpoint::named`].
    pub(crate) fn guessed(access: &AccessArgs, reason: &str) -> Result<Self, AccessArgsError> {
        let access = ClientAccess::without_secret(access, reason)?;
        Ok(Self { url: DEFAULT_URL.to_owned(), access })
    }
}

/// The named endpoint, else the configured Unix socket if this user may connect to it, else the
/// configured address, else the default; `None` if the configuration disables the endpoint.
///
/// # Errors
/// When a file of the options cannot be used, or the `web_config_file` of the configuration, which decides
/// whether the address has TLS; or when there is a secret, but neither a named endpoint nor a configuration.
pub(crate) fn admin(
    named: Option<&str>,
    access: &AccessArgs,
    loaded: Option<&ConfigFile>,
) -> Result<Option<AdminEndpoint>, AccessArgsError> {
    if let Some(url) = named {
        return AdminEndpoint::named(url, access).map(Some);
    }
    let Some(loaded) = loaded else {
        return AdminEndpoint::guessed(access, "the configuration was not read").map(Some);
    };
    let config = &loaded.config.admin;
    if let Some(path) = &config.socket
        && UnixStream::connect(&path.0).is_ok()
    {
        let url = format!("unix:{}", path.0.display());
        return AdminEndpoint::named(&url, access).map(Some);
    }
    let Listen::At(addresses) = &config.listen else { return Ok(None) };
    let Some(first) = addresses.all().first() else { return Ok(None) };
    let restriction = config.access_config();
    // Without this, a secret could cross the network in clear text.
    let is_encrypted = restriction.is_encrypted().map_err(|reason| {
        let opened = File::open(&restriction.web_config_file);
        let is_forbidden = opened.is_err_and(|error| error.kind() == ErrorKind::PermissionDenied);
        AccessArgsError::UnknownScheme { reason, is_forbidden }
    })?;
    let scheme = if is_encrypted { "https" } else { "http" };
    let url = format!("{scheme}://{}", SendEndpoint::reachable(*first));
    Ok(Some(AdminEndpoint { url, access: ClientAccess::new(access, Some(&restriction))? }))
}
