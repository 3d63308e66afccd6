//! The admin endpoint of a daemon, by the options and the configuration.

use clap::{Args, ValueHint};
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use api::path::DEFAULT_URL;
use basics::address::Listen;

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

/// The URL of the named endpoint, else of the configured Unix socket if this user may connect to it,
/// else of the configured address, else of the default; `None` if the configuration disables the
/// endpoint.
pub(crate) fn admin(named: Option<&str>, loaded: Option<&ConfigFile>) -> Option<String> {
    let socket = loaded.and_then(|loaded| loaded.config.admin.socket.as_ref());
    if let (None, Some(path)) = (named, socket)
        && UnixStream::connect(&path.0).is_ok()
    {
        return Some(format!("unix:{}", path.0.display()));
    }
    match (named, loaded.map(|loaded| &loaded.config.admin.listen)) {
        (Some(url), _) => Some(url.to_owned()),
        (None, None) => Some(DEFAULT_URL.to_owned()),
        (None, Some(Listen::At(addresses))) => {
            let first = addresses.all().first()?;
            Some(format!("http://{}", SendEndpoint::reachable(*first)))
        }
        (None, Some(Listen::None)) => None,
    }
}
