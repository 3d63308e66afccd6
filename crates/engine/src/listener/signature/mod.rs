//! Opens signed datagrams. Refuses a datagram that no known key has signed, or that arrived before.
//!
//! [`config`] has the secrets. `SignatureCheck` belongs to the thread of a socket, with the
//! [`sequence`]s of its senders. All sockets share the [`replay`] windows ([`windows`]), which a stop
//! saves ([`saved`]). The [`mark`] bounds the datagrams that a crash may have lost from them.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use self::config::{NamedSecret, SecretKeys, SignatureConfig};
use self::replay::ReplayRefusal;
use self::sequence::{DatagramOrder, SenderSequences};
use self::stats::{KeyCounts, KeyStats};
use self::windows::{ReplayWindows, SharedWindow};
use super::opener::{Opener, RefusedDatagram};
use super::stats::ListenerStats;
use crate::protocol::signed::{SIGNATURE_BYTES, SignedDatagram, SigningKey, is_text};
use crate::protocol::{RejectReason, Rejection};
use crate::sys::{Datagram, SenderAddress};

pub mod config;
pub mod mark;
pub mod replay;
pub mod saved;
pub mod sequence;
pub mod stats;
pub mod windows;

/// The state and settings of signatures that all listeners share.
#[derive(Clone, Debug, Default)]
pub struct SignatureContext {
    /// The bounds.
    pub config: SignatureConfig,
    /// The replay windows of all keys.
    pub windows: Arc<ReplayWindows>,
}

/// Checks the datagrams of one socket.
#[derive(Debug)]
pub(super) struct SignatureCheck {
    keys: Vec<CheckedKey>,
    context: SignatureContext,
    /// Unix time of the current batch, in seconds.
    now: u64,
}

#[derive(Debug)]
struct CheckedKey {
    configured: NamedSecret,
    key: SigningKey,
    window: SharedWindow,
    senders: SenderSequences,
    counts: KeyCounts,
}

impl SignatureCheck {
    /// Replaces the check of a socket by one with these keys; `None` without keys. Keys that stay keep
    /// their counts and senders.
    pub(super) fn replace(
        previous: Option<Self>,
        keys: &SecretKeys,
        context: &SignatureContext,
    ) -> Option<Self> {
        let now = unix_now();
        let mut known = previous.map(|check| check.keys).unwrap_or_default();
        let keys: Vec<_> = keys
            .all()
            .iter()
            .map(|configured| {
                let same = known.iter().position(|key| key.configured == *configured);
                match same {
                    Some(index) => known.swap_remove(index),
                    None => CheckedKey::new(configured, context, now),
                }
            })
            .collect();
        (!keys.is_empty()).then(|| Self { keys, context: context.clone(), now })
    }

    /// Starts a batch of datagrams that were read just now.
    pub(super) fn begin_batch(&mut self) {
        self.now = unix_now();
    }

    /// Reports the counts.
    pub(super) fn publish(&self, stats: &ListenerStats) {
        stats.set_key_counts(self.keys.iter().map(|key| key.counts));
    }

    /// The keys, for the status.
    pub(super) fn key_stats(&self) -> Vec<KeyStats> {
        let stats =
            |key: &CheckedKey| KeyStats { name: key.configured.name.clone(), counts: key.counts };
        self.keys.iter().map(stats).collect()
    }
}

impl CheckedKey {
    fn new(configured: &NamedSecret, context: &SignatureContext, now: u64) -> Self {
        let key = SigningKey::new(configured.secret.reveal());
        Self {
            configured: configured.clone(),
            window: context.windows.of(&key, now),
            key,
            senders: SenderSequences::default(),
            counts: KeyCounts::default(),
        }
    }

