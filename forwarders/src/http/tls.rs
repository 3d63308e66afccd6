//! The TLS settings: the trusted servers, and this host's certificate.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use thiserror::Error;
use tlsserver::pem;
use tlsserver::verifier::{self, ServerPolicy};

/// `tls`: how a server proves its identity, and how this daemon proves its identity to the server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// A PEM file with the certificates to trust instead of the system's. Defaults to `""`, the
    /// system's.
    pub ca_file: PathBuf,
    /// A PEM file with a certificate of this host, for a server that requests one; requires
    /// `key_file`. Defaults to `""`, none.
    pub cert_file: PathBuf,
    /// A PEM file with that certificate's key. Defaults to `""`, none.
    pub key_file: PathBuf,
    /// Accepts any certificate. Anyone on the network path can then read the metrics and the
    /// credentials; the log warns of it at every start. Defaults to `false`.
    pub insecure_skip_verify: bool,
}

/// Why TLS cannot be set up.
#[derive(Debug, Error)]
pub enum TlsError {
    /// A file that the section names is unusable.
    #[error("`tls.{key}`: {}: {reason}", path.display())]
    File {
        /// The key of the file in the section.
        key: &'static str,
        /// The path of the file.
        path: PathBuf,
        /// Why the file is unusable.
        reason: String,
    },
    /// Only one of two keys that belong together is set.
    #[error("`tls.cert_file` and `tls.key_file` belong together: set both or neither")]
    HalfIdentity,
    /// There is no trusted certificate with which to verify a server.
    #[error(
        "this system has no trusted certificates: install the package ca-certificates, or set \
         `tls.ca_file`"
    )]
    NoRoots,
    /// The TLS library rejects the settings.
    #[error("TLS cannot be set up: {0}")]
    Refused(#[from] rustls::Error),
}

impl TlsConfig {
    /// Converts the section to the settings of the TLS library. Reads the files that it names.
    pub(super) fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let builder = httpclient::tls()?;
        let builder = if self.insecure_skip_verify {
            let any = verifier::of_servers(AnyServer, builder.crypto_provider());
            builder.dangerous().with_custom_certificate_verifier(any)
        } else {
            builder.with_root_certificates(self.roots()?)
        };
        match (given(&self.cert_file), given(&self.key_file)) {
            (Some(cert), Some(key)) => {
                let chain = certificates("cert_file", cert)?;
                let key = pem::key(key).map_err(|reason| unusable("key_file", key, &reason))?;
                Ok(builder.with_client_auth_cert(chain, key)?)
            }
            (None, None) => Ok(builder.with_no_client_auth()),
            _ => Err(TlsError::HalfIdentity),
        }
    }

    /// The certificates to trust: those in `ca_file`, or the system's.
    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = given(&self.ca_file) {
            for certificate in certificates("ca_file", path)? {
                roots.add(certificate).map_err(|error| unusable("ca_file", path, &error))?;
            }
        } else {
            // A system may contain certificates that the library cannot parse. They are skipped,
            // unlike in `ca_file`, whose certificates were chosen by the operator.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        if roots.is_empty() { Err(TlsError::NoRoots) } else { Ok(roots) }
    }
}

fn given(path: &Path) -> Option<&Path> {
    Some(path).filter(|path| !path.as_os_str().is_empty())
}

fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    pem::certificates(path).map_err(|reason| unusable(key, path, &reason))
}

fn unusable(key: &'static str, path: &Path, reason: &impl ToString) -> TlsError {
    TlsError::File { key, path: path.to_owned(), reason: reason.to_string() }
}

/// Accepts every certificate, for `insecure_skip_verify`. Signatures are still checked, so a server
/// must have the key of its certificate.
#[derive(Debug)]
struct AnyServer;

impl ServerPolicy for AnyServer {
    fn accept(&self, _certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        Ok(())
    }
}
