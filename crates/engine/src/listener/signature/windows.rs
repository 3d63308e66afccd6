//! The replay windows of all keys of the daemon.

use std::sync::Arc;

use parking_lot::Mutex;

use super::mark::HighWaterMark;
use super::replay::{ReplayWindow, UnknownSeconds, WINDOW_MAX};
use super::saved;
use crate::protocol::signed::{KeyIdentity, SigningKey};

/// A replay window that several sockets share.
pub type SharedWindow = Arc<Mutex<ReplayWindow>>;

/// A replay window for each key. All listeners with the key share it: otherwise a datagram could be
/// repeated once to each of them. After the last listener has lost the key, its window stays until none of
/// its datagrams could be accepted again.
#[derive(Debug, Default)]
pub struct ReplayWindows {
    known: Mutex<Vec<KnownWindow>>,
    /// An earlier run may have accepted any datagrams of other keys in these seconds.
    unknown: UnknownSeconds,
    mark: HighWaterMark,
}

/// The windows in a form that can be stored.
#[derive(Debug, Default)]
pub struct SavedWindows {
    /// The windows.
    pub bytes: Vec<u8>,
    /// Whether nothing is known to have been accepted with a key that is not among them.
    pub has_all_keys: bool,
}

#[derive(Debug)]
struct KnownWindow {
    key: KeyIdentity,
    window: SharedWindow,
}

impl ReplayWindows {
    /// The same windows after an earlier run that may have accepted any datagrams of the unknown
    /// seconds with keys that have no window here.
    #[must_use]
    pub fn after(self, unknown: impl Into<UnknownSeconds>) -> Self {
        Self { unknown: unknown.into(), ..self }
    }

    /// The high-water mark of the datagrams that all windows together accept.
    #[must_use]
    pub fn mark(&self) -> &HighWaterMark {
        &self.mark
    }

    /// The latest second in which a datagram that this run or an earlier one accepted may have been signed.
    #[must_use]
    pub fn newest(&self) -> u64 {
        let known = self.known.lock();
        let newest = known.iter().map(|one| {
            let window = one.window.lock();
            window.newest().max(window.unknown().until)
        });
        newest.max().unwrap_or(0).max(self.unknown.until)
    }

    /// The window of a key; a new one at the Unix time `now`, in seconds, if the key is new.
    pub fn of(&self, key: &SigningKey, now: u64) -> SharedWindow {
        let key = key.identity();
        let mut known = self.known.lock();
        // Before old ones are forgotten: after a long pause, this one may be among them.
        if let Some(found) = known.iter().find(|one| one.key == key) {
            return Arc::clone(&found.window);
        }
        known.retain(|one| one.is_needed(now));
        let window = Arc::new(Mutex::new(ReplayWindow::new(self.unknown)));
        known.push(KnownWindow { key, window: Arc::clone(&window) });
        window
    }

    /// The contents, to be stored at the Unix time `now`, in seconds, in at most `max` bytes: as much as
    /// fits, so that nothing is accepted twice.
    #[must_use]
    pub fn save(&self, max: usize, now: u64) -> SavedWindows {
        let known = self.known.lock();
        let share = max / known.len().max(1);
        let mut bytes = Vec::new();
        let mut has_all_keys = self.unknown.until.saturating_add(WINDOW_MAX.get().as_secs()) < now;
        for KnownWindow { key, window } in known.iter() {
            has_all_keys &= saved::encode(key, &window.lock(), share, &mut bytes);
        }
        SavedWindows { bytes, has_all_keys }
    }

    /// Restores the windows from their stored contents; `None` if [`ReplayWindows::save`] cannot have
    /// written the bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let known = saved::decode(bytes)?
            .into_iter()
            .map(|(key, window)| KnownWindow { key, window: Arc::new(Mutex::new(window)) });
        Some(Self { known: Mutex::new(known.collect()), ..Self::default() })
    }
}

