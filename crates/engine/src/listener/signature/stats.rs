//! The counts of a listener's keys.

/// The accepted datagrams of one key on one socket by their order, and the lost ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyCounts {
    /// Datagrams whose number follows the latest number of their sender.
    pub in_order: u64,
    /// Datagrams that arrived after a later one of their sender.
    pub reordered: u64,
    /// Datagrams whose sender does not number them.
    pub unnumbered: u64,
    /// Numbers of datagrams that have not arrived.
    pub lost: u64,
    /// Seconds that a full replay window forgot too early.
    pub shortened: u64,
    /// Senders that were forgotten because there were too many.
    pub forgotten_senders: u64,
}

impl KeyCounts {
    /// Datagrams accepted.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.in_order + self.reordered + self.unnumbered
    }

    /// Adds the counts of another socket.
    pub fn add(&mut self, other: &Self) {
        self.in_order += other.in_order;
        self.reordered += other.reordered;
        self.unnumbered += other.unnumbered;
        self.lost += other.lost;
        self.shortened += other.shortened;
        self.forgotten_senders += other.forgotten_senders;
    }
}

/// A key and its counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStats {
    /// Its name in the configuration.
    pub name: String,
    /// The counts.
    pub counts: KeyCounts,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_count_is_the_sum_over_all_sockets() {
        let [mut counts, other] = [1, 100].map(|factor| KeyCounts {
            in_order: factor,
            reordered: 2 * factor,
            unnumbered: 3 * factor,
            lost: 4 * factor,
            shortened: 5 * factor,
            forgotten_senders: 6 * factor,
        });
        assert_eq!((counts.accepted(), other.accepted()), (6, 600));
        counts.add(&other);
        let expected = KeyCounts {
            in_order: 101,
            reordered: 202,
            unnumbered: 303,
            lost: 404,
            shortened: 505,
            forgotten_senders: 606,
        };
        assert_eq!(counts, expected);
    }
}
