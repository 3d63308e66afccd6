//! How long the daemon runs: until a signal stops it, or for one window (`tallyd run --once`).

use basics::units::Span;
use forwarders::delivery::destination::Destination;
use yaml::Spanned;

use crate::config::{ConfigFile, LoadError};

/// An interval so long that its window never ends during the run.
const ENDLESS: Span = Span::from_secs(1_000_000_000);

/// How long the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunLength {
    /// Until a signal stops it.
    UntilStopped,
    /// For one interval from its start, which is one window, wherever the multiples of the interval
    /// are. It sends nothing and neither reads nor changes what another daemon keeps on disk.
    OneWindow(Span),
}

/// Changes the settings for a run of one window: its points go to standard output, in the format of the
/// configured console if there is one, and only the end of the run ends the window. Returns the length of
/// the run, and the destinations.
///
/// # Errors
/// When the destinations' settings are invalid.
pub(super) fn for_one_window(
    file: &mut ConfigFile,
    instance: &str,
) -> Result<(RunLength, Vec<Destination>), LoadError> {
    file.listeners.iter_mut().for_each(|listener| listener.endpoint.clear_mirror());
    let config = &mut file.config;
    let length = std::mem::replace(&mut config.interval, ENDLESS);
    config.debug_mode = false;
    let mut destinations = config.destinations(&file.source, instance)?;
    destinations.retain(|destination| destination.kind == "console");
    if destinations.is_empty() {
        config.forwarders = Spanned::default();
        destinations = config.destinations(&file.source, instance)?;
    }
    Ok((RunLength::OneWindow(length), destinations))
}
