//! Who may use a server: users with passwords, bearer tokens and client certificates.
//!
//! [`AccessConfig`] has the keys of a section of the configuration, [`Access`] adds the content of the
//! files that they name, and [`AccessGate`] decides about requests. An [`Access`] never changes: a reload, or a
//! changed file, replaces it as a whole. A connection keeps the version under which it was accepted
//! ([`Entry`]), and ends after its current request when the rules change.

mod authorization;
mod config;
mod error;
mod files;
mod gate;
mod identity;
mod loaded;
mod own_certificate;
mod password_hash;
mod passwords;
mod rate_limit;
mod token;
mod web_config;

pub use self::config::{AccessConfig, AccessLimits};
pub use self::error::AccessError;
pub(crate) use self::gate::{AccessGate, Denial};
pub(crate) use self::identity::Entry;
pub use self::identity::Identity;
pub use self::loaded::{Access, AccessVersion};
pub use self::password_hash::{PasswordHash, UserName};
pub use self::token::AccessToken;
