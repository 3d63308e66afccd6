//! TLS to a daemon: the options, and a connection.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use socket2::Socket;
use tlsserver::pem;
use tlsserver::rustls::crypto::ring::default_provider;
use tlsserver::rustls::pki_types::ServerName;
use tlsserver::rustls::{ClientConfig, ClientConnection, RootCertStore, Stream};

/// The options for TLS.
#[derive(Debug, Args)]
pub struct TlsArgs {
    /// Send over TLS, which needs tcp: PEM file with the authority that issued the certificate of the
    /// listener
    #[arg(long, value_name = "FILE")]
    pub tls_ca: Option<PathBuf>,
    /// PEM file with the certificate to present, for a listener with `client_ca_file`
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    pub tls_cert: Option<PathBuf>,
    /// PEM file with its key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Name that the certificate of the listener must have [default: the host of --to]
    #[arg(long, value_name = "NAME", requires = "tls_ca")]
    pub tls_name: Option<String>,
}

/// The settings of a connection, read from the files.
pub(super) struct TlsClient {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl TlsArgs {
    /// Reads the files. `None` without TLS. `host` is the host of the endpoint.
    ///
    /// # Errors
    /// When a file or the name is unusable.
    pub(super) fn client(&self, host: &str) -> Result<Option<TlsClient>, String> {
        let Some(authorities) = &self.tls_ca else { return Ok(None) };
        let host = self.tls_name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| format!("--tls-name: `{host}` is neither a host name nor an address"))?;
        let mut roots = RootCertStore::empty();
        for certificate in certificates("--tls-ca", authorities)? {
            roots.add(certificate).map_err(|error| unusable("--tls-ca", authorities, &error))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(roots);
        let config = match self.tls_cert.as_deref().zip(self.tls_key.as_deref()) {
            Some((cert, key)) => {
                let chain = certificates("--tls-cert", cert)?;
                let secret = pem::key(key).map_err(|words| unusable("--tls-key", key, &words))?;
                builder
                    .with_client_auth_cert(chain, secret)
                    .map_err(|error| unusable("--tls-key", key, &error))?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Some(TlsClient { config: Arc::new(config), name }))
    }
}

fn certificates(
    option: &str,
    path: &Path,
) -> Result<Vec<tlsserver::rustls::pki_types::CertificateDer<'static>>, String> {
    pem::certificates(path).map_err(|words| unusable(option, path, &words))
}

fn unusable(option: &str, path: &Path, words: &impl std::fmt::Display) -> String {
    format!("{option}: {}: {words}", path.display())
}

/// A connection to a daemon.
pub(super) struct TlsConnection(ClientConnection);

impl TlsConnection {
    /// Shakes hands. The socket's timeouts bound the time.
    ///
    /// # Errors
    /// When the daemon's certificate is not acceptable, or the listener has no TLS.
    pub(super) fn open(client: &TlsClient, socket: &Socket) -> io::Result<Self> {
        let connection = ClientConnection::new(Arc::clone(&client.config), client.name.clone());
        let mut connection = connection.map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut &*socket).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    let words =
                        "no reply to the TLS handshake: the listener has no `tls`, or is busy";
                    io::Error::new(io::ErrorKind::TimedOut, words)
                }
                _ => error,
            })?;
        }
        Ok(Self(connection))
    }

    /// Sends some bytes. Returns their number.
    ///
    /// # Errors
    /// When the connection broke.
    pub(super) fn write(&mut self, socket: &Socket, bytes: &[u8]) -> io::Result<usize> {
        let written = Stream::new(&mut self.0, &mut &*socket).write(bytes);
        written.map_err(|error| self.alert(socket).unwrap_or(error))
    }

    /// Sends everything that waits, and the alert that nothing follows.
    ///
    /// # Errors
    /// When the connection broke.
    pub(super) fn close(&mut self, socket: &Socket) -> io::Result<()> {
        self.0.send_close_notify();
        let flushed = Stream::new(&mut self.0, &mut &*socket).flush();
        flushed.map_err(|error| self.alert(socket).unwrap_or(error))
    }

    /// Reads until the daemon has closed its end. An alert is an error.
    ///
    /// # Errors
    /// When the daemon refused the certificate, or the connection broke.
    pub(super) fn read(&mut self, socket: &Socket, bytes: &mut [u8]) -> io::Result<usize> {
        match Stream::new(&mut self.0, &mut &*socket).read(bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            read => read,
        }
    }
    /// The alert with which the daemon has closed the connection. It refuses a certificate after the
    /// handshake, and then a write fails only because the connection is closed.
    fn alert(&mut self, socket: &Socket) -> Option<io::Error> {
        loop {
            if self.0.read_tls(&mut &*socket).ok()? == 0 {
                return None;
            }
            if let Err(alert) = self.0.process_new_packets() {
                return Some(io::Error::new(io::ErrorKind::InvalidData, alert));
            }
        }
    }
}
