//! Verifies the certificates of clients as an exporter-toolkit file says.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, DistinguishedName, Error};
use tlsserver::certificate::alternative_names;
use tlsserver::verifier::ClientPolicy;

/// Accepts every certificate, whoever signed it: `RequestClientCert` and `RequireAnyClientCert`.
#[derive(Debug)]
pub(super) struct AnyCertificate {
    pub(super) is_required: bool,
}

impl ClientPolicy for AnyCertificate {
    fn is_mandatory(&self) -> bool {
        self.is_required
    }

    fn authorities(&self) -> &[DistinguishedName] {
        &[]
    }

    fn accept(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<(), Error> {
        Ok(())
    }
}

/// Accepts a certificate that another verifier accepts if one of its alternative names is listed:
/// `client_allowed_sans`.
#[derive(Debug)]
pub(super) struct NamedCertificate {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    pub(super) names: Vec<String>,
}

impl ClientPolicy for NamedCertificate {
    fn is_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn authorities(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn accept(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        self.inner.verify_client_cert(certificate, intermediates, now)?;
        if alternative_names(certificate).iter().any(|name| self.names.contains(name)) {
            return Ok(());
        }
        Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
    }
}
