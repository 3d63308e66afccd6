//! The value of a series on the page.

use crate::prometheus::native::NativeHistogram;
use crate::prometheus::timer_total::TimerTotal;
use crate::prometheus::timers::TimerSettings;
use model::{MetricKind, SeriesNaming, Sum, Value};

/// The value of a series on the page.
#[derive(Clone, Debug)]
pub(in crate::prometheus) enum Shown {
    /// A counter or a trace.
    Total {
        /// Sum of all windows.
        sum: Sum,
        /// The largest sum so far, because Prometheus would take a smaller one for a restart. For a
        /// counter whose source keeps the total, that total, which falls when the source restarts.
        shown: f64,
    },
    /// The value of a gauge or the size of a set in its latest window.
    Last(f64),
    /// A timer. Boxed, because it is several times larger than the others.
    Timer(Box<TimerTotal>),
}

impl Shown {
    /// Returns the value before the first window.
    pub(super) fn initial(kind: MetricKind, timers: &TimerSettings, metric: &str) -> Self {
        match kind {
            MetricKind::Counter | MetricKind::Trace => {
                Self::Total { sum: Sum::default(), shown: 0.0 }
            }
            MetricKind::Gauge | MetricKind::Set => Self::Last(0.0),
            MetricKind::Timer => Self::Timer(Box::new(TimerTotal::new(timers, metric))),
        }
    }

    /// Adds the value of one window. If the source keeps the total and the slot has never been
    /// shared, the source's total is shown as it is. In a shared slot only increments count, even
    /// if the other sources are idle: their earlier increments are part of the total.
    pub(super) fn add(&mut self, value: &Value, is_shared: bool) {
        match (self, value) {
            (Self::Total { sum, shown }, Value::Total(total)) if !is_shared => {
                // Kept up to date for the case that another source joins the slot.
                *sum = Sum::of(total.total);
                *shown = total.total;
            }
            (Self::Total { sum, shown }, Value::Total(total)) => {
                sum.merge(total.added);
                *shown = shown.max(sum.value());
            }
            (Self::Total { sum, shown }, Value::Counter(window) | Value::Trace(window)) => {
                // A negative count corrects the sum, but the shown total must not fall.
                sum.merge(*window);
                *shown = shown.max(sum.value());
            }
            (Self::Last(shown), Value::Gauge { value, .. }) => *shown = *value,
            (Self::Last(shown), Value::Set(set)) => *shown = set.count,
            (Self::Timer(total), Value::Timer(window)) => total.add(window),
            (shown, value) => debug_assert!(false, "{value:?} for {shown:?}"),
        }
    }

    /// Continues from a saved value; `None` if that belongs to a series of another form.
    pub(super) fn continued_from(&self, saved: &Self) -> Option<Self> {
        match (self, saved) {
            (Self::Timer(fresh), Self::Timer(saved)) => {
                fresh.continued_from(saved).map(Box::new).map(Self::Timer)
            }
            _ if std::mem::discriminant(self) == std::mem::discriminant(saved) => {
                Some(saved.clone())
            }
            _ => None,
        }
    }

    /// Returns the number of bounds of a classic histogram.
    pub(super) fn bounds(&self) -> usize {
        match self {
            Self::Timer(total) => {
                total.classic.as_ref().map_or(0, |classic| classic.bounds().len())
            }
            Self::Total { .. } | Self::Last(_) => 0,
        }
    }

    pub(super) fn native(&self) -> Option<&NativeHistogram> {
        match self {
            Self::Timer(total) => total.native.as_deref(),
            Self::Total { .. } | Self::Last(_) => None,
        }
    }

    /// Returns whether negative increments hold the total: the sum is below the shown total.
    pub(in crate::prometheus) fn is_held(&self) -> bool {
        match self {
            // A difference in only the last bits is the rounding of the sum.
            Self::Total { sum, shown } => *shown - sum.value() > shown.abs() * 1e-12,
            Self::Last(_) | Self::Timer(_) => false,
        }
    }

    /// Converts the value of a renamed series to the form that its naming requires.
    pub(super) fn convert(&mut self, naming: &dyn SeriesNaming) {
        if let Self::Total { shown: value, .. } | Self::Last(value) = self {
            *value = naming.shown_value(*value);
        }
    }
}
