//! TLS of the daemon's servers: certificates from files, verification of clients, and the words for a
//! handshake that fails. Its clients of other servers share [`pem`] and [`verifier`].
//!
//! [`ServerFiles::load`] reads the files and returns settings for new connections, or an error that
//! names a file; so a reload that fails keeps the previous settings. This crate has no socket: callers
//! drive the TLS library, rustls with ring, themselves.

pub mod certificate;
mod client_auth;
pub mod failure;
pub mod files;
pub mod pem;
pub mod verifier;

pub use self::certificate::CertificateFacts;
pub use self::failure::HandshakeFailure;
pub use self::files::{FileConcern, LoadedServer, ServerFiles};
pub use rustls;
