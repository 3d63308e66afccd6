//! Recognises a server by its certificate, without an authority: one of this host, whose certificate is
//! in a file, and which is reached at an address that the certificate need not contain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, Error};
use tlsserver::verifier::{self, ServerPolicy};

/// Accepts one certificate, whatever its names and validity. The server must have its key. A clone shares
/// whether it has been met.
#[derive(Clone, Debug)]
pub struct PinnedServer {
    certificate: CertificateDer<'static>,
    has_met: Arc<AtomicBool>,
}

impl PinnedServer {
    /// Accepts the server with this certificate.
    #[must_use]
    pub fn new(certificate: CertificateDer<'static>) -> Self {
        Self { certificate, has_met: Arc::default() }
    }

    /// The verifier for connections to the server.
    #[must_use]
    pub fn verifier(&self, provider: &Arc<CryptoProvider>) -> Arc<dyn ServerCertVerifier> {
        verifier::of_servers(self.clone(), provider)
    }

    /// Whether a server has proved that it has the certificate's key: a copy of the certificate is no proof.
    /// It may then refuse the client.
    #[must_use]
    pub fn has_met(&self) -> bool {
        self.has_met.load(Ordering::Relaxed)
    }
}

impl ServerPolicy for PinnedServer {
    fn accept(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        if *certificate == self.certificate {
            return Ok(());
        }
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }

    fn note_proof(&self) {
        self.has_met.store(true, Ordering::Relaxed);
    }
}
