//! Checks signed datagrams, and the memory of accepted ones.

use std::collections::HashSet;
use std::net::SocketAddr;

use ring::digest;

use crate::listener::signature::replay::{ReplayBounds, ReplayRefusal, ReplayWindow};
use crate::listener::signature::sequence::{DatagramOrder, SenderSequences};
use crate::protocol::signed::{SIGNATURE_BYTES, SignedDatagram, SigningKey};

const SECRET: &str = "the secret of the fuzz target";
/// Block size of SHA-256.
const BLOCK_BYTES: usize = 64;

/// The first byte selects the check, and the rest is its input.
pub fn check(input: &[u8]) {
    let Some((selected, rest)) = input.split_first() else { return };
    match selected % 3 {
        0 => datagram(rest),
        1 => replays(rest),
        _ => sequences(rest),
    }
}

/// A datagram is authentic if, and only if, it begins with the HMAC of its rest.
fn datagram(bytes: &[u8]) {
    let key = SigningKey::new(SECRET);
    let parsed = SignedDatagram::parse(bytes);
    assert_eq!(parsed.is_some(), bytes.len() >= SIGNATURE_BYTES);
    if let Some(parsed) = parsed {
        let (tag, signed) = bytes.split_at(32);
        assert_eq!(parsed.is_signed_with(&key), tag == hmac(SECRET.as_bytes(), signed));
        assert_eq!(parsed.messages, &bytes[SIGNATURE_BYTES..]);
    }
    let mut signed = Vec::new();
    key.sign(bytes.len() as u64, 7, bytes, &mut signed);
    assert_eq!(signed[..32], hmac(SECRET.as_bytes(), &signed[32..]));
    let again = SignedDatagram::parse(&signed).expect("long enough");
    assert!(again.is_signed_with(&key));
    assert_eq!((again.seconds, again.nonce, again.messages), (bytes.len() as u64, 7, bytes));
}

/// The reference: RFC 2104, for keys that are not longer than a block.
fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    let padded = |pad: u8| {
        let mut block = [pad; BLOCK_BYTES];
        block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
        block.to_vec()
    };
    let hash = |bytes: &[u8]| digest::digest(&digest::SHA256, bytes).as_ref().to_vec();
    let inner = hash(&[padded(0x36), message.to_vec()].concat());
    hash(&[padded(0x5c), inner].concat())
}

/// Nothing is accepted twice, and nothing outside of the window. The first byte is the maximum number of
/// datagrams; then each datagram has a byte for the time that has passed, for the time of its signature,
/// and for its identity.
fn replays(input: &[u8]) {
    let Some((most, datagrams)) = input.split_first() else { return };
    let bounds = ReplayBounds { seconds: 16, datagrams: usize::from(*most).max(1) };
    let (mut window, mut accepted, mut now) = (ReplayWindow::new(999), HashSet::new(), 1_000);
    for datagram in datagrams.chunks_exact(3) {
        now += u64::from(datagram[0] % 8);
        let signed = now + u64::from(datagram[1] % 64) - 32;
        let id = u64::from(datagram[2]);
        let is_near = signed >= 1_000 && signed.abs_diff(now) <= bounds.seconds;
        match window.accept(now, bounds, signed, id) {
            Ok(_) => assert!(is_near && accepted.insert((signed, id))),
            Err(ReplayRefusal::Replayed) => assert!(accepted.contains(&(signed, id))),
            Err(ReplayRefusal::FromFuture) => assert!(signed > now + bounds.seconds),
            Err(ReplayRefusal::MaybeReplayed) => assert!(signed < 1_000),
            // With room, only datagrams outside of the window are refused.
            Err(ReplayRefusal::Stale | ReplayRefusal::Full) => {
                assert!(!is_near || accepted.len() >= bounds.datagrams);
            }
        }
    }
}

/// A sender never has more lost datagrams than numbers between its first and its last. The first byte is the
/// maximum number of senders; then each datagram has a byte for its sender, and two for its step.
fn sequences(input: &[u8]) {
    let Some((most, datagrams)) = input.split_first() else { return };
    let most = usize::from(*most).max(2);
    let (mut sequences, mut nonces) = (SenderSequences::default(), [0_u32; 256]);
    let (mut lost, mut steps) = (0, 0);
    for datagram in datagrams.chunks_exact(3) {
        let sender = SocketAddr::from(([10, 0, 0, datagram[0]], 1));
        let step = i16::from_le_bytes([datagram[1], datagram[2]]);
        let nonce = &mut nonces[usize::from(datagram[0])];
        *nonce = nonce.wrapping_add_signed(i32::from(step));
        let report = sequences.add(sender, *nonce, u64::from(datagram[1]), most);
        lost += report.lost;
        steps += u64::from(step.unsigned_abs());
        assert!(lost <= steps, "{lost} of {steps}");
        assert!(report.order != DatagramOrder::InOrder || step > 0);
    }
}
