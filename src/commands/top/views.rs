//! The views, and the part of `/api/v1/top` that each shows.

use api::top::TopPart;
use clap::ValueEnum;

/// The table below the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum View {
    /// Metrics by samples, series, new series.
    Metrics,
    /// Tag keys by number of values.
    Tags,
    /// Senders by number of messages.
    Senders,
    /// Destinations: rates, waiting points, errors.
    Forwarders,
    /// Listeners and polled servers: rates, rejections, drops.
    Listeners,
    /// The latest rejected messages.
    Rejected,
}

impl View {
    /// Every view, in the order of the number keys.
    pub const ALL: [Self; 6] = [
        Self::Metrics,
        Self::Tags,
        Self::Senders,
        Self::Forwarders,
        Self::Listeners,
        Self::Rejected,
    ];

    /// Its place in [`View::ALL`].
    #[must_use]
    pub const fn number(self) -> usize {
        self as usize
    }

    /// Its title on the screen.
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
    pub(super) const fn part(self) -> Option<TopPart> {
        match self {
            Self::Metrics => Some(TopPart::Metrics),
            Self::Tags => Some(TopPart::TagKeys),
            Self::Senders => Some(TopPart::Senders),
            Self::Forwarders | Self::Listeners | Self::Rejected => None,
        }
    }

    /// The view `places` further, wrapping around.
    #[must_use]
    pub(super) fn step(self, places: usize) -> Self {
        Self::ALL[(self.number() + places) % Self::ALL.len()]
    }
}