    /// Counts a datagram that this key has signed, or refuses it.
    fn accept(
        &mut self,
        signed: &SignedDatagram<'_>,
        sender: SenderAddress<'_>,
        SignatureContext { config, windows }: &SignatureContext,
        now: u64,
    ) -> Result<(), ReplayRefusal> {
        let bounds = config.replay_bounds();
        let accepted = self.window.lock().accept(now, bounds, signed.seconds, signed.id())?;
        windows.mark().cover(signed.seconds);
        self.counts.shortened += u64::from(accepted);
        let order = match sender.address() {
            // The kernel neither loses nor reorders datagrams to a Unix socket.
            None => DatagramOrder::Unnumbered,
            Some(address) => {
                let (nonce, most) = (signed.nonce, config.max_senders);
                let report = self.senders.add(address, nonce, signed.seconds, most);
                self.counts.lost += report.lost;
                self.counts.forgotten_senders += report.forgotten;
                report.order
            }
        };
        match order {
            DatagramOrder::InOrder => self.counts.in_order += 1,
            DatagramOrder::Reordered => self.counts.reordered += 1,
            DatagramOrder::Unnumbered => self.counts.unnumbered += 1,
        }
        Ok(())
    }
}

impl Opener for SignatureCheck {
    fn open<'b>(&mut self, datagram: &Datagram<'b>) -> Result<&'b [u8], RefusedDatagram<'b>> {
        let bytes = datagram.bytes;
        // Clients send empty datagrams to find out whether a daemon listens.
        if bytes.is_empty() {
            return Ok(bytes);
        }
        let refused = |reason, expected, shown| RefusedDatagram {
            rejection: Rejection { reason, offset: 0, expected },
            shown,
        };
        let Some(signed) = SignedDatagram::parse(bytes) else {
            return Err(refused(RejectReason::Unsigned, "a signed datagram", shown_part(bytes)));
        };
        let Some(key) = self.keys.iter_mut().find(|key| signed.is_signed_with(&key.key)) else {
            let expected = "a signature by a secret of this listener";
            return Err(refused(RejectReason::BadSignature, expected, shown_part(bytes)));
        };
        key.accept(&signed, datagram.sender, &self.context, self.now).map_err(|refusal| {
            let (reason, expected) = words(refusal);
            refused(reason, expected, signed.messages)
        })?;
        debug_assert_eq!(signed.messages.len() + SIGNATURE_BYTES, bytes.len());
        Ok(signed.messages)
    }
}

/// The reason of a rejection, and the expected input.
fn words(refusal: ReplayRefusal) -> (RejectReason, &'static str) {
    match refusal {
        ReplayRefusal::Stale => (RejectReason::Stale, "a signature within `signatures.window`"),
        ReplayRefusal::FromFuture => {
            (RejectReason::FromFuture, "a signature within `signatures.window`")
        }
        ReplayRefusal::Replayed => {
            (RejectReason::Replayed, "a datagram that did not arrive before")
        }
        ReplayRefusal::MaybeReplayed => {
            (RejectReason::MaybeReplayed, "a datagram that was signed later")
        }
        ReplayRefusal::Full => {
            (RejectReason::WindowFull, "at most `signatures.max_datagrams` within a second")
        }
    }
}

