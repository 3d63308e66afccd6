//! Verifies the certificates of clients, and keeps the names of a refused one for the log.

use std::cell::RefCell;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::{DistinguishedName, Error};

use crate::certificate::names_of;
use crate::verifier::ClientPolicy;

thread_local! {
    /// The names of the certificate that this thread refused last. The library's error has no room for
    /// them that keeps the alert that the client gets, and verification runs in the thread that then
    /// sees the error.
    static REFUSED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Takes the names of the certificate that this thread refused last.
pub(crate) fn take_refused() -> Option<String> {
    REFUSED.take()
}

/// The policy of another verifier, which keeps the names of the certificates that it refuses.
#[derive(Debug)]
pub(crate) struct NamingPolicy(pub(crate) Arc<dyn ClientCertVerifier>);

impl ClientPolicy for NamingPolicy {
    fn is_mandatory(&self) -> bool {
        self.0.client_auth_mandatory()
    }

    fn authorities(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn accept(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let verified = self.0.verify_client_cert(certificate, intermediates, now);
        REFUSED.set(verified.is_err().then(|| names_of(certificate)));
        verified.map(|_| ())
    }
}
