//! Remembers the reasons of failures that the log has shown.

use std::collections::BTreeSet;

/// Maximum number of reasons that are shown before the destination recovers.
const REASONS_MAX: usize = 16;
/// Number of characters of a reason that are compared.
const COMPARED_CHARS: usize = 200;

/// The reasons of failures that the log has shown since the latest success.
///
/// A destination often fails for one reason after another: its host restarts, then its
/// authentication is wrong. Each reason is worth a line, because an operator fixes what the log
/// shows.
#[derive(Debug, Default)]
pub(super) struct FailureReasons {
    shown: BTreeSet<String>,
}

impl FailureReasons {
    /// Adds a reason. Returns whether the log should show it: it is new, and few others are known.
    pub(super) fn add(&mut self, words: &str) -> bool {
        self.shown.len() < REASONS_MAX && self.shown.insert(essence(words))
    }

    /// Forgets all reasons, after a success.
    pub(super) fn clear(&mut self) {
        self.shown.clear();
    }
}

/// The text without its numbers, which often differ from attempt to attempt: counts, ports, times.
fn essence(words: &str) -> String {
    words.chars().filter(|char| !char.is_ascii_digit()).take(COMPARED_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_shown_once_until_a_success() {
        let mut reasons = FailureReasons::default();
        let shown = [
            "5 records are not acknowledged: 1/1 brokers are down",
            "7 records are not acknowledged: 0/1 brokers are down",
            "the topic `m` does not exist",
            "9 records are not acknowledged: 1/1 brokers are down",
        ]
        .map(|words| reasons.add(words));
        assert_eq!(shown, [true, false, true, false]);
        reasons.clear();
        assert!(reasons.add("the topic `m` does not exist"));
    }

    #[test]
    fn a_destination_that_always_says_something_else_fills_no_log() {
        let mut reasons = FailureReasons::default();
        let new = |number: u32| char::from_u32(0x4e00 + number).unwrap().to_string();
        assert_eq!((0..1_000).filter(|number| reasons.add(&new(*number))).count(), REASONS_MAX);
        assert!(!reasons.add(&new(0)));
    }
}
