//! The views, and what each needs of the daemon.

use clap::ValueEnum;

/// What is shown below the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// Metrics by samples, series, new series.
    Metrics,
    /// Tag keys by how many values they have.
    Tags,
    /// Who sends how much.
    Senders,
    /// Destinations: rates, what waits, errors.
    Forwarders,
    /// Listeners and polled servers: rates, rejections, drops.
    Listeners,
    /// The latest rejected messages.
    Rejected,
}

impl View {
    /// All of them, in the order of their number keys.
    pub const ALL: [Self; 6] = [
        Self::Metrics,
        Self::Tags,
        Self::Senders,
        Self::Forwarders,
        Self::Listeners,
        Self::Rejected,
    ];

    /// Its place among all.
    #[must_use]
    pub const fn number(self) -> usize {
        self as usize
    }

    /// What it is called on the screen.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            Self::Metrics => "Metrics",
            Self::Tags => "Tags",
            Self::Senders => "Senders",
            Self::Forwarders => "Forwarders",
            Self::Listeners => "Listeners",
            Self::Rejected => "Rejected",
        }
    }

    /// The part of `/api/v1/top` that it shows.
    #[must_use]
    pub(super) const fn part(self) -> Option<&'static str> {
        match self {
            Self::Metrics => Some("metrics"),
            Self::Tags => Some("tag_keys"),
            Self::Senders => Some("senders"),
            Self::Forwarders | Self::Listeners | Self::Rejected => None,
        }
    }

    /// The one so many places further, round and round.
    #[must_use]
    pub(super) fn step(self, places: usize) -> Self {
        Self::ALL[(self.number() + places) % Self::ALL.len()]
    }
}
