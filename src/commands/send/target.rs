//! The daemon that messages go to: its listener, its limits and its admin endpoint.

use super::error::SendCommandError;
use super::options::SendArgs;
use super::tls::TlsClient;
use crate::commands::client::configured::{self, AdminEndpoint};
use crate::commands::client::endpoint::{SendEndpoint, SocketPlace};
use crate::commands::client::ledger::LedgerError;
use crate::commands::client::signer::read_secret;
use crate::config::ConfigFile;
use basics::text::Secret;
use engine::listener::Transport;
use engine::protocol::MessageLimits;

/// A listener of a daemon.
pub(super) struct SendTarget {
    pub(super) endpoint: SendEndpoint,
    /// Signs the datagrams, if the listener has one.
    pub(super) secret: Option<Secret>,
    pub(super) limits: MessageLimits,
    /// The admin endpoint; `None` if it is disabled.
    pub(super) admin: Option<AdminEndpoint>,
    /// `None` without TLS.
    pub(super) tls: Option<TlsClient>,
}

/// Finds the listener by the options and the configuration.
pub(super) fn find(args: &SendArgs) -> Result<SendTarget, SendCommandError> {
    let loaded = load(args)?;
    let (endpoint, configured) = match (&args.to, &loaded) {
        (Some(endpoint), _) => (endpoint.clone(), None),
        (None, Some(loaded)) => listener(args, loaded)?,
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
    let admin = match args.verify {
        true => {
            let admin = configured::admin(args.admin.as_deref(), &args.access, loaded.as_ref());
            Some(admin.map_err(LedgerError::from)?.ok_or(SendCommandError::NoAdmin)?)
        }
        false => None,
    };
    let limits = loaded.map(|loaded| loaded.config.limits).unwrap_or_default();
    let tls = tls(args, &endpoint)?;
    Ok(SendTarget { endpoint, secret, limits, admin, tls })
}

/// The settings of TLS, if the options ask for it.
fn tls(args: &SendArgs, endpoint: &SendEndpoint) -> Result<Option<TlsClient>, SendCommandError> {
    let tls = args.tls.client(&endpoint.host).map_err(SendCommandError::Tls)?;
    if tls.is_some() && endpoint.transport != Transport::Tcp {
        let words = format!("--tls-ca: TLS is for tcp://HOST:PORT, not for {endpoint}");
        return Err(SendCommandError::Tls(words));
    }
    Ok(tls)
}

/// The configuration. Without `--config` it is not needed when `--to` names the endpoint.
fn load(args: &SendArgs) -> Result<Option<ConfigFile>, SendCommandError> {
    if args.config.config.is_none() && args.to.is_some() {
        return Ok(None);
    }
    configured::load(&args.config).map_err(SendCommandError::Config)
}

/// The first listener with the protocol, and its first secret, if it has one.
fn listener(
    args: &SendArgs,
    loaded: &ConfigFile,
) -> Result<(SendEndpoint, Option<Secret>), SendCommandError> {
    let protocol = args.protocol();
    let mut named = loaded.listeners.iter().filter(|listener| listener.protocol == protocol);
    let listener =
        named.next().ok_or_else(|| no_listener(loaded.source.name(), protocol.as_str()))?;
    let name = listener.to_string();
    if listener.endpoint.tls().is_some() && args.tls.tls_ca.is_none() {
        return Err(SendCommandError::Tls(format!(
            "{name} has `tls`: add --tls-ca with the authority of its certificate, --tls-name with a \
             name in that certificate and, if it has `client_ca_file`, --tls-cert and --tls-key"
        )));
    }
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
