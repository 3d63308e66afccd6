//! The result for one series, and the reasons that explain a difference.

/// A difference that does not mean that a value is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum KnownCause {
    /// The windows end at different times, and the totals agree.
    OtherEnds,
    /// One daemon writes a value for a series without samples.
    Idle,
    /// A daemon's metrics about itself.
    SelfMetrics,
    /// Only one daemon has a window at the start or the end.
    Edge,
    /// One daemon received only a part of its first or last window, and the others agree.
    Partial,
    /// A window was longer or shorter, by whose length its rates are divided.
    WindowLength,
    /// A gauge is set several times in windows that end at different times.
    SeveralLevels,
    /// The old daemon writes running totals.
    RunningTotals,
}

impl KnownCause {
    /// All causes.
    pub(super) const ALL: [Self; 8] = [
        Self::OtherEnds,
        Self::Idle,
        Self::SelfMetrics,
        Self::Edge,
        Self::Partial,
        Self::WindowLength,
        Self::SeveralLevels,
        Self::RunningTotals,
    ];

    /// The word in JSON.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::OtherEnds => "window_ends",
            Self::Idle => "idle",
            Self::SelfMetrics => "self_metrics",
            Self::Edge => "edge",
            Self::Partial => "partial_window",
            Self::WindowLength => "window_length",
            Self::SeveralLevels => "several_levels",
            Self::RunningTotals => "running_totals",
        }
    }

    /// A sentence for operators.
    pub(super) const fn sentence(self) -> &'static str {
        match self {
            Self::OtherEnds => {
                "the windows of the daemons end at different times; the totals agree to within a window"
            }
            Self::Idle => "only one writes a value for a series without samples (see `idle`)",
            Self::SelfMetrics => "metrics of a daemon about itself",
            Self::Edge => "only one has a window at the start or the end of the comparison",
            Self::Partial => {
                "partial first or last window: one daemon began later or ended earlier; the other windows agree"
            }
            Self::WindowLength => {
                "a window of one daemon was longer or shorter, which changes its rates; the counts agree"
            }
            Self::SeveralLevels => {
                "set several times per window, and the windows end at different times; each level is within the other's around it"
            }
            Self::RunningTotals => "old writes running totals, new the increments of each window",
        }
    }
}

/// The result for one series.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    /// The values of all windows are equal.
    Equal,
    /// They differ for a known reason.
    Explained(KnownCause),
    /// They differ.
    Different(Difference),
    /// Only the old daemon wrote the series.
    OnlyOld,
    /// Only the new daemon wrote the series.
    OnlyNew,
}

/// Unequal values of a series.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Difference {
    /// Number of windows that differ, and of windows compared.
    pub(super) windows: (usize, usize),
    /// The first window that differs: its end in Unix milliseconds, the old and the new value.
    pub(super) first: (i64, Option<f64>, Option<f64>),
    /// The sums of all values, old and new.
    pub(super) totals: (f64, f64),
}
