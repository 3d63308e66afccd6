//! Tests of a reload that replaces a forwarder which listens.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use basics::address::ListenAddresses;
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, sleep};

use crate::config::{Common, DeliveryConfig};
use crate::delivery::destination::Destination;
use crate::delivery::forwarder::{Forwarder, ReleasedSockets, SendError};
use crate::delivery::payload::Batch;
use crate::delivery::settings::ForwarderSettings;
use crate::select::SelectConfig;
use model::testing::snapshot_of_counters;
use model::{IdleLimits, Snapshot};

type Events = Arc<Mutex<Vec<&'static str>>>;

/// Records the calls. Each number of points that it gets comes from one window.
struct Listening {
    listen: ListenAddresses,
    failing_starts: usize,
    events: Events,
}

#[async_trait]
impl Forwarder for Listening {
    async fn start(&mut self) -> Result<(), SendError> {
        if let Some(left) = self.failing_starts.checked_sub(1) {
            self.failing_starts = left;
            self.events.lock().push("cannot start");
            return Err(SendError::transient("address in use"));
        }
        self.events.lock().push("started");
        Ok(())
    }

    fn listen(&self) -> Option<&ListenAddresses> {
        Some(&self.listen)
    }

    fn release_sockets(&mut self) -> Option<ReleasedSockets> {
        self.events.lock().push("released");
        Some(oneshot::channel().1)
    }

    fn inherit_sockets(&mut self, _sockets: ReleasedSockets) {
        self.events.lock().push("inherited");
    }

    fn encode(&mut self, _snapshot: &Snapshot, batch: &mut Batch) {
        batch.push(1, |_| (), |_| ());
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        self.events.lock().push("delivered");
        batch.all_delivered();
        Ok(())
    }
}

fn destination(
    settings: u32,
    address: &str,
    failing_starts: usize,
    events: &Events,
) -> Destination {
    let common = Common {
        name: "page".into(),
        select: SelectConfig::default(),
        delivery: DeliveryConfig::default(),
        idle: IdleLimits::default(),
    };
    let listen = ListenAddresses::parse(address).unwrap();
    let forwarder = Listening { listen, failing_starts, events: Arc::clone(events) };
    Destination::new("page", common, ForwarderSettings::new(settings), forwarder)
}

/// The calls after a reload that replaces a forwarder at 127.0.0.1:9100, and the time until a window
/// is delivered.
async fn replaced_by(address: &str, failing_starts: usize) -> (Vec<&'static str>, Duration) {
    let events = Events::default();
    let (_queue, mut running, task) = destination(0, "127.0.0.1:9100", 0, &events).split();
    tokio::spawn(task.run(watch::channel(None).1));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(*events.lock(), [""; 0], "the caller has started it");
    let started = Instant::now();
    let queue = running.reconfigure(destination(1, address, failing_starts, &events)).unwrap();
    // The reload interrupts the delivery loop; before that, the current forwarder takes windows.
    sleep(Duration::from_millis(1)).await;
    queue.push(&Arc::new(snapshot_of_counters(1)));
    while !events.lock().contains(&"delivered") {
        sleep(Duration::from_millis(1)).await;
    }
    let calls = events.lock().clone();
    (calls, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_forwarder_at_the_same_addresses_inherits_the_sockets() {
    let (calls, took) = replaced_by("127.0.0.1:9100", 0).await;
    assert_eq!(calls, ["released", "inherited", "started", "delivered"]);
    assert!(took < Duration::from_millis(10), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_forwarder_at_an_overlapping_address_starts_after_the_sockets_are_closed() {
    let (calls, _) = replaced_by("0.0.0.0:9100", 0).await;
    assert_eq!(calls, ["released", "started", "delivered"]);
}

#[tokio::test(start_paused = true)]
async fn a_forwarder_at_another_address_has_been_started_by_the_caller() {
    let (calls, _) = replaced_by("127.0.0.1:9101", 0).await;
    assert_eq!(calls, ["delivered"]);
}

#[tokio::test(start_paused = true)]
async fn a_start_is_repeated_soon_while_the_sockets_may_be_closing_and_then_more_slowly() {
    let (calls, took) = replaced_by("127.0.0.1:9100", 3).await;
    let starts = ["cannot start", "cannot start", "cannot start", "started", "delivered"];
    assert_eq!(calls, [&["released", "inherited"][..], &starts].concat());
    assert!((Duration::from_millis(30)..Duration::from_millis(100)).contains(&took), "{took:?}");
    // The attempt at the end of the second is the last one that follows soon.
    let (_, took) = replaced_by("127.0.0.1:9100", 101).await;
    assert!(
        (Duration::from_millis(1_200)..Duration::from_millis(1_300)).contains(&took),
        "{took:?}"
    );
    // Within a second there are about a hundred attempts.
    let (_, took) = replaced_by("127.0.0.1:9100", 110).await;
    assert!((Duration::from_millis(1_500)..Duration::from_secs(8)).contains(&took), "{took:?}");
}
