//! The TLS settings of a server: from `tls`, or from the `tls_server_config` of an exporter-toolkit file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use serde::Deserialize;
use tlsserver::ServerFiles;

mod client_certificates;
pub(crate) mod web;
pub(crate) mod words;

/// The protocol that the server speaks after a handshake (ALPN).
const HTTP_1_1: &[u8] = b"http/1.1";

/// `tls`: the certificate of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerTls {
    /// A PEM file with the certificate of the server, followed by those of intermediate authorities;
    /// requires `key_file`. Defaults to `""`, none: the server speaks plain HTTP.
    pub cert_file: PathBuf,
    /// A PEM file with its private key. Defaults to `""`, none.
    pub key_file: PathBuf,
    /// A PEM file with the certificates of the authorities that sign those of clients. With it, every
    /// client needs such a certificate, also for `/healthz`. Defaults to `""`, none.
    pub client_ca_file: PathBuf,
}

/// A key that cannot be used: its name, and what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TlsProblem {
    pub(crate) key: String,
    pub(crate) reason: String,
}

impl TlsProblem {
    fn new(key: &str, reason: impl Into<String>) -> Self {
        Self { key: key.to_owned(), reason: reason.into() }
    }
}

/// The settings for handshakes.
#[derive(Debug)]
pub(crate) struct LoadedTls {
    config: Arc<ServerConfig>,
    certificate: CertificateDer<'static>,
    /// The verifier in `config`, which the library does not return.
    verifier: Arc<dyn ClientCertVerifier>,
    proof: CertificateProof,
}

/// Whether the certificate of a client proves its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CertificateProof {
    /// Nothing: it is not requested, or not verified.
    Nothing,
    /// A trusted authority has signed it, if the client has one.
    IfGiven,
    /// A trusted authority has signed it, and every client has one.
    Always,
}

impl ServerTls {
    /// Whether the section names a file.
    #[must_use]
    pub fn is_enabled(&self) -> bool {
        self.files().next().is_some()
    }

    /// The files that the section names.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let files = [&self.cert_file, &self.key_file, &self.client_ca_file];
        files.into_iter().map(PathBuf::as_path).filter(|path| is_set(path))
    }
}

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

/// Reads the files of a section.
pub(crate) fn load(tls: &ServerTls) -> Result<LoadedTls, TlsProblem> {
    let ServerTls { cert_file, key_file, client_ca_file } = tls.clone();
    for (key, path) in [("cert_file", &cert_file), ("key_file", &key_file)] {
        if !is_set(path) {
            return Err(TlsProblem::new(key, "is missing: a certificate needs its key"));
        }
    }
    let client_ca_file = Some(client_ca_file).filter(|path| is_set(path));
    let files = ServerFiles { cert_file, key_file, client_ca_file };
    let loaded = files.load(speak_http).map_err(|concern| {
        TlsProblem::new(concern.key, format!("{}: {}", concern.path.display(), concern.words))
    })?;
    let proof = match files.client_ca_file {
        Some(_) => CertificateProof::Always,
        None => CertificateProof::Nothing,
    };
    let (config, certificate) = (Arc::clone(loaded.config()), loaded.certificate().clone());
    let verifier = Arc::clone(loaded.verifier());
    Ok(LoadedTls { config, certificate, verifier, proof })
}

fn speak_http(config: &mut ServerConfig) {
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
}

impl LoadedTls {
    /// The settings of the TLS library.
    pub(crate) fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The certificate of the server.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Whether a handshake would succeed at this time for a client with these certificates, its own first.
    pub(crate) fn accepts(&self, certificates: &[CertificateDer<'_>], now: UnixTime) -> bool {
        if !self.verifier.offer_client_auth() {
            return true;
        }
        match certificates.split_first() {
            Some((own, others)) => self.verifier.verify_client_cert(own, others, now).is_ok(),
            None => !self.verifier.client_auth_mandatory(),
        }
    }

    /// Whether every client has proved its identity after the handshake.
    pub(crate) fn requires_certificates(&self) -> bool {
        self.proof == CertificateProof::Always
    }

    /// Whether a client that has sent a certificate has proved its identity.
    pub(crate) fn verifies_certificates(&self) -> bool {
        self.proof != CertificateProof::Nothing
    }
}