impl KnownWindow {
    /// Whether a listener has it, or may accept a datagram again that it knows.
    fn is_needed(&self, now: u64) -> bool {
        let is_used = Arc::strong_count(&self.window) > 1;
        is_used || {
            let window = self.window.lock();
            let newest = window.newest().max(window.unknown().until);
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
        assert_eq!(windows.known.lock().len(), 1);
    }

    #[test]
    fn a_window_is_needed_by_a_listener_or_for_the_longest_time() {
        let windows = ReplayWindows::default();
        let [used, removed, other] = ["used", "removed", "another"].map(SigningKey::new);
        let kept = windows.of(&used, 1_000);
        for (key, now) in [(&removed, 1_000), (&other, 1_600)] {
            assert_eq!(windows.of(key, now).lock().accept(now, BOUNDS, now, 1), Ok(false));
        }
        assert_eq!(windows.known.lock().len(), 3);
        drop(windows.of(&SigningKey::new("a fourth"), 1_601));
        assert_eq!(windows.known.lock().len(), 3, "without the removed one");
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
        let all = windows.save(10_000, 1_002).bytes;
        // The head, three seconds with their numbers, and four datagrams.
        assert_eq!(all.len(), 64 + 3 * 16 + 4 * 8);
        assert_eq!(windows.save(all.len(), 1_002).bytes, all);
        let less = windows.save(all.len() - 1, 1_002).bytes;
        assert_eq!(less.len(), 64 + 2 * 16 + 2 * 8);
        let restored = ReplayWindows::from_bytes(&less).unwrap().of(&key, 1_002);
        let outcomes = [(1_000, 5), (1_001, 3), (1_001, 5)]
            .map(|(signed, id)| restored.lock().accept(1_002, BOUNDS, signed, id));
        let (stale, replayed) = (Err(ReplayRefusal::Stale), Err(ReplayRefusal::Replayed));
        assert_eq!(outcomes, [stale, replayed, Ok(false)]);
        assert_eq!(windows.save(64, 1_002).bytes.len(), 64);
        assert_eq!(windows.save(63, 1_002).bytes.len(), 0);
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
            let SavedWindows { bytes, has_all_keys } = windows.save(max, 1_010);
            assert!(bytes.len() <= max, "{} of {max}", bytes.len());
            assert_eq!(has_all_keys, max >= 200, "{max}");
            let restored = ReplayWindows::from_bytes(&bytes).unwrap();
            // For keys without a window, the next run uses the mark.
            let restored = restored.after(if has_all_keys { 0 } else { windows.newest() });
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

    #[test]
    fn a_run_that_is_shorter_than_the_window_passes_on_what_an_earlier_one_may_have_accepted() {
        let refusal = |windows: &ReplayWindows, secret, now, signed| {
            windows.of(&SigningKey::new(secret), now).lock().accept(now, BOUNDS, signed, 7)
        };
        let second = ReplayWindows::default().after(1_020);
        assert_eq!(refusal(&second, "a secret", 1_010, 1_020), Err(ReplayRefusal::MaybeReplayed));
        assert_eq!(refusal(&second, "a secret", 1_010, 1_021), Ok(false));
        assert_eq!(second.newest(), 1_021);
        let saved = second.save(1_000, 1_011);
        assert!(!saved.has_all_keys, "the earlier run may have had other keys");
        let third = ReplayWindows::from_bytes(&saved.bytes).unwrap().after(second.newest());
        assert_eq!(refusal(&third, "a secret", 1_012, 1_020), Err(ReplayRefusal::MaybeReplayed));
        assert_eq!(refusal(&third, "a secret", 1_012, 1_021), Err(ReplayRefusal::Replayed));
        assert_eq!(refusal(&third, "a secret", 1_012, 1_022), Ok(false));
        assert_eq!(refusal(&third, "another", 1_012, 1_021), Err(ReplayRefusal::MaybeReplayed));
        assert!(second.save(1_000, 1_621).has_all_keys, "no window is that long");
    }
}
