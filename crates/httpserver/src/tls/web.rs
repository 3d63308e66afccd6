//! `tls_server_config` of an exporter-toolkit file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use basics::text::Secret;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ProtocolVersion, RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;
use tlsserver::{pem, verifier};

use super::client_certificates::{AnyCertificate, NamedCertificate};
use super::words::{CipherName, ClientAuthType, CurveName, TlsVersion};
use super::{CertificateProof, LoadedTls, TlsProblem, is_set, speak_http};

/// `tls_server_config`. Without any key, the server speaks plain HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct WebTls {
    cert: String,
    key: Secret,
    client_ca: String,
    cert_file: PathBuf,
    key_file: PathBuf,
    client_auth_type: ClientAuthType,
    client_ca_file: PathBuf,
    client_allowed_sans: Option<Vec<String>>,
    min_version: TlsVersion,
    max_version: TlsVersion,
    cipher_suites: Vec<CipherName>,
    prefer_server_cipher_suites: bool,
    curve_preferences: Vec<CurveName>,
}

impl Default for WebTls {
    fn default() -> Self {
        Self {
            cert: String::new(),
            key: Secret::default(),
            client_ca: String::new(),
            cert_file: PathBuf::new(),
            key_file: PathBuf::new(),
            client_auth_type: ClientAuthType::default(),
            client_ca_file: PathBuf::new(),
            client_allowed_sans: None,
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
            cipher_suites: Vec::new(),
            prefer_server_cipher_suites: true,
            curve_preferences: Vec::new(),
        }
    }
}

impl WebTls {
    /// Whether the file configures TLS. A setting that needs TLS counts too: it must not be ignored.
    pub(crate) fn is_enabled(&self) -> bool {
        *self != Self::default()
    }

    /// Makes relative paths relative to the folder of the file.
    pub(crate) fn below(mut self, folder: &Path) -> Self {
        for path in [&mut self.cert_file, &mut self.key_file, &mut self.client_ca_file] {
            if is_set(path) {
                *path = folder.join(&path);
            }
        }
        self
    }

