//! The daemon under load, and where its ledger comes from.

use super::error::BenchError;
use super::options::{BenchArgs, Load};
use super::report::StatusPair;
use super::spawn::SpawnedDaemon;
use crate::commands::client::access::AccessArgs;
use crate::commands::client::configured::AdminEndpoint;
use crate::commands::client::endpoint::SendEndpoint;
use crate::commands::client::ledger::{AdminClient, LedgerError};
use crate::commands::client::watched::{AwaitedMessages, WatchedDaemon};
use engine::listener::Protocol;

/// The endpoint that the load goes to: the ENDPOINT of the command line, or the listener of the
/// daemon of `--spawn`.
pub(super) fn endpoint(
    args: &BenchArgs,
    spawned: Option<&SpawnedDaemon>,
) -> Result<SendEndpoint, BenchError> {
    let Some(spawned) = spawned else { return Ok(args.endpoint.clone()) };
    let admin = AdminEndpoint::named(spawned.admin(), &AccessArgs::default());
    let status = AdminClient::new(&admin.map_err(LedgerError::from)?)?.status()?;
    let mut listeners = status.listeners.iter();
    let listener = listeners.find_map(|listener| SendEndpoint::of_listener(&listener.listener));
    listener.map(|(_, endpoint)| endpoint).ok_or(BenchError::NoListener)
}

/// Where the ledger of the messages comes from.
pub(super) enum Witness {
    /// A daemon, with its status before the first message.
    Daemon(Box<WatchedDaemon>),
    /// Nowhere, because of `--no-admin`.
    NotAsked,
    /// Nowhere, because no daemon answers at the default address, for this reason.
    Silent(String),
}

impl Witness {
    /// Requests the status. At an address that the user named, a missing daemon is an error; at the
    /// default address it is not.
    pub(super) fn find(
        args: &BenchArgs,
        spawned: Option<&SpawnedDaemon>,
        endpoint: &SendEndpoint,
        protocol: Protocol,
    ) -> Result<Self, BenchError> {
        if args.no_admin {
            return Ok(Self::NotAsked);
        }
        let named = spawned.map(SpawnedDaemon::admin).or(args.admin.as_deref());
        let admin_endpoint = match named {
            Some(url) => AdminEndpoint::named(url, &args.access),
            None => AdminEndpoint::guessed(&args.access, "bench reads no configuration"),
        };
        let admin = AdminClient::new(&admin_endpoint.map_err(LedgerError::from)?)?;
        let before = match admin.status() {
            Ok(status) => status,
            Err(error) if named.is_none() => return Ok(Self::Silent(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        let watched = WatchedDaemon::new(admin, before, endpoint, protocol).map_err(|spoken| {
            BenchError::Protocol { endpoint: endpoint.clone(), spoken: spoken.as_str() }
        })?;
        Ok(Self::Daemon(Box::new(watched)))
    }
}

/// Waits until the daemon accounts for this number of messages, or its ledger stops changing; gives
/// `progress` the number of messages that are missing.
///
/// # Errors
/// Why there is no second status, as a sentence.
pub(super) fn settle(
    watched: WatchedDaemon,
    messages: u64,
    load: &Load,
    progress: impl FnMut(u64),
) -> Result<StatusPair, String> {
    let a_datagram = if load.is_datagram { u64::from(load.batch) } else { 0 };
    let awaited = AwaitedMessages { messages, a_datagram };
    let after = watched.settle(awaited, progress).map_err(|error| error.to_string())?;
    if !watched.is_same_run(&after) {
        return Err(format!(
            "the daemon at {} restarted during the measurement, and its ledger with it",
            watched.admin.url()
        ));
    }
    Ok(StatusPair { watched, after })
}
