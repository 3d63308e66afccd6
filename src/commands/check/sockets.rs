//! Whether the daemon could bind its sockets.

use std::io::ErrorKind;
use std::path::Path;

use api::reload::ReloadForecast;
use engine::listener::bind_error::BindError;
use engine::listener::obstacle;
use forwarders::HostResource;
use yaml::{ConfigError, SourceSpan};

use crate::commands::client::access::AccessArgs;
use crate::commands::client::configured;
use crate::commands::client::ledger::AdminClient;
use crate::config::ConfigFile;
use crate::config::resources::{self, ResourceUse};

/// The folders whose content the service manager creates when it starts a service.
const VOLATILE: [&str; 2] = ["/run", "/var/run"];

/// The sockets that cannot be bound.
#[derive(Debug, Default)]
pub(super) struct SocketFindings {
    /// Paths with which the daemon does not start.
    pub(super) errors: Vec<ConfigError>,
    /// Obstacles that may be gone when the daemon starts, or may be the daemon itself.
    pub(super) warnings: Vec<ConfigError>,
}

/// Looks for sockets that cannot be bound. The sockets of the running daemon with this file are no
/// obstacle.
pub(super) fn check(loaded: &ConfigFile, access: &AccessArgs) -> SocketFindings {
    let mut uses = resources::all(&loaded.config, &loaded.listeners, &loaded.source);
    uses.retain(is_socket);
    let found = uses.iter().filter_map(|used| Some((used, obstacle(&used.resource)?)));
    let (mut findings, mut own) = (SocketFindings::default(), None);
    for (used, error) in found {
        let mut is_own = || own.get_or_insert_with(|| own_sockets(loaded, access)).has(used);
        if !(is_in_use(&error) && is_own()) {
            findings.add(loaded, used, &error);
        }
    }
    findings
}

/// Whether a resource is a socket. The path of another section is that of a file to write.
fn is_socket(used: &ResourceUse) -> bool {
    !matches!(used.resource, HostResource::Path(_)) || used.label.is_some()
}

fn obstacle(resource: &HostResource) -> Option<BindError> {
    match resource {
        HostResource::Tcp(address) => obstacle::of_tcp(*address),
        HostResource::Udp(address) => obstacle::of_udp(*address),
        HostResource::Path(path) => obstacle::of_path(path),
    }
    .err()
}

fn is_in_use(error: &BindError) -> bool {
    error.kind() == ErrorKind::AddrInUse
}

impl SocketFindings {
    fn add(&mut self, loaded: &ConfigFile, used: &ResourceUse, error: &BindError) {
        let message = format!("`{}`: {error}", used.key);
        let span = used.span.unwrap_or(SourceSpan::START);
        let found = loaded.source.error_at(span, message);
        match &used.resource {
            HostResource::Path(path) if is_lasting(path, error.kind()) => self.errors.push(found),
            _ if is_in_use(error) => self.warnings.push(found.with_help(
                "ignore this if that program is a daemon with this file and without an admin endpoint",
            )),
            _ => self.warnings.push(found),
        }
    }
}

/// Whether only an operator can remove an obstacle. Another user may have the permission, a program
/// may end, and a service manager creates folders.
fn is_lasting(path: &Path, kind: ErrorKind) -> bool {
    match kind {
        ErrorKind::AddrInUse | ErrorKind::PermissionDenied => false,
        ErrorKind::NotFound => !VOLATILE.iter().any(|folder| path.starts_with(folder)),
        _ => true,
    }
}

/// The sockets of the running daemon with a file.
#[derive(Debug)]
enum OwnSockets {
    /// No such daemon answers.
    Unknown,
    /// The names of its listeners.
    Daemon(Vec<String>),
}

impl OwnSockets {
    fn has(&self, used: &ResourceUse) -> bool {
        match (self, &used.label) {
            (Self::Unknown, _) => false,
            (Self::Daemon(listeners), Some(label)) => listeners.contains(label),
            // The endpoint answers, and the daemon has bound the pages of its file.
            (Self::Daemon(_), None) => true,
        }
    }
}

/// Asks the daemon at the configured admin endpoint.
fn own_sockets(loaded: &ConfigFile, access: &AccessArgs) -> OwnSockets {
    let endpoint = configured::admin(None, access, Some(loaded)).ok().flatten();
    let admin = endpoint.and_then(|endpoint| AdminClient::new(&endpoint).ok());
    let Some(admin) = admin else { return OwnSockets::Unknown };
    match (admin.forecast(), admin.status()) {
        (Ok(forecast), Ok(status)) if reads_this_file(&forecast, loaded) => {
            let listeners = status.listeners.into_iter();
            OwnSockets::Daemon(listeners.map(|listener| listener.listener).collect())
        }
        _ => OwnSockets::Unknown,
    }
}

/// Whether a daemon was started with this file; or, if there is no file, with the built-in defaults.
pub(super) fn reads_this_file(forecast: &ReloadForecast, loaded: &ConfigFile) -> bool {
    let real = |file: &Path| file.canonicalize().ok();
    match (&forecast.file, loaded.is_file) {
        (Some(file), true) => real(Path::new(file)) == real(Path::new(loaded.source.name())),
        (file, is_file) => file.is_some() == is_file,
    }
}