    /// The files that it names.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let files = [&self.cert_file, &self.key_file, &self.client_ca_file];
        files.into_iter().map(PathBuf::as_path).filter(|path| is_set(path))
    }

    /// Reads the files.
    pub(crate) fn load(&self) -> Result<LoadedTls, TlsProblem> {
        let provider = Arc::new(self.provider());
        let (chain, key) = (self.chain()?, self.private_key()?);
        let certificate = chain.first().cloned().unwrap_or_else(|| Vec::new().into());
        let (verifier, proof) = self.client_verifier(&provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.versions()?)
            .map_err(|error| TlsProblem::new("cipher_suites", error.to_string()))?
            .with_client_cert_verifier(Arc::clone(&verifier))
            .with_single_cert(chain, key)
            .map_err(|error| {
                let words = format!("{error}; the key must be that of the first certificate");
                TlsProblem::new("key_file", words)
            })?;
        config.ignore_client_order = self.prefer_server_cipher_suites;
        speak_http(&mut config);
        Ok(LoadedTls { config: Arc::new(config), certificate, verifier, proof })
    }

    /// The cipher suites and curves to offer, in the order of the file.
    fn provider(&self) -> CryptoProvider {
        let mut provider = default_provider();
        if !self.cipher_suites.is_empty() {
            let all = std::mem::take(&mut provider.cipher_suites);
            let (tls13, tls12): (Vec<_>, Vec<_>) = all
                .into_iter()
                .partition(|suite| suite.version().version == ProtocolVersion::TLSv1_3);
            let listed = self.cipher_suites.iter().filter_map(|CipherName(name)| {
                tls12.iter().find(|suite| suite.suite().as_str() == Some(name))
            });
            provider.cipher_suites = tls13.into_iter().chain(listed.copied()).collect();
        }
        if !self.curve_preferences.is_empty() {
            let all = std::mem::take(&mut provider.kx_groups);
            let listed = self.curve_preferences.iter();
            let found = listed.filter_map(|curve| all.iter().find(|group| group.name() == curve.0));
            provider.kx_groups = found.copied().collect();
        }
        provider
    }

    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsProblem> {
        let all = [(TlsVersion::Tls12, &TLS12), (TlsVersion::Tls13, &TLS13)];
        let range = self.min_version..=self.max_version;
        let versions: Vec<_> = all
            .into_iter()
            .filter(|(version, _)| range.contains(version))
            .map(|(_, v)| v)
            .collect();
        if versions.is_empty() {
            return Err(TlsProblem::new("max_version", "is below `min_version`"));
        }
        Ok(versions)
    }

    /// The certificate of the server and those of intermediate authorities.
    pub(crate) fn chain(&self) -> Result<Vec<CertificateDer<'static>>, TlsProblem> {
        certificates(("cert", &self.cert), ("cert_file", &self.cert_file))?
            .ok_or_else(|| TlsProblem::new("cert_file", "is missing: TLS needs a certificate"))
    }

    fn private_key(&self) -> Result<PrivateKeyDer<'static>, TlsProblem> {
        let inline = self.key.reveal();
        match (inline.is_empty(), is_set(&self.key_file)) {
            (false, false) => {
                let key = pem::key_in(inline.as_bytes());
                key.map_err(|words| TlsProblem::new("key", words))
            }
            (true, true) => pem::key(&self.key_file).map_err(|words| {
                TlsProblem::new("key_file", format!("{}: {words}", self.key_file.display()))
            }),
            (false, true) => Err(both("key", "key_file")),
            (true, false) => {
                Err(TlsProblem::new("key_file", "is missing: the certificate needs its key"))
            }
        }
    }

    /// The verifier of clients, and whether a certificate that it accepts proves an identity.
    fn client_verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(Arc<dyn ClientCertVerifier>, CertificateProof), TlsProblem> {
        use ClientAuthType as Type;
        let authorities =
            certificates(("client_ca", &self.client_ca), ("client_ca_file", &self.client_ca_file))?;
        let any = |is_required| {
            let verifier = verifier::of_clients(AnyCertificate { is_required }, provider);
            (verifier, CertificateProof::Nothing)
        };
        let (inner, proof) = match self.client_auth_type {
            Type::Unset | Type::NoClientCert => {
                if authorities.is_some() {
                    let words = "is without effect unless `client_auth_type` is set: use \
                                 RequireAndVerifyClientCert";
                    return Err(TlsProblem::new("client_ca_file", words));
                }
                (WebPkiClientVerifier::no_client_auth(), CertificateProof::Nothing)
            }
            Type::RequestClientCert => any(false),
            Type::RequireAnyClientCert => any(true),
            Type::VerifyClientCertIfGiven => {
                (trusting(authorities, provider, false)?, CertificateProof::IfGiven)
            }
            Type::RequireAndVerifyClientCert => {
                (trusting(authorities, provider, true)?, CertificateProof::Always)
            }
        };
        let Some(names) = self.client_allowed_sans.clone() else { return Ok((inner, proof)) };
        let is_required = matches!(
            self.client_auth_type,
            Type::RequireAnyClientCert | Type::RequireAndVerifyClientCert
        );
        if !is_required {
            let words = "needs `client_auth_type: RequireAndVerifyClientCert`";
            return Err(TlsProblem::new("client_allowed_sans", words));
        }
        Ok((verifier::of_clients(NamedCertificate { inner, names }, provider), proof))
    }
}

fn both(inline: &str, file: &str) -> TlsProblem {
    TlsProblem::new(inline, format!("contradicts `{file}`: remove one of them"))
}

/// Certificates that are in the file itself or in another one; `None` if neither key is set.
fn certificates(
    (inline_key, inline): (&str, &str),
    (file_key, file): (&str, &Path),
) -> Result<Option<Vec<CertificateDer<'static>>>, TlsProblem> {
    match (inline.is_empty(), is_set(file)) {
        (true, false) => Ok(None),
        (false, true) => Err(both(inline_key, file_key)),
        (false, false) => {
            let found = pem::certificates_in(inline.as_bytes());
            found.map(Some).map_err(|words| TlsProblem::new(inline_key, words))
        }
        (true, true) => pem::certificates(file)
            .map(Some)
            .map_err(|words| TlsProblem::new(file_key, format!("{}: {words}", file.display()))),
    }
}

/// Accepts the certificates that one of these authorities has signed.
fn trusting(
    authorities: Option<Vec<CertificateDer<'static>>>,
    provider: &Arc<CryptoProvider>,
    is_required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, TlsProblem> {
    // The toolkit would trust every authority of the system, and so everyone with any certificate.
    let authorities = authorities.ok_or_else(|| {
        let words = "needs `client_ca_file`: the authorities that sign the certificates of clients";
        TlsProblem::new("client_auth_type", words)
    })?;
    let unusable =
        |error: &dyn std::fmt::Display| TlsProblem::new("client_ca_file", error.to_string());
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority).map_err(|error| unusable(&error))?;
    }
    let builder =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if is_required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| unusable(&error))
}