/// The part of a datagram without a valid signature that is shown: all of it if it is a text, and otherwise
/// nothing. It may be signed with the secret of another listener, to which a reader could send it.
fn shown_part(datagram: &[u8]) -> &[u8] {
    if is_text(datagram) { datagram } else { &[] }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::fd::AsFd;

    use super::*;
    use crate::sys::{ReceiveBatch, ReceivedPacket};

    const SECRETS: [&str; 3] = ["the first secret", "the other secret", "an unknown secret"];

    fn keys(named: &[(&str, &str)]) -> SecretKeys {
        let mut keys = SecretKeys::default();
        named.iter().for_each(|(name, secret)| keys.push(name, secret).unwrap());
        keys
    }

    fn both() -> SecretKeys {
        keys(&[("new", SECRETS[0]), ("old", SECRETS[1])])
    }

    fn signed(secret: &str, seconds: u64, nonce: u32) -> Vec<u8> {
        let mut datagram = Vec::new();
        SigningKey::new(secret).sign(seconds, nonce, b"a:1|c", &mut datagram);
        datagram
    }

    fn open<'b>(check: &mut SignatureCheck, bytes: &'b [u8]) -> Result<&'b [u8], RejectReason> {
        let datagram = Datagram { bytes, sender: SenderAddress::UNKNOWN, is_cut: false };
        check.open(&datagram).map_err(|refused| refused.rejection.reason)
    }

    #[test]
    fn datagrams_of_each_key_are_opened_once_and_counted_by_key() {
        let mut check =
            SignatureCheck::replace(None, &both(), &SignatureContext::default()).unwrap();
        let now = check.now;
        for (secret, seconds, nonce, outcome) in [
            (SECRETS[0], now, 1, Ok(&b"a:1|c"[..])),
            (SECRETS[0], now, 2, Ok(b"a:1|c")),
            (SECRETS[1], now, 1, Ok(b"a:1|c")),
            (SECRETS[0], now, 1, Err(RejectReason::Replayed)),
            (SECRETS[2], now, 1, Err(RejectReason::BadSignature)),
            (SECRETS[1], now - 32, 1, Err(RejectReason::Stale)),
            (SECRETS[1], now + 31, 1, Err(RejectReason::FromFuture)),
        ] {
            assert_eq!(open(&mut check, &signed(secret, seconds, nonce)), outcome);
        }
        assert_eq!(open(&mut check, b"a:1|c"), Err(RejectReason::Unsigned));
        assert_eq!(open(&mut check, &[b'x'; 60]), Err(RejectReason::BadSignature));
        assert_eq!(open(&mut check, b""), Ok(&b""[..]));
        let counts: Vec<_> = check.key_stats().iter().map(|key| key.counts.accepted()).collect();
        assert_eq!(counts, [2, 1]);
    }

    #[test]
    fn a_key_that_stays_keeps_its_memory_and_its_counts() {
        let context = SignatureContext::default();
        let old = keys(&[("old", SECRETS[1])]);
        let mut check = SignatureCheck::replace(None, &old, &context).unwrap();
        let datagram = signed(SECRETS[1], check.now, 1);
        assert!(open(&mut check, &datagram).is_ok());
        let mut check = SignatureCheck::replace(Some(check), &both(), &context).unwrap();
        assert_eq!(open(&mut check, &datagram), Err(RejectReason::Replayed));
        let stats = check.key_stats();
        let shown: Vec<_> =
            stats.iter().map(|key| (key.name.as_str(), key.counts.accepted())).collect();
        assert_eq!(shown, [("new", 0), ("old", 1)]);
        assert!(SignatureCheck::replace(Some(check), &SecretKeys::default(), &context).is_none());
    }

    #[test]
    fn a_datagram_is_opened_once_by_all_sockets_together() {
        let context = SignatureContext::default();
        let mut checks = [0, 1].map(|_| SignatureCheck::replace(None, &both(), &context).unwrap());
        let datagram = signed(SECRETS[0], checks[0].now, 1);
        assert!(open(&mut checks[0], &datagram).is_ok());
        assert_eq!(open(&mut checks[1], &datagram), Err(RejectReason::Replayed));
    }

    /// Sends datagrams over a socket, opens them and returns the counts of the first key.
    fn counts_over_udp(datagrams: &[Vec<u8>], config: SignatureConfig) -> KeyCounts {
        let context = SignatureContext { config, ..SignatureContext::default() };
        let mut check = SignatureCheck::replace(None, &both(), &context).unwrap();
        let [receiver, sender] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let mut batch = ReceiveBatch::new(1_000);
        for bytes in datagrams {
            sender.send(bytes).unwrap();
            assert_eq!(batch.receive(receiver.as_fd(), true).unwrap(), 1);
            let mut received = batch.packets().flat_map(ReceivedPacket::datagrams);
            assert!(check.open(&received.next().unwrap()).is_ok());
        }
        let stats = ListenerStats::without_drops("test".to_owned());
        stats.set_keys(vec![KeyStats { name: "new".to_owned(), counts: KeyCounts::default() }]);
        check.publish(&stats);
        assert_eq!(stats.keys()[0], check.key_stats()[0]);
        check.key_stats()[0].counts
    }

    #[test]
    fn datagrams_are_counted_by_their_order_and_their_effects() {
        let now = unix_now() + 1;
        let numbers = (0..7).chain([8, 7]).chain(9..80);
        let numbered: Vec<_> = numbers.map(|nonce| signed(SECRETS[0], now, nonce)).collect();
        let counts = counts_over_udp(&numbered, SignatureConfig::default());
        let expected =
            KeyCounts { in_order: 75, reordered: 1, unnumbered: 4, ..KeyCounts::default() };
        assert_eq!(counts, expected);
        // 6 and 7 are lost when they leave the range in which a late datagram would be recognised.
        let gap: Vec<_> = (0..6).chain(8..80).map(|nonce| signed(SECRETS[0], now, nonce)).collect();
        let counts = counts_over_udp(&gap, SignatureConfig::default());
        assert_eq!((counts.lost, counts.accepted()), (2, 78));
    }

    #[test]
    fn seconds_that_a_full_window_forgets_are_counted() {
        let config = SignatureConfig { max_datagrams: 2, ..SignatureConfig::default() };
        let now = unix_now() + 1;
        let seconds: Vec<_> = (0..5).map(|later| signed(SECRETS[0], now + later, 1)).collect();
        assert_eq!(counts_over_udp(&seconds, config).shortened, 3);
    }

    #[test]
    fn senders_that_are_forgotten_are_counted() {
        let context = SignatureContext {
            config: SignatureConfig { max_senders: 2, ..SignatureConfig::default() },
            ..SignatureContext::default()
        };
        let mut check = SignatureCheck::replace(None, &both(), &context).unwrap();
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut batch = ReceiveBatch::new(1_000);
        for nonce in 0..5 {
            let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
            sender.connect(receiver.local_addr().unwrap()).unwrap();
            sender.send(&signed(SECRETS[0], check.now, nonce)).unwrap();
            assert_eq!(batch.receive(receiver.as_fd(), true).unwrap(), 1);
            let mut received = batch.packets().flat_map(ReceivedPacket::datagrams);
            assert!(check.open(&received.next().unwrap()).is_ok());
        }
        // One is known for each generation.
        assert_eq!(check.key_stats()[0].counts.forgotten_senders, 3);
    }

    #[test]
    fn a_batch_begins_at_the_time_of_the_clock() {
        let mut check =
            SignatureCheck::replace(None, &both(), &SignatureContext::default()).unwrap();
        let before = check.now;
        check.now = 1;
        check.begin_batch();
        // The clock of the host is not one of 1970.
        assert!(check.now >= before && before > 1_600_000_000, "{before} {}", check.now);
    }

    #[test]
    fn a_refused_datagram_shows_its_messages_without_the_signature() {
        let mut check =
            SignatureCheck::replace(None, &both(), &SignatureContext::default()).unwrap();
        let bytes = signed(SECRETS[0], 5, 1);
        let datagram = Datagram { bytes: &bytes, sender: SenderAddress::UNKNOWN, is_cut: false };
        let refused = check.open(&datagram).unwrap_err();
        assert_eq!((refused.rejection.reason, refused.shown), (RejectReason::Stale, &b"a:1|c"[..]));
        let bytes = signed(SECRETS[2], check.now, 1);
        let datagram = Datagram { bytes: &bytes, ..datagram };
        let refused = check.open(&datagram).unwrap_err();
        let (reason, shown) = (refused.rejection.reason, refused.shown);
        assert_eq!((reason, shown), (RejectReason::BadSignature, &b""[..]), "of another listener");
    }
}
