//! Recognises a server by its certificate, without an authority: one of this host, whose certificate is
//! in a file, and which is reached at an address that the certificate need not contain.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, SignatureScheme};

/// Accepts one certificate, whatever its names and validity. The server must have its key.
#[derive(Debug)]
pub struct PinnedServer {
    certificate: CertificateDer<'static>,
    provider: Arc<CryptoProvider>,
    has_met: AtomicBool,
}

impl PinnedServer {
    /// Accepts the server with this certificate.
    #[must_use]
    pub fn new(certificate: CertificateDer<'static>, provider: &Arc<CryptoProvider>) -> Self {
        Self { certificate, provider: Arc::clone(provider), has_met: AtomicBool::new(false) }
    }

    /// Whether a server has proved that it has the certificate's key: a copy of the certificate is no proof.
    /// It may then refuse the client.
    #[must_use]
    pub fn has_met(&self) -> bool {
        self.has_met.load(Ordering::Relaxed)
    }

    fn met<T>(&self, verified: Result<T, Error>) -> Result<T, Error> {
        self.has_met.fetch_or(verified.is_ok(), Ordering::Relaxed);
        verified
    }
}

impl ServerCertVerifier for PinnedServer {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if *end_entity == self.certificate {
            return Ok(ServerCertVerified::assertion());
        }
        Err(Error::InvalidCertificate(CertificateError::UnknownIssuer))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.met(verify_tls12_signature(message, certificate, signature, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.met(verify_tls13_signature(message, certificate, signature, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
