//! Verifiers of certificates by a policy, which decides about the certificate alone. That the peer has its key
//! is verified here, in the same way for every policy.

use std::fmt::Debug;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

/// Which clients a server accepts.
pub trait ClientPolicy: Debug + Send + Sync + 'static {
    /// Whether each client must have a certificate.
    fn is_mandatory(&self) -> bool;

    /// The authorities that a client may choose its certificate by; empty for any.
    fn authorities(&self) -> &[DistinguishedName];

    /// Accepts a certificate, which may come with those of intermediate authorities.
    ///
    /// # Errors
    /// Why it is refused.
    fn accept(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error>;
}

/// Which servers a client accepts.
pub trait ServerPolicy: Debug + Send + Sync + 'static {
    /// Accepts a certificate.
    ///
    /// # Errors
    /// Why it is refused.
    fn accept(&self, certificate: &CertificateDer<'_>) -> Result<(), Error>;

    /// Notes that the server has proved to have the key of an accepted certificate.
    fn note_proof(&self) {}
}

/// A verifier of clients. Certificates are requested from all of them.
#[must_use]
pub fn of_clients(
    policy: impl ClientPolicy,
    provider: &Arc<CryptoProvider>,
) -> Arc<dyn ClientCertVerifier> {
    Arc::new(PolicyVerifier { policy, provider: Arc::clone(provider) })
}

/// A verifier of servers.
#[must_use]
pub fn of_servers(
    policy: impl ServerPolicy,
    provider: &Arc<CryptoProvider>,
) -> Arc<dyn ServerCertVerifier> {
    Arc::new(PolicyVerifier { policy, provider: Arc::clone(provider) })
}

#[derive(Debug)]
struct PolicyVerifier<P> {
    policy: P,
    provider: Arc<CryptoProvider>,
}

type SignatureResult = Result<HandshakeSignatureValid, Error>;

impl<P> PolicyVerifier<P> {
    fn tls12(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> SignatureResult {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn tls13(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> SignatureResult {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

impl<P: ClientPolicy> ClientCertVerifier for PolicyVerifier<P> {
    fn client_auth_mandatory(&self) -> bool {
        self.policy.is_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.policy.authorities()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.policy.accept(end_entity, intermediates, now)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> SignatureResult {
        self.tls12(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> SignatureResult {
        self.tls13(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl<P: ServerPolicy> ServerCertVerifier for PolicyVerifier<P> {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.policy.accept(end_entity)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> SignatureResult {
        self.tls12(message, certificate, signature).inspect(|_| self.policy.note_proof())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> SignatureResult {
        self.tls13(message, certificate, signature).inspect(|_| self.policy.note_proof())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}
