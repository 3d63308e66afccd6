//! Compares the backlog with a naive model: after random events, both must give the same answers.

mod harness;
mod naive;

use proptest::prelude::*;
use proptest::sample::Index;

use crate::config::{DeliveryConfig, QueueConfig, SpoolConfig, SpoolOrder, SpoolWrite};
use crate::delivery::reason;
use basics::units::{ByteSize, Span};
use harness::Harness;

/// An event of a backlog.
#[derive(Clone, Debug)]
enum ModelEvent {
    Push(usize),
    Next,
    Read(ReadOutcome),
    Settle { delivered: usize, refused: usize, reason: LossReason, are_places_known: bool },
    AttemptFails,
    AttemptSucceeds,
    Late,
    ReplaceForwarder,
    TakeRevoked,
    SpoolStep { may_write: bool, fails: bool },
    Expire { windows_left: u64 },
    RemoveFile(Index),
    List,
    SetLimits(ModelLimits),
    Close,
    EndDelivery,
    Stop,
    Crash,
}

#[derive(Clone, Copy, Debug)]
enum ReadOutcome {
    Fine,
    Corrupt,
    /// The system returns an error.
    Fails,
}

/// The reason why a forwarder drops points. Points with the first two reasons are quarantined.
#[derive(Clone, Copy, Debug)]
enum LossReason {
    Refused,
    TooLarge,
    Lost,
}

impl LossReason {
    fn word(self) -> &'static str {
        match self {
            Self::Refused => reason::REFUSED,
            Self::TooLarge => reason::TOO_LARGE,
            Self::Lost => reason::LOST,
        }
    }
}

/// Limits that a few small windows reach.
#[derive(Clone, Copy, Debug)]
struct ModelLimits {
    queue_points: u64,
    queue_bytes: u64,
    files: u32,
    bytes: u64,
    writes_ahead: bool,
    is_fair: bool,
}

impl ModelLimits {
    fn delivery(self) -> DeliveryConfig {
        let write = if self.writes_ahead { SpoolWrite::Always } else { SpoolWrite::Behind };
        let order = if self.is_fair { SpoolOrder::Fair } else { SpoolOrder::Oldest };
        let spool = SpoolConfig {
            write,
            order,
            max_bytes: ByteSize::from_bytes(self.bytes),
            max_files: self.files.try_into().unwrap(),
            max_age: Span::from_secs(3_600),
            ..SpoolConfig::default()
        };
        let max_bytes = ByteSize::from_bytes(self.queue_bytes);
        let queue = QueueConfig { max_points: self.queue_points, max_bytes };
        DeliveryConfig { spool, queue, ..DeliveryConfig::default() }
    }
}

fn limits() -> impl Strategy<Value = ModelLimits> {
    // A window takes some 200 bytes, a point some 150.
    let queue_bytes = prop_oneof![Just(u64::MAX / 2), 300_u64..6_000];
    let bounds = (1_u64..40, queue_bytes, 1_u32..9, 50_u64..600);
    (bounds, any::<bool>(), prop::bool::weighted(0.7)).prop_map(
        |((queue_points, queue_bytes, files, bytes), writes_ahead, is_fair)| ModelLimits {
            queue_points,
            queue_bytes,
            files,
            bytes,
            writes_ahead,
            is_fair,
        },
    )
}

fn settle() -> impl Strategy<Value = ModelEvent> {
    let reasons = vec![LossReason::Refused, LossReason::TooLarge, LossReason::Lost];
    // Half of the time all points that are not refused, or long backlogs would never be delivered.
    let delivered = prop_oneof![Just(9_usize), 0_usize..6];
    (delivered, 0_usize..4, prop::sample::select(reasons), prop::bool::weighted(0.8)).prop_map(
        |(delivered, refused, reason, are_places_known)| ModelEvent::Settle {
            delivered,
            refused,
            reason,
            are_places_known,
        },
    )
}

fn spool_step() -> impl Strategy<Value = ModelEvent> {
    (prop::bool::weighted(0.9), prop::bool::weighted(0.15))
        .prop_map(|(may_write, fails)| ModelEvent::SpoolStep { may_write, fails })
}

fn event() -> impl Strategy<Value = ModelEvent> {
    let outcomes =
        vec![ReadOutcome::Fine, ReadOutcome::Fine, ReadOutcome::Corrupt, ReadOutcome::Fails];
    prop_oneof![
        12 => (0_usize..7).prop_map(ModelEvent::Push),
        8 => Just(ModelEvent::Next),
        6 => prop::sample::select(outcomes).prop_map(ModelEvent::Read),
        8 => settle(),
        20 => spool_step(),
        3 => Just(ModelEvent::Late),
        1 => Just(ModelEvent::AttemptFails),
        1 => Just(ModelEvent::AttemptSucceeds),
        2 => Just(ModelEvent::ReplaceForwarder),
        1 => Just(ModelEvent::TakeRevoked),
        1 => (0_u64..12).prop_map(|windows_left| ModelEvent::Expire { windows_left }),
        1 => any::<Index>().prop_map(ModelEvent::RemoveFile),
        1 => Just(ModelEvent::List),
        1 => limits().prop_map(ModelEvent::SetLimits),
        3 => prop_oneof![
            1 => Just(ModelEvent::Close),
            1 => Just(ModelEvent::EndDelivery),
            2 => Just(ModelEvent::Stop),
            1 => Just(ModelEvent::Crash),
        ],
    ]
}

proptest! {
    #[test]
    fn a_backlog_does_what_the_naive_model_does(
        events in prop::collection::vec(event(), 1..200),
        limits in limits(),
        has_spool in prop::bool::weighted(0.9),
    ) {
        let mut harness = Harness::new(limits, has_spool);
        for event in events {
            harness.apply(event);
        }
    }
}

#[test]
fn a_stop_that_cannot_write_the_rest_of_a_window_leaves_the_file_with_settled_points() {
    let limits = ModelLimits {
        queue_points: 1,
        queue_bytes: u64::MAX / 2,
        files: 1,
        bytes: 70,
        writes_ahead: true,
        is_fair: false,
    };
    let step = |fails| ModelEvent::SpoolStep { may_write: true, fails };
    let refused = ModelEvent::Settle {
        delivered: 0,
        refused: 1,
        reason: LossReason::Refused,
        are_places_known: false,
    };
    let mut harness = Harness::new(limits, true);
    let opens = [step(false), step(false)];
    let writes = [step(false), step(false), step(false)];
    let fails = [step(false), step(false), step(true)];
    let events = opens.into_iter().chain([ModelEvent::Push(5)]).chain(writes);
    let events = events.chain([ModelEvent::Next, refused, ModelEvent::Push(0)]);
    let events = events.chain([ModelEvent::EndDelivery]).chain(fails);
    events.for_each(|event| harness.apply(event));
    assert_eq!(harness.settled_on_disk(), 1);
    harness.apply(ModelEvent::Stop);
}
