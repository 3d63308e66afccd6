//! Replay windows in a form that can be stored, so that a restart accepts no datagram again.
//!
//! ```text
//! identity of the key, 32 bytes · first second · last unknown second · its window · number of seconds
//!     for each: second · number · numbers
//! ```
//!
//! All numbers are little-endian, of 8 bytes. The decoder trusts no length.

use std::collections::{BTreeMap, HashSet};

use super::replay::ReplayWindow;
use crate::protocol::signed::KeyIdentity;

/// Bytes of a number.
const NUMBER_BYTES: usize = size_of::<u64>();
/// Bytes of a window without seconds.
const HEAD_BYTES: usize = size_of::<KeyIdentity>() + 4 * NUMBER_BYTES;

/// Appends a window in at most `room` bytes. If it does not fit, the oldest seconds are left out, and the
/// restored window refuses all datagrams of them. Returns whether the key has any room.
pub(super) fn encode(
    key: &KeyIdentity,
    window: &ReplayWindow,
    room: usize,
    out: &mut Vec<u8>,
) -> bool {
    let Some(mut room) = room.checked_sub(HEAD_BYTES) else { return false };
    let (mut first, mut seconds) = (window.first(), Vec::new());
    for (second, ids) in window.accepted() {
        let needed = (2 + ids.len()) * NUMBER_BYTES;
        if needed > room {
            first = first.max(second.saturating_add(1));
            break;
        }
        room -= needed;
        seconds.push((second, ids));
    }
    out.extend_from_slice(key);
    let mut put = |number: u64| out.extend_from_slice(&number.to_le_bytes());
    put(first);
    put(window.unknown().until);
    put(window.unknown().window);
    put(seconds.len() as u64);
    for (second, ids) in seconds {
        put(second);
        put(ids.len() as u64);
        ids.iter().copied().for_each(&mut put);
    }
    true
}

/// Decodes windows; `None` if [`encode`] cannot have written the bytes.
pub(super) fn decode(mut bytes: &[u8]) -> Option<Vec<(KeyIdentity, ReplayWindow)>> {
    let mut windows = Vec::new();
    while !bytes.is_empty() {
        let (key, rest) = bytes.split_first_chunk()?;
        bytes = rest;
        let first = number(&mut bytes)?;
        let unknown = (number(&mut bytes)?, number(&mut bytes)?);
        let seconds = number(&mut bytes)?;
        let mut accepted = BTreeMap::new();
        for _ in 0..seconds {
            let (second, length) = (number(&mut bytes)?, number(&mut bytes)?);
            let length = usize::try_from(length).ok()?.checked_mul(NUMBER_BYTES)?;
            let (ids, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            let ids = ids.as_chunks().0.iter().map(|id| u64::from_le_bytes(*id));
            accepted.insert(second, ids.collect::<HashSet<u64>>());
        }
        windows.push((*key, ReplayWindow::restored(first, unknown, accepted)));
    }
    Some(windows)
}

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u64::from_le_bytes(*number))
}
