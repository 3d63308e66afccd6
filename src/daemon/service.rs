//! What the daemon tells the service manager that started it: that it is ready, that it lives, how
//! it is, that it stops. sd_notify(3) is the protocol; without a manager that speaks it nothing is
//! told.

use engine::aggregator::pulse::{Pulse, RuntimeCall};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::debug;

use crate::runtime::Observed;
use engine::listener::stats::ListenerCounts;

/// How often the manager is told how the daemon is.
const STATUS_PERIOD: Duration = Duration::from_secs(10);
/// Beats in the time after which the watchdog bites: one may be late, and one lost on the way.
const BEATS: u32 = 4;
/// What a stop may take besides delivering: reading what the sockets hold, and the spools.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// Says that every listener is bound and read.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Says that the configuration is read anew; [`ready`] says that it is done.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "the service manager is not told of a reload"),
    }
}

/// Says that the daemon stops, and how long delivering may take.
pub(super) fn stopping(shutdown_timeout: Duration) {
    let limit = (shutdown_timeout + STOP_MARGIN).as_micros();
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping: delivering what is left"),
        NotifyState::ExtendTimeoutUsec(limit),
    ]);
}

/// Says that the daemon lives.
pub(super) fn feed_watchdog() {
    tell(&[NotifyState::Watchdog]);
}

/// How often to do so; `None` if the manager does not watch.
#[must_use]
pub(super) fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero()).map(|t| t / BEATS)
}

/// Tells how the daemon is, for `systemctl status`, until it is aborted.
pub(super) async fn tell_status(observed: Arc<Observed>) {
    let mut told = String::new();
    let mut look = tokio::time::interval(STATUS_PERIOD);
    loop {
        look.tick().await;
        let status = status(&observed);
        if status != told {
            tell(&[NotifyState::Status(&status)]);
            told = status;
        }
    }
}

/// The ledger in a line.
fn status(observed: &Observed) -> String {
    let parts = observed.parts.now();
    let mut counts = ListenerCounts::default();
    parts.listeners.iter().for_each(|listener| counts.add(&listener.counts()));
    let kernel_drops: u64 = parts.listeners.iter().map(|listener| listener.kernel_drops()).sum();
    let (received, rejected) = (counts.received(), counts.received() - counts.aggregated);
    let mut line =
        format!("received {received}, rejected {rejected}, dropped by the kernel {kernel_drops}");
    for forwarder in &parts.forwarders {
        let counts = forwarder.stats.counts();
        let dropped: u64 = counts.dropped.values().sum();
        let down = if counts.down { " (down)" } else { "" };
        let (name, delivered) = (&forwarder.name, counts.delivered);
        let waiting = counts.queued + counts.spooled;
        // Writing to a string does not fail.
        let _ = write!(
            line,
            "; {name}{down}: delivered {delivered}, waiting {waiting}, dropped {dropped}"
        );
    }
    line
}

/// A manager that cannot be told acts on its own: it waits for the first word in vain, or misses the
/// next beat, and says so. Here a line each time would be one every few seconds.
fn tell(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "the service manager cannot be told how the daemon is (NOTIFY_SOCKET)");
    }
}

/// The signs of life that the service manager wants, if it does.
pub(super) fn pulse() -> Option<Pulse> {
    let period = watchdog_period()?;
    let runtime = Arc::new(RuntimeCall::default());
    let responding = Arc::clone(&runtime);
    tokio::spawn(async move { responding.respond().await });
    Some(Pulse::new(period, runtime, feed_watchdog))
}
