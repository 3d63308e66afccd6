//! The PEM files of a server, and the settings of the TLS library that are made from them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{Error, RootCertStore, ServerConfig};
use thiserror::Error as ThisError;

use crate::certificate::CertificateFacts;
use crate::client_auth::NamingPolicy;
use crate::{pem, verifier};

/// The PEM files of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerFiles {
    /// The certificate of the server, followed by those of intermediate authorities.
    pub cert_file: PathBuf,
    /// The private key of the certificate.
    pub key_file: PathBuf,
    /// The certificates of the authorities that issue the certificates of clients. Without it, clients
    /// are not asked for a certificate; with it, each must have one.
    pub client_ca_file: Option<PathBuf>,
}

/// Something wrong with a file: an error if it cannot be used, otherwise a warning.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[error("{}: {words}", path.display())]
pub struct FileConcern {
    /// The configuration key of the file: `cert_file`, `key_file` or `client_ca_file`.
    pub key: &'static str,
    /// The path of the file.
    pub path: PathBuf,
    /// The problem and its remedy.
    pub words: String,
}

/// The content of the files: the settings for new connections.
#[derive(Debug)]
pub struct LoadedServer {
    files: ServerFiles,
    config: Arc<ServerConfig>,
    verifier: Arc<dyn ClientCertVerifier>,
    chain: Vec<CertificateDer<'static>>,
    authorities: Vec<CertificateDer<'static>>,
    facts: CertificateFacts,
}

impl ServerFiles {
    /// Reads the files. `adjust` changes settings of the TLS library beyond certificates.
    ///
    /// # Errors
    /// When a file cannot be read, has no suitable content, or does not fit the others.
    pub fn load(
        &self,
        adjust: impl FnOnce(&mut ServerConfig),
    ) -> Result<LoadedServer, FileConcern> {
        let provider = Arc::new(default_provider());
        let chain = pem::certificates(&self.cert_file)
            .map_err(|words| FileConcern::new("cert_file", &self.cert_file, words))?;
        let facts = chain.first().and_then(CertificateFacts::of).ok_or_else(|| {
            let words = "the first certificate is malformed".to_owned();
            FileConcern::new("cert_file", &self.cert_file, words)
        })?;
        let key = pem::key(&self.key_file)
            .map_err(|words| FileConcern::new("key_file", &self.key_file, words))?;
        let (authorities, verifier) = self.verifier(&provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| {
                builder
                    .with_client_cert_verifier(Arc::clone(&verifier))
                    .with_single_cert(chain.clone(), key)
            })
            .map_err(|error| self.refused(&error))?;
        adjust(&mut config);
        let files = self.clone();
        Ok(LoadedServer { files, config: Arc::new(config), verifier, chain, authorities, facts })
    }

    /// The authorities of clients, and the verifier of their certificates.
    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(Vec<CertificateDer<'static>>, Arc<dyn ClientCertVerifier>), FileConcern> {
        let Some(path) = &self.client_ca_file else {
            return Ok((Vec::new(), WebPkiClientVerifier::no_client_auth()));
        };
        let unusable = |words| FileConcern::new("client_ca_file", path, words);
        let authorities = pem::certificates(path).map_err(unusable)?;
        let mut roots = RootCertStore::empty();
        for authority in &authorities {
            roots.add(authority.clone()).map_err(|error| unusable(error.to_string()))?;
        }
        let trusting =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .build()
                .map_err(|error| unusable(error.to_string()))?;
        Ok((authorities, verifier::of_clients(NamingPolicy(trusting), provider)))
    }

    /// Explains why the TLS library does not take the certificate and the key.
    fn refused(&self, error: &Error) -> FileConcern {
        let (key, path, words) = match error {
            Error::InconsistentKeys(_) => (
                "key_file",
                &self.key_file,
                format!(
                    "not the key of the first certificate in {}; use the key with which that \
                     certificate was requested, and put the server's certificate first",
                    self.cert_file.display()
                ),
            ),
            Error::InvalidCertificate(reason) => {
                ("cert_file", &self.cert_file, format!("the certificate is invalid: {reason}"))
            }
            _ => (
                "key_file",
                &self.key_file,
                format!(
                    "{error}; use a key for RSA of at least 2048 bits, ECDSA P-256 or P-384, or Ed25519"
                ),
            ),
        };
        FileConcern::new(key, path, words)
    }
}

impl FileConcern {
    fn new(key: &'static str, path: &Path, words: String) -> Self {
        Self { key, path: path.to_owned(), words }
    }
}

impl LoadedServer {
    /// The settings of the TLS library for new connections.
    #[must_use]
    pub fn config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// The verifier of clients in these settings.
    #[must_use]
    pub fn verifier(&self) -> &Arc<dyn ClientCertVerifier> {
        &self.verifier
    }

    /// The server's certificate.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        // A server without a certificate is not loaded.
        &self.chain[0]
    }

    /// The facts about the server's certificate.
    #[must_use]
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// The certificates that are not valid at this time. The TLS library accepts clients of an authority
    /// regardless of the validity of the authority's own certificate.
    #[must_use]
    pub fn warnings(&self, now: SystemTime) -> Vec<FileConcern> {
        let own = self.facts.invalid_at(now).map(|what| {
            let words = format!("the certificate {what}, and clients refuse it: renew it");
            FileConcern::new("cert_file", &self.files.cert_file, words)
        });
        let authorities = self.authorities.iter().filter_map(|authority| {
            let facts = CertificateFacts::of(authority)?;
            let words =
                format!("the certificate `{}` {}: replace it", facts.names, facts.invalid_at(now)?);
            let path = self.files.client_ca_file.as_deref()?;
            Some(FileConcern::new("client_ca_file", path, words))
        });
        own.into_iter().chain(authorities).collect()
    }
}

/// Two are equal if their files have the same certificates. Equal certificates have the same key.
impl PartialEq for LoadedServer {
    fn eq(&self, other: &Self) -> bool {
        self.files == other.files
            && self.chain == other.chain
            && self.authorities == other.authorities
    }
}

impl Eq for LoadedServer {}

#[cfg(test)]
mod tests;
