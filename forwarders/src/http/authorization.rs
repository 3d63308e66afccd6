//! Builds values of the header `Authorization`.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use basics::text::Secret;

/// The value for a user and a password (RFC 7617). The user must not contain `:`.
#[must_use]
pub fn basic(user: &str, password: &str) -> Secret {
    Secret::new(format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}"))))
}

/// The value for a token (RFC 6750).
#[must_use]
pub fn bearer(token: &str) -> Secret {
    Secret::new(format!("Bearer {token}"))
}
