//! Tests which configurations a running destination can take over.

use std::time::Duration;

use crate::config::{Common, DeliveryConfig, SpoolWrite};
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::{Forwarder, SavedState, SendError};
use crate::delivery::payload::Batch;
use crate::delivery::settings::ForwarderSettings;
use crate::select::SelectConfig;
use async_trait::async_trait;
use basics::units::Span;
use model::{IdleLimits, MetricKind, Snapshot};

/// Needs nothing but old data, unless a test says so.
#[derive(Default)]
struct Any {
    keeps_last_write: bool,
    has_totals: bool,
}

#[async_trait]
impl Forwarder for Any {
    fn encode(&mut self, _snapshot: &Snapshot, _batch: &mut Batch) {}

    async fn send(&mut self, _batch: &mut Batch) -> Result<(), SendError> {
        Ok(())
    }

    fn wants_old_data(&self) -> bool {
        true
    }

    fn keeps_last_write(&self) -> bool {
        self.keeps_last_write
    }

    fn save_state(&self, _batch: &Batch, _max: u64) -> Option<SavedState> {
        self.has_totals.then(|| SavedState { bytes: Vec::new(), left_out: 0 })
    }
}

fn any(kind: &'static str, settings: u32, change: impl FnOnce(&mut Common)) -> Destination {
    let mut common = Common {
        name: "metrics".into(),
        select: SelectConfig::default(),
        delivery: DeliveryConfig::default(),
        idle: IdleLimits::default(),
    };
    change(&mut common);
    Destination::new(kind, common, ForwarderSettings::new(settings), Any::default())
}

#[test]
fn a_reload_keeps_a_destination_of_the_same_name_kind_and_use_of_a_spool() {
    let (_queue, mut running, _task) = any("kind", 0, |_| {}).split();
    assert_eq!((running.name(), running.kind()), ("metrics", "kind"));
    for (next, can_reconfigure, is_same, defers_start) in [
        (any("kind", 0, |_| {}), true, true, true),
        (any("kind", 1, |_| {}), true, false, false),
        (any("kind", 0, |common| common.select.prefix = "p.".into()), true, false, true),
        (any("kind", 0, |c| c.delivery.timeout = Span::from_secs(1)), true, false, true),
        (any("other", 0, |_| {}), false, false, true),
        (any("kind", 0, |common| common.name = "other".into()), false, false, true),
        (any("kind", 0, |c| c.delivery.spool.write = SpoolWrite::Never), false, false, true),
    ] {
        assert_eq!(running.can_reconfigure(&next), can_reconfigure);
        assert_eq!(running.same_config(&next), is_same);
        assert_eq!(running.defers_start(&next), defers_start);
    }
    let next = || any("kind", 1, |common| common.select.prefix = "p.".into());
    assert!(running.reconfigure(next()).is_some());
    assert!(running.same_config(&next()));
}

#[test]
fn a_queue_knows_the_idle_series_that_its_destination_wants() {
    let limits = IdleLimits::default().with(MetricKind::Counter, Duration::from_secs(60));
    let (queue, _running, _task) = any("kind", 0, |common| common.idle = limits).split();
    assert_eq!(*queue.idle(), limits);
}

#[test]
fn a_destination_whose_writes_or_totals_continue_needs_the_state_of_the_run_before() {
    for (keeps_last_write, has_totals) in
        [(false, false), (true, false), (false, true), (true, true)]
    {
        let mut destination = any("kind", 0, |_| {});
        destination.forwarder = Box::new(Any { keeps_last_write, has_totals });
        assert_eq!(destination.needs_restart_state(), keeps_last_write || has_totals);
    }
}

#[test]
fn only_some_kinds_of_destinations_limit_their_attempts() {
    let unlimited = any("kind", 0, |common| common.delivery.timeout = Span::from_secs(3));
    assert_eq!(unlimited.attempt_max, None);
    assert_eq!(unlimited.with_attempt_limit().attempt_max, Some(Span::from_secs(3).get()));
}
