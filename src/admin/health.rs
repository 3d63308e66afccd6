//! `/healthz`: whether windows are closed in time.

use std::time::Duration;

use engine::aggregator::windows::WindowCounts;

/// Time that may pass without a closed window, beyond two windows: listeners have 5 s to hand over
/// their samples, and a large window takes a while.
const SLACK: Duration = Duration::from_secs(15);

/// The reason why the pipeline is unhealthy, if it is.
pub(super) fn complaint(windows: &WindowCounts) -> Option<String> {
    let limit = windows.interval * 2 + SLACK;
    (windows.silent_for > limit).then(|| {
        format!(
            "no window was closed for {} s, although windows are {} s long: the aggregator hangs\n",
            windows.silent_for.as_secs(),
            windows.interval.as_secs_f64()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipeline_that_closes_no_window_is_unhealthy() {
        let silent_for = |seconds| WindowCounts {
            interval: Duration::from_secs(10),
            closed: 3,
            clock_steps: 0,
            last: None,
            silent_for: Duration::from_secs(seconds),
        };
        assert_eq!(complaint(&silent_for(35)), None);
        let words = complaint(&silent_for(36)).unwrap();
        assert!(
            words.starts_with("no window was closed for 36 s, although windows are 10 s long"),
            "{words}"
        );
    }
}
