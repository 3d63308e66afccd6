//! The daemon that messages go to: its listener, its limits and its admin endpoint.

use super::error::SendCommandError;
use super::options::SendArgs;
use crate::commands::client::configured;
use crate::commands::client::endpoint::{SendEndpoint, SocketPlace};
use crate::commands::client::signer::read_secret;
use crate::config::ConfigFile;
use basics::text::Secret;
use engine::listener::Protocol;
use engine::protocol::MessageLimits;

/// A listener of a daemon.
pub(super) struct SendTarget {
    pub(super) endpoint: SendEndpoint,
    /// Signs the datagrams, if the listener has one.
    pub(super) secret: Option<Secret>,
    pub(super) limits: MessageLimits,
    /// The URL of the admin endpoint; empty if it is disabled.
    pub(super) admin: String,
}

/// Finds the listener by the options and the configuration.
pub(super) fn find(args: &SendArgs) -> Result<SendTarget, SendCommandError> {
    let loaded = load(args)?;
    let (endpoint, configured) = match (&args.to, &loaded) {
        (Some(endpoint), _) => (endpoint.clone(), None),
        (None, Some(loaded)) => listener(loaded, args.protocol())?,
        (None, None) if args.statsd => return Err(no_listener("the built-in defaults", "statsd")),
        (None, None) => (SendEndpoint::default(), None),
    };
    let named = args.secret_file.as_deref().map(read_secret).transpose();
    let secret = named.map_err(SendCommandError::Secret)?.or(configured);
    if secret.is_some() && !endpoint.is_datagram() {
        return Err(SendCommandError::Usage(format!(
            "--secret-file signs datagrams, but {endpoint} is a stream"
        )));
    }
    let admin = match configured::admin(args.admin.as_deref(), loaded.as_ref()) {
        None if args.verify => return Err(SendCommandError::NoAdmin),
        admin => admin.unwrap_or_default(),
    };
    let limits = loaded.map(|loaded| loaded.config.limits).unwrap_or_default();
    Ok(SendTarget { endpoint, secret, limits, admin })
}

/// The configuration. Without `--config` it is not needed when `--to` names the endpoint.
fn load(args: &SendArgs) -> Result<Option<ConfigFile>, SendCommandError> {
    if args.config.config.is_none() && args.to.is_some() {
        return Ok(None);
    }
    configured::load(&args.config).map_err(SendCommandError::Config)
}

/// The first listener with this protocol, and its first secret, if it has one.
fn listener(
    loaded: &ConfigFile,
    protocol: Protocol,
) -> Result<(SendEndpoint, Option<Secret>), SendCommandError> {
    let mut named = loaded.listeners.iter().filter(|listener| listener.protocol == protocol);
    let listener =
        named.next().ok_or_else(|| no_listener(loaded.source.name(), protocol.as_str()))?;
    let name = listener.to_string();
    let (_, mut endpoint) =
        SendEndpoint::of_listener(&name).ok_or_else(|| SendCommandError::Unknown(name.clone()))?;
    if let SocketPlace::Addresses(addresses) = &mut endpoint.place {
        if addresses.iter().any(|address| address.port() == 0) {
            return Err(SendCommandError::Unknown(name));
        }
        for address in addresses {
            *address = SendEndpoint::reachable(*address);
        }
    }
    let secret = listener.endpoint.secret().and_then(|keys| keys.all().first());
    Ok((endpoint, secret.map(|key| key.secret.clone())))
}

fn no_listener(file: &str, protocol: &'static str) -> SendCommandError {
    SendCommandError::NoListener { file: file.to_owned(), protocol }
}
