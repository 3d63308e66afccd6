//! The clients of a server: how each has come in, and how it has proved its identity.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};

use super::loaded::Access;
use super::password_hash::UserName;
use crate::tls::LoadedTls;

/// How a client proved its identity. An extension of the requests at addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// As a user with a password.
    User(UserName),
    /// With the token at this position of the list, from 1.
    Token(usize),
    /// With a certificate that a trusted authority signed.
    Certificate,
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(formatter, "user {}", name.as_str().escape_debug()),
            Self::Token(position) => write!(formatter, "token {position}"),
            Self::Certificate => formatter.write_str("client certificate"),
        }
    }
}

/// The access of a connection, from its beginning to its end. Later rules end the connection, so that no
/// connection mixes two versions.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The access when the client connected.
    pub(crate) access: Arc<Access>,
    /// The certificates that the client has sent, its own first; none without TLS.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

impl Entry {
    /// Whether the client has proved its identity by a certificate.
    pub(super) fn has_certificate(&self) -> bool {
        let verifies = self.access.tls().is_some_and(LoadedTls::verifies_certificates);
        verifies && !self.certificates.is_empty()
    }

    /// Whether another version would admit the client too: with the same certificate, and by the same
    /// password or token.
    pub(super) fn is_admitted_by(&self, other: &Access, identity: Option<&Identity>) -> bool {
        let is_trusted = other.tls().is_none_or(|tls| {
            self.access.is_encrypted() && tls.accepts(&self.certificates, UnixTime::now())
        });
        is_trusted && (!other.needs_credentials() || self.is_known_to(other, identity))
    }

    fn is_known_to(&self, other: &Access, identity: Option<&Identity>) -> bool {
        match identity {
            Some(Identity::User(name)) => {
                let hash = self.access.users.get(name);
                hash.is_some() && hash == other.users.get(name)
            }
            Some(Identity::Token(position)) => {
                let token = position.checked_sub(1).and_then(|at| self.access.tokens.get(at));
                token.is_some_and(|token| other.tokens.contains(token))
            }
            Some(Identity::Certificate) | None => false,
        }
    }
}
