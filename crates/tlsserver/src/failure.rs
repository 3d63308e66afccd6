//! Why a handshake failed: a reason to count, and words for the log.

use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};

use crate::client_auth::take_refused;

/// The reason why a handshake did not complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client's certificate is not acceptable.
    BadCertificate,
    /// The client sent no certificate, but must.
    NoCertificate,
    /// The client does not accept the server's certificate.
    Rejected,
    /// The first byte does not belong to TLS.
    NotTls,
    /// The client broke the protocol, or has no version or cipher suite in common.
    Protocol,
    /// It, or the connection without any message, took too long.
    Timeout,
    /// It, or its connection, had taken the longest when another one needed its place.
    TooMany,
    /// The connection ended for another reason.
    Closed,
}

impl HandshakeFailure {
    /// All reasons, in the order of listings.
    pub const ALL: [Self; 8] = [
        Self::BadCertificate,
        Self::NoCertificate,
        Self::Rejected,
        Self::NotTls,
        Self::Protocol,
        Self::Timeout,
        Self::TooMany,
        Self::Closed,
    ];

    /// The name in the status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BadCertificate => "bad_certificate",
            Self::NoCertificate => "no_certificate",
            Self::Rejected => "rejected",
            Self::NotTls => "not_tls",
            Self::Protocol => "protocol",
            Self::Timeout => "timeout",
            Self::TooMany => "too_many",
            Self::Closed => "closed",
        }
    }

    /// The reason for an error of the TLS library.
    #[must_use]
    pub fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(_) => Self::BadCertificate,
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::AlertReceived(alert) if is_about_certificate(*alert) => Self::Rejected,
            _ => Self::Protocol,
        }
    }
}

/// Whether the first byte of a connection can begin a TLS handshake.
#[must_use]
pub fn is_tls(first: u8) -> bool {
    // ContentType handshake, RFC 8446, 5.1.
    first == 0x16
}

/// Explains an error of the TLS library to the operator. Call it in the thread that got the error: it
/// includes the names of the certificate that this thread refused.
#[must_use]
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(reason) => {
            let names = take_refused().unwrap_or_else(|| "unknown".to_owned());
            format!("certificate of the client ({names}) refused: {}", refusal(reason))
        }
        Error::NoCertificatesPresented => {
            "the client sent no certificate; configure one there".to_owned()
        }
        Error::AlertReceived(alert) if is_about_certificate(*alert) => format!(
            "the client does not accept the certificate of this listener ({alert:?}); it must trust \
             the issuer, and connect to a name in the certificate"
        ),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            "the client has no cipher suite in common; it needs TLS 1.2 with ECDHE, or TLS 1.3"
                .to_owned()
        }
        Error::PeerIncompatible(_) => {
            format!("the client needs TLS 1.2 with ECDHE, or TLS 1.3 ({error})")
        }
        _ => error.to_string(),
    }
}

fn refusal(reason: &CertificateError) -> String {
    use CertificateError::{
        BadSignature, Expired, ExpiredContext, InvalidPurpose, InvalidPurposeContext, NotValidYet,
        NotValidYetContext, UnknownIssuer,
    };
    let words = match reason {
        UnknownIssuer => "no certificate in `client_ca_file` issued it",
        Expired | ExpiredContext { .. } => "it has expired",
        NotValidYet | NotValidYetContext { .. } => "it is not valid yet, or a clock is wrong",
        InvalidPurpose | InvalidPurposeContext { .. } => {
            "its extended key usage does not include clientAuth"
        }
        BadSignature => "its signature is wrong",
        other => return other.to_string(),
    };
    words.to_owned()
}

fn is_about_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
    )
}
