//! Notifications to the service manager in the protocol of sd_notify(3): ready, alive, status,
//! reloading, stopping. Without a service manager that speaks it, nothing is sent.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use engine::aggregator::pulse::{Pulse, RuntimeCall};
use sd_notify::NotifyState;
use tracing::debug;

use super::report::{kernel_drops, message_counts};
use crate::runtime::RuntimeState;

/// How often the status is sent.
const STATUS_PERIOD: Duration = Duration::from_secs(10);
/// Watchdog notifications per watchdog timeout: one may be late and one may be lost.
const BEATS: u32 = 4;
/// Time for a stop beyond that for delivery: draining the sockets and writing the spools.
const STOP_MARGIN: Duration = Duration::from_secs(10);

/// Reports that every listener is bound and read.
pub(super) fn ready() {
    notify(&[NotifyState::Ready]);
}

/// Reports that a reload has begun; [`ready`] reports its end.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => debug!(%error, "cannot notify the service manager of the reload"),
    }
}

/// Reports that the daemon is stopping, and requests the time that this may take.
pub(super) fn stopping(shutdown_timeout: Duration) {
    let limit = (shutdown_timeout + STOP_MARGIN).as_micros();
    let limit = u32::try_from(limit).unwrap_or(u32::MAX);
    notify(&[
        NotifyState::Stopping,
        NotifyState::Status("stopping: delivering the remaining points"),
        NotifyState::ExtendTimeoutUsec(limit),
    ]);
}

/// Reports that the daemon is alive.
fn feed_watchdog() {
    notify(&[NotifyState::Watchdog]);
}

/// How often to feed the watchdog; `None` if the service manager has none for this daemon.
fn watchdog_period() -> Option<Duration> {
    sd_notify::watchdog_enabled().filter(|timeout| !timeout.is_zero()).map(|t| t / BEATS)
}

/// Sends a summary of the ledger, which `systemctl status` shows, whenever it has changed. Runs until
/// it is aborted.
pub(super) async fn report_status(state: Arc<RuntimeState>) {
    let mut sent = String::new();
    let mut period = tokio::time::interval(STATUS_PERIOD);
    loop {
        period.tick().await;
        let status = status(&state);
        if status != sent {
            notify(&[NotifyState::Status(&status)]);
            sent = status;
        }
    }
}

/// The ledger as one line.
fn status(state: &RuntimeState) -> String {
    let components = state.components.now();
    let counts = message_counts(&components);
    let kernel_drops = kernel_drops(&components);
    let (received, rejected) = (counts.received(), counts.received() - counts.aggregated);
    let mut line =
        format!("received {received}, rejected {rejected}, dropped by the kernel {kernel_drops}");
    for forwarder in &components.forwarders {
        let counts = forwarder.stats.counts();
        let dropped: u64 = counts.dropped.values().sum();
        let down = if counts.down { " (down)" } else { "" };
        let (name, delivered) = (&forwarder.name, counts.delivered);
        let waiting = counts.queued + counts.spooled;
        // Writing to a string cannot fail.
        let _written = write!(
            line,
            "; {name}{down}: delivered {delivered}, waiting {waiting}, dropped {dropped}"
        );
    }
    line
}

/// Sends a notification. A failure is only a debug message: the service manager notices a missing
/// notification itself and logs it, whereas a warning here would recur every few seconds.
fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        debug!(%error, "cannot notify the service manager (NOTIFY_SOCKET)");
    }
}

/// Creates the pulse that feeds the watchdog; `None` if the service manager has none for this daemon.
pub(super) fn pulse() -> Option<Pulse> {
    let period = watchdog_period()?;
    let runtime = Arc::new(RuntimeCall::default());
    let responding = Arc::clone(&runtime);
    tokio::spawn(async move { responding.respond().await });
    Some(Pulse::new(period, runtime, feed_watchdog))
}
