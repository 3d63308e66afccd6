//! The TLS handshakes in progress, by age. Time is an argument.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time that a handshake has before another one may take its place: enough for a few round trips, so that
/// the connections of many clients at once complete one after the other.
const TURN: Duration = Duration::from_secs(1);

/// The answer to a connection that asks for a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It may begin.
    Now,
    /// It may begin in place of the handshake of this connection, which has had its turn.
    InPlaceOf(u64),
    /// It waits until this time, or until a handshake ends.
    At(Instant),
}

/// The handshakes in progress, by the numbers of their connections. Numbers rise with time, so their
/// order is that of age.
#[derive(Debug, Default)]
pub(super) struct Handshakes(BTreeMap<u64, Instant>);

impl Handshakes {
    /// Whether another one may begin, if at most `max` may be in progress.
    pub(super) fn admission(&self, max: usize, now: Instant) -> Admission {
        match self.0.first_key_value() {
            Some((number, begun)) if self.0.len() >= max => match *begun + TURN {
                end if end > now => Admission::At(end),
                _ => Admission::InPlaceOf(*number),
            },
            _ => Admission::Now,
        }
    }

    /// Adds the handshake of a new connection.
    pub(super) fn begin(&mut self, number: u64, now: Instant) {
        self.0.insert(number, now);
    }

    /// Whether the handshake of this connection is in progress.
    pub(super) fn is_open(&self, number: u64) -> bool {
        self.0.contains_key(&number)
    }

    /// Removes a handshake. Returns whether it was in progress.
    pub(super) fn end(&mut self, number: u64) -> bool {
        self.0.remove(&number).is_some()
    }

    /// The time at which the next one has taken too long.
    pub(super) fn next_timeout(&self, limit: Duration) -> Option<Instant> {
        Some(*self.0.first_key_value()?.1 + limit)
    }

    /// The oldest one, if it has taken too long.
    pub(super) fn overdue(&self, limit: Duration, now: Instant) -> Option<u64> {
        let (number, begun) = self.0.first_key_value()?;
        (*begun + limit <= now).then_some(*number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_limit_a_connection_waits_until_one_ends_or_has_had_its_turn() {
        let start = Instant::now();
        let mut handshakes = Handshakes::default();
        handshakes.begin(1, start);
        assert_eq!(handshakes.admission(2, start), Admission::Now);
        handshakes.begin(2, start + TURN / 2);
        let wait = Admission::At(start + TURN);
        assert_eq!(handshakes.admission(2, start + TURN / 2), wait);
        assert_eq!(handshakes.admission(2, start + TURN), Admission::InPlaceOf(1));
        assert!(handshakes.end(1) && !handshakes.end(1));
        assert_eq!(handshakes.admission(2, start + TURN), Admission::Now);
        assert_eq!(handshakes.admission(1, start + TURN), Admission::At(start + TURN / 2 + TURN));
    }

    #[test]
    fn the_oldest_handshake_is_the_first_to_be_overdue() {
        let start = Instant::now();
        let limit = Duration::from_secs(10);
        let mut handshakes = Handshakes::default();
        assert_eq!(
            (handshakes.next_timeout(limit), handshakes.overdue(limit, start)),
            (None, None)
        );
        handshakes.begin(7, start);
        handshakes.begin(8, start + Duration::from_secs(1));
        assert_eq!(handshakes.next_timeout(limit), Some(start + limit));
        assert_eq!(handshakes.overdue(limit, start + limit - Duration::from_nanos(1)), None);
        assert_eq!(handshakes.overdue(limit, start + limit), Some(7));
        handshakes.end(7);
        assert_eq!(handshakes.overdue(limit, start + limit), None);
        assert_eq!(handshakes.next_timeout(limit), Some(start + limit + Duration::from_secs(1)));
    }
}
