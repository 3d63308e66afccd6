//! Signs datagrams for a listener with a `secret`.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use basics::bounded_read::read_bounded;
use basics::text::Secret;
use engine::protocol::signed::SigningKey;

/// Longest file with a secret, in bytes.
const FILE_BYTES_MAX: usize = 64 << 10;

/// Signs the datagrams of one socket, and numbers them.
#[derive(Debug)]
pub(crate) struct Signer {
    key: SigningKey,
    /// The number of the next datagram.
    next: u32,
}

impl Signer {
    /// Creates a signer. The numbers begin anywhere: two senders with the same numbers, messages and time
    /// would send the same datagram, which is accepted once.
    pub(crate) fn new(secret: &Secret) -> Self {
        let next = RandomState::new().hash_one(0) as u32;
        Self { key: SigningKey::new(secret.reveal()), next }
    }

    /// Appends a signed datagram with these messages.
    pub(crate) fn sign(&mut self, messages: &[u8], out: &mut Vec<u8>) {
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
        self.key.sign(seconds, self.next, messages, out);
        self.next = self.next.wrapping_add(1);
    }
}

/// Reads a secret from a file, without the newline at its end, as `${file:…}` does in a configuration.
///
/// # Errors
/// A sentence that names the file.
pub(crate) fn read_secret(path: &Path) -> Result<Secret, String> {
    let shown = path.display();
    let bytes = read_bounded(path, FILE_BYTES_MAX).map_err(|error| {
        format!("cannot read the secret in {shown}: {error}; correct --secret-file")
    })?;
    let text = String::from_utf8(bytes).map_err(|_| format!("{shown} is not UTF-8"))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    match text.strip_suffix('\r').unwrap_or(text) {
        "" => Err(format!("{shown} is empty: put the listener's `secret` into it")),
        secret => Ok(Secret::new(secret)),
    }
}
