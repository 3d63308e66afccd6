//! Which servers a command trusts over `https://`.

use std::path::{Path, PathBuf};

use httpclient::pinned::PinnedServer;
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tlsserver::pem;

/// A certificate of the client and its key, as files.
type IdentityFiles = Option<(PathBuf, PathBuf)>;

/// The servers that a client trusts, and its own certificate.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerTrust {
    trusted: Trusted,
    identity: IdentityFiles,
}

/// The servers that a client trusts.
#[derive(Clone, Debug, Default)]
enum Trusted {
    /// Those whose certificate an authority of the system has signed.
    #[default]
    System,
    /// Those whose certificate one of these authorities has signed, or is one of them.
    Authorities(Vec<CertificateDer<'static>>),
    /// The one with this certificate, under any name: the endpoint of the local configuration is
    /// reached at an address that its certificate need not contain.
    Only(CertificateDer<'static>),
}

impl ServerTrust {
    pub(super) fn system(identity: IdentityFiles) -> Self {
        Self { trusted: Trusted::System, identity }
    }

    pub(super) fn only(certificate: CertificateDer<'static>, identity: IdentityFiles) -> Self {
        Self { trusted: Trusted::Only(certificate), identity }
    }

    /// Trusts the authorities in a PEM file.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub(super) fn authorities(path: &Path, identity: IdentityFiles) -> Result<Self, String> {
        let found = pem::certificates(path);
        let found = found.map_err(|words| format!("--ca-file {}: {words}", path.display()))?;
        Ok(Self { trusted: Trusted::Authorities(found), identity })
    }

    pub(super) fn has_identity(&self) -> bool {
        self.identity.is_some()
    }

    /// The settings of the TLS library.
    ///
    /// # Errors
    /// Why a certificate or key cannot be used.
    pub(super) fn client_config(&self) -> Result<ClientConfig, String> {
        let builder = httpclient::tls().map_err(|error| error.to_string())?;
        let builder = match &self.trusted {
            Trusted::Only(certificate) => {
                let pinned = PinnedServer::new(certificate.clone());
                let verifier = pinned.verifier(builder.crypto_provider());
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
            Trusted::Authorities(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    roots.add(authority.clone()).map_err(|error| format!("--ca-file: {error}"))?;
                }
                builder.with_root_certificates(roots)
            }
            Trusted::System => {
                let mut roots = RootCertStore::empty();
                let system = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(system.certs);
                builder.with_root_certificates(roots)
            }
        };
        let Some((cert, key)) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = pem::certificates(cert);
        let chain = chain.map_err(|words| format!("--cert {}: {words}", cert.display()))?;
        let private = pem::key(key).map_err(|words| format!("--key {}: {words}", key.display()))?;
        builder.with_client_auth_cert(chain, private).map_err(|error| format!("--key: {error}"))
    }
}
