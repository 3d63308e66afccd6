//! The names by which an exporter-toolkit file selects versions, cipher suites and curves: those of Go.

use rustls::NamedGroup;
use rustls::crypto::ring::default_provider;
use serde::Deserialize;

/// Go's names of the cipher suites of TLS 1.3. Neither Go nor rustls can select among them.
const TLS13_SUITES: [&str; 3] =
    ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum TlsVersion {
    Tls12,
    Tls13,
}

impl TryFrom<String> for TlsVersion {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "TLS12" => Ok(Self::Tls12),
            "TLS13" => Ok(Self::Tls13),
            "TLS10" | "TLS11" => Err(format!("tallyd does not speak {text}: use TLS12 or TLS13")),
            _ => Err(format!("`{text}` is not a version of TLS: use TLS12 or TLS13")),
        }
    }
}

/// How the certificates of clients are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum ClientAuthType {
    /// Not set, which is `NoClientCert`.
    #[default]
    #[serde(rename = "")]
    Unset,
    NoClientCert,
    RequestClientCert,
    #[serde(alias = "RequireClientCert")]
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

/// The name of a cipher suite.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct CipherName(pub(crate) String);

impl TryFrom<String> for CipherName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let suites = default_provider().cipher_suites;
        let mut known: Vec<&str> =
            suites.iter().filter_map(|suite| suite.suite().as_str()).collect();
        known.retain(|name| !name.starts_with("TLS13_"));
        if known.contains(&text.as_str()) || TLS13_SUITES.contains(&text.as_str()) {
            return Ok(Self(text));
        }
        let all = [known.as_slice(), &TLS13_SUITES].concat().join(", ");
        Err(format!("the cipher suite `{text}` is not available: use {all}"))
    }
}

/// The name of an elliptic curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct CurveName(pub(crate) NamedGroup);

impl TryFrom<String> for CurveName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "X25519" => Ok(Self(NamedGroup::X25519)),
            "CurveP256" => Ok(Self(NamedGroup::secp256r1)),
            "CurveP384" => Ok(Self(NamedGroup::secp384r1)),
            _ => Err(format!(
                "the curve `{text}` is not available: use X25519, CurveP256 or CurveP384"
            )),
        }
    }
}
