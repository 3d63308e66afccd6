//! Where a daemon's HTTP endpoint is, by the options and the configuration.

use clap::{Args, ValueHint};
use std::io::ErrorKind;
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
    /// The file, if one is named.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.config.as_deref()
    }
}

/// Reads the configuration. One that is not named is no obstacle to those who may not read it.
///
/// # Errors
/// When it is wrong, or one that is named cannot be read.
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

/// The one that is named, else the configured one, else the default; `None` if the configuration
/// turns it off.
pub(crate) fn admin(named: Option<&str>, loaded: Option<&ConfigFile>) -> Option<String> {
    match (named, loaded.map(|loaded| &loaded.config.admin.listen)) {
        (Some(url), _) => Some(url.to_owned()),
        (None, None) => Some(DEFAULT_URL.to_owned()),
        (None, Some(Listen::Address(address))) => {
            Some(format!("http://{}", SendEndpoint::reachable(*address)))
        }
        (None, Some(Listen::None)) => None,
    }
}
