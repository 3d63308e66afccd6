//! `tls` of a listener: its keys in the configuration file, and the checked settings.

use std::path::PathBuf;
use std::sync::Arc;

use basics::bounds::between;
use basics::units::Span;
use serde::Deserialize;
use serde::de::Deserializer;
use tlsserver::rustls::ServerConfig;
use tlsserver::rustls::server::NoServerSessionStorage;
use tlsserver::{FileConcern, LoadedServer, ServerFiles};

/// Maximum of `max_handshakes`.
const HANDSHAKES_MAX: usize = 65_536;
/// Bounds of `handshake_timeout`.
const TIMEOUT_MIN: Span = Span::from_millis(100);
const TIMEOUT_MAX: Span = Span::from_secs(600);

/// The keys of `tls`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenerTlsSection {
    /// A PEM file with the certificate that clients verify, followed by those of intermediate
    /// authorities.
    pub cert_file: PathBuf,
    /// A PEM file with the key of that certificate, not encrypted.
    pub key_file: PathBuf,
    /// A PEM file with the certificates of authorities. Each client must have a certificate that one
    /// of them issued for client authentication. Without it, clients are not asked for a certificate,
    /// and everyone who can reach the address may send. Defaults to none.
    pub client_ca_file: Option<PathBuf>,
    /// Maximum number of handshakes at a time. At the limit, further connections wait to be accepted
    /// until a handshake ends, or until the longest one has taken a second, which is then closed and
    /// counted. A handshake takes up to 100 KiB of memory. 1 to 65536. Defaults to `256`.
    #[serde(default = "max_handshakes", deserialize_with = "handshakes")]
    pub max_handshakes: usize,
    /// Time after which a handshake that has not ended is closed and counted. 100ms to 10m. Defaults
    /// to `10s`.
    #[serde(default = "handshake_timeout", deserialize_with = "timeout")]
    pub handshake_timeout: Span,
}

fn max_handshakes() -> usize {
    256
}

fn handshake_timeout() -> Span {
    Span::from_secs(10)
}

fn handshakes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    between(deserializer, 1..=HANDSHAKES_MAX)
}

fn timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
    between(deserializer, TIMEOUT_MIN..=TIMEOUT_MAX)
}

/// The limits of handshakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HandshakeLimits {
    /// Maximum number at a time.
    pub(super) max: usize,
    /// Maximum duration of one.
    pub(super) timeout: Span,
}

/// The certificates and limits of new connections.
#[derive(Debug)]
pub(super) struct TlsSettings {
    pub(super) server: Arc<LoadedServer>,
    pub(super) limits: HandshakeLimits,
}

/// The checked settings of `tls`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerTls {
    files: ServerFiles,
    limits: HandshakeLimits,
    /// The content of the files, once they have been read.
    loaded: Option<Arc<LoadedServer>>,
}

impl ListenerTls {
    /// The settings of a section. The files are not read yet.
    #[must_use]
    pub fn new(section: &ListenerTlsSection) -> Self {
        Self {
            files: ServerFiles {
                cert_file: section.cert_file.clone(),
                key_file: section.key_file.clone(),
                client_ca_file: section.client_ca_file.clone(),
            },
            limits: HandshakeLimits {
                max: section.max_handshakes,
                timeout: section.handshake_timeout,
            },
            loaded: None,
        }
    }

    /// The content of the files, which are read unless [`ListenerTls::keep`] has it. Blocks on the disk.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn load(&self) -> Result<Arc<LoadedServer>, FileConcern> {
        match &self.loaded {
            Some(loaded) => Ok(Arc::clone(loaded)),
            None => Ok(Arc::new(self.files.load(without_resumption)?)),
        }
    }

    /// The settings of new connections. Blocks on the disk unless the files have been read.
    pub(super) fn settings(&self) -> Result<TlsSettings, FileConcern> {
        Ok(TlsSettings { server: self.load()?, limits: self.limits })
    }

    /// Keeps the content of the files, so that all later steps use the same.
    pub fn keep(&mut self, loaded: Arc<LoadedServer>) {
        self.loaded = Some(loaded);
    }
}

/// Session tickets are data that clients of a listener, which only send, never read. When such a client
/// closes its connection, its kernel finds this data, and resets the connection instead of delivering the
/// rest. Without resumption, each connection is also verified with the current authorities.
fn without_resumption(config: &mut ServerConfig) {
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
}
