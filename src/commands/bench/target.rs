//! Which daemon is under load, and who tells what becomes of it.

use super::BenchError;
use super::options::{BenchArgs, Load};
use super::report::Looks;
use super::spawn::SpawnedDaemon;
use crate::commands::client::endpoint::Endpoint;
use crate::commands::client::ledger::{Admin, DEFAULT_ADMIN, Ledger, Scope, Status};
use crate::commands::client::settle::{Awaited, settle};
use engine::listener::Protocol;

/// Where the load goes: the ENDPOINT of the command line, or the listener of the daemon that was
/// started.
pub(super) fn endpoint(
    args: &BenchArgs,
    spawned: Option<&SpawnedDaemon>,
) -> Result<Endpoint, BenchError> {
    let Some(spawned) = spawned else { return Ok(args.endpoint.clone()) };
    let status = Admin::new(spawned.admin())?.status()?;
    let mut listeners = status.listeners.iter();
    let listener = listeners.find_map(|listener| Endpoint::of_listener(&listener.listener));
    listener.map(|(_, endpoint)| endpoint).ok_or(BenchError::NoListener)
}

/// Who tells what becomes of the messages.
pub(super) enum Witness {
    /// A daemon, looked at before the first message.
    Daemon(Box<Watched>),
    /// None was asked for.
    NotAsked,
    /// None answers where one is by default, for this reason.
    Silent(String),
}

/// A daemon before the first message.
pub(super) struct Watched {
    admin: Admin,
    scope: Scope,
    before: Status,
}

impl Witness {
    /// Looks for one: an endpoint that was named has to answer, the default one need not.
    pub(super) fn find(
        args: &BenchArgs,
        spawned: Option<&SpawnedDaemon>,
        endpoint: &Endpoint,
        protocol: Protocol,
    ) -> Result<Self, BenchError> {
        if args.no_admin {
            return Ok(Self::NotAsked);
        }
        let named = spawned.map(SpawnedDaemon::admin).or(args.admin.as_deref());
        let admin = Admin::new(named.unwrap_or(DEFAULT_ADMIN))?;
        let before = match admin.status() {
            Ok(status) => status,
            Err(error) if named.is_none() => return Ok(Self::Silent(error.to_string())),
            Err(error) => return Err(error.into()),
        };
        let scope = Scope::of(&before, endpoint, protocol).map_err(|spoken| {
            BenchError::Protocol { endpoint: endpoint.clone(), spoken: spoken.as_str() }
        })?;
        Ok(Self::Daemon(Box::new(Watched { admin, scope, before })))
    }
}

impl Watched {
    /// Waits until so many messages are accounted for or nothing changes any more, and looks again;
    /// `progress` is told of those that are not.
    ///
    /// # Errors
    /// Why the second look says nothing, as a sentence.
    pub(super) fn look_again(
        self,
        messages: u64,
        load: &Load,
        progress: impl FnMut(u64),
    ) -> Result<Looks, String> {
        let Self { admin, scope, before } = self;
        let ledger = Ledger::of(&before, &scope);
        let messages_a_datagram = if load.is_datagram { u64::from(load.batch) } else { 0 };
        let awaited = Awaited { scope: &scope, before: &ledger, messages, messages_a_datagram };
        let after = settle(&admin, &awaited, progress).map_err(|error| error.to_string())?;
        if after.instance != before.instance {
            return Err(format!(
                "the daemon at {} was started anew meanwhile, and its ledger with it",
                admin.url()
            ));
        }
        Ok(Looks { scope, before, after })
    }
}
