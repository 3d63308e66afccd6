//! The replay windows of all keys of the daemon.

use std::sync::Arc;

use parking_lot::Mutex;

use super::config::WINDOW_MAX;
use super::replay::ReplayWindow;
use super::saved;
use crate::protocol::signed::{KeyIdentity, SigningKey};

/// A replay window that several sockets share.
pub type SharedWindow = Arc<Mutex<ReplayWindow>>;

/// A replay window for each key. All listeners with the key share it: otherwise a datagram could be
/// repeated once to each of them. After the last listener has lost the key, its window stays until none of
/// its datagrams could be accepted again.
#[derive(Debug, Default)]
pub struct ReplayWindows(Mutex<Vec<KnownWindow>>);

#[derive(Debug)]
struct KnownWindow {
    key: KeyIdentity,
    window: SharedWindow,
}

impl ReplayWindows {
    /// The window of a key; a new one at the Unix time `now`, in seconds, if the key is new.
    pub fn of(&self, key: &SigningKey, now: u64) -> SharedWindow {
        let key = key.identity();
        let mut known = self.0.lock();
        // Before old ones are forgotten: after a long pause, this one may be among them.
        if let Some(found) = known.iter().find(|one| one.key == key) {
            return Arc::clone(&found.window);
        }
        known.retain(|one| one.is_needed(now));
        let window = Arc::new(Mutex::new(ReplayWindow::new(now)));
        known.push(KnownWindow { key, window: Arc::clone(&window) });
        window
    }

    /// The contents, to be stored, in at most `max` bytes: as much as fits, so that nothing is accepted
    /// twice.
    #[must_use]
    pub fn to_bytes(&self, max: usize) -> Vec<u8> {
        let known = self.0.lock();
        let share = max / known.len().max(1);
        let mut out = Vec::new();
        for KnownWindow { key, window } in known.iter() {
            saved::encode(key, &window.lock(), share, &mut out);
        }
        out
    }

    /// Restores the windows from their stored contents; `None` if [`ReplayWindows::to_bytes`] cannot have
    /// written the bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let known = saved::decode(bytes)?
            .into_iter()
            .map(|(key, window)| KnownWindow { key, window: Arc::new(Mutex::new(window)) });
        Some(Self(Mutex::new(known.collect())))
    }
}

impl KnownWindow {
    /// Whether a listener has it, or may accept a datagram again that it knows.
    fn is_needed(&self, now: u64) -> bool {
        let is_used = Arc::strong_count(&self.window) > 1;
        is_used || {
            let newest = self.window.lock().newest();
            newest.saturating_add(WINDOW_MAX.get().as_secs()) >= now
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::signature::replay::{ReplayBounds, ReplayRefusal};

    const BOUNDS: ReplayBounds = ReplayBounds { seconds: 30, datagrams: 1_000 };

    #[test]
    fn all_listeners_with_a_key_share_its_window() {
        let windows = ReplayWindows::default();
        let [one, again, other] = ["a secret", "a secret", "another"].map(SigningKey::new);
        let window = windows.of(&one, 1);
        assert!(Arc::ptr_eq(&window, &windows.of(&again, 2)));
        assert!(!Arc::ptr_eq(&window, &windows.of(&other, 2)));
    }

    #[test]
    fn the_window_of_a_removed_key_is_kept_while_it_could_matter() {
        let windows = ReplayWindows::default();
        let [one, other] = ["a secret", "another"].map(SigningKey::new);
        assert_eq!(windows.of(&one, 1_000).lock().accept(1_000, BOUNDS, 1_000, 7), Ok(false));
        let replayed = windows.of(&one, 1_001).lock().accept(1_001, BOUNDS, 1_000, 7);
        assert_eq!(replayed, Err(ReplayRefusal::Replayed));
        let _other = windows.of(&other, 1_601);
        assert_eq!(windows.0.lock().len(), 1);
    }

    #[test]
    fn a_window_is_needed_by_a_listener_or_for_the_longest_time() {
        let windows = ReplayWindows::default();
        let [used, removed, other] = ["used", "removed", "another"].map(SigningKey::new);
        let kept = windows.of(&used, 1_000);
        drop(windows.of(&removed, 1_000));
        drop(windows.of(&other, 1_600));
        assert_eq!(windows.0.lock().len(), 3);
        drop(windows.of(&SigningKey::new("a fourth"), 1_601));
        assert_eq!(windows.0.lock().len(), 3, "without the removed one");
        assert!(Arc::ptr_eq(&kept, &windows.of(&used, 1_601)));
    }

    #[test]
    fn stored_windows_lose_the_oldest_seconds_only_without_room_for_them() {
        let windows = ReplayWindows::default();
        let key = SigningKey::new("a secret");
        let window = windows.of(&key, 1_000);
        for (signed, id) in [(1_000, 1), (1_000, 2), (1_001, 3), (1_002, 4)] {
            assert_eq!(window.lock().accept(1_002, BOUNDS, signed, id), Ok(false));
        }
        let all = windows.to_bytes(10_000);
        // The head, three seconds with their numbers, and four datagrams.
        assert_eq!(all.len(), 48 + 3 * 16 + 4 * 8);
        assert_eq!(windows.to_bytes(all.len()), all);
        let less = windows.to_bytes(all.len() - 1);
        assert_eq!(less.len(), 48 + 2 * 16 + 2 * 8);
        let restored = ReplayWindows::from_bytes(&less).unwrap().of(&key, 1_002);
        let outcomes = [(1_000, 5), (1_001, 3), (1_001, 5)]
            .map(|(signed, id)| restored.lock().accept(1_002, BOUNDS, signed, id));
        let (stale, replayed) = (Err(ReplayRefusal::Stale), Err(ReplayRefusal::Replayed));
        assert_eq!(outcomes, [stale, replayed, Ok(false)]);
        assert_eq!(windows.to_bytes(48).len(), 48);
        assert_eq!(windows.to_bytes(47).len(), 0);
    }

    #[test]
    fn stored_windows_refuse_what_they_refused_before() {
        let windows = ReplayWindows::default();
        let keys = ["a secret", "another"].map(SigningKey::new);
        for (index, key) in keys.iter().enumerate() {
            let window = windows.of(key, 1_000);
            for id in 0..100 {
                let signed = 1_000 + id % 20;
                assert!(window.lock().accept(1_010, BOUNDS, signed, id << index).is_ok());
            }
        }
        for max in [0, 100, 200, 500, 1_000, 2_000, 100_000] {
            let bytes = windows.to_bytes(max);
            assert!(bytes.len() <= max, "{} of {max}", bytes.len());
            let restored = ReplayWindows::from_bytes(&bytes).unwrap();
            let mut refusals = [0; 2];
            for (index, key) in keys.iter().enumerate() {
                let window = restored.of(key, 1_020);
                for id in 0..100 {
                    let again = window.lock().accept(1_020, BOUNDS, 1_000 + id % 20, id << index);
                    refusals[usize::from(again == Err(ReplayRefusal::Replayed))] += 1;
                    assert!(again.is_err(), "{max}");
                }
            }
            assert!(max < 10_000 || refusals == [0, 200], "{refusals:?}");
            let truncated = &bytes[..bytes.len().saturating_sub(1)];
            assert_eq!(ReplayWindows::from_bytes(truncated).is_none(), !bytes.is_empty());
        }
    }
}
