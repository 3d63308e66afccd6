//! Tests of kinds of destinations that implement no more than they have to.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use basics::tcp_listeners::BindFailure;

use crate::delivery::destination::Destination;
use crate::delivery::forwarder::{Forwarder, SendError};
use crate::delivery::payload::Batch;
use crate::delivery::section::{BuildContext, ForwarderSection};
use crate::idle::{IdleKeys, IdleRules};
use model::Snapshot;
use model::testing::snapshot_of_counters;

struct Minimal;

#[async_trait]
impl Forwarder for Minimal {
    fn encode(&mut self, _snapshot: &Snapshot, _batch: &mut Batch) {}

    async fn send(&mut self, _batch: &mut Batch) -> Result<(), SendError> {
        Ok(())
    }
}

#[tokio::test]
async fn a_forwarder_has_no_sockets_totals_or_special_needs_unless_it_says_so() {
    let (mut forwarder, mut batch) = (Minimal, Batch::default());
    let window = snapshot_of_counters(1);
    assert!(forwarder.start().await.is_ok() && forwarder.probe().await.is_ok());
    assert!(forwarder.listen().is_none() && forwarder.release_sockets().is_none());
    assert!(!forwarder.wants_idle_windows() && !forwarder.wants_whole_window(&window));
    assert!(!forwarder.wants_old_data() && !forwarder.wants_newer_window());
    assert!(!forwarder.keeps_last_write() && !forwarder.settles_what_left());
    assert_eq!((forwarder.served(), forwarder.readable(b"payload")), (None, None));
    assert_eq!(*forwarder.without_secrets(b"payload"), *b"payload");
    assert!(forwarder.histograms(&window).is_empty());
    let counts = [
        forwarder.refused_connections(),
        forwarder.accept_errors(),
        forwarder.refused_access(),
        forwarder.failed_fetches(),
        forwarder.held_totals(),
        forwarder.reduced_histograms(),
        forwarder.fallback_records(),
        forwarder.failed_probes(),
        forwarder.refused_probes(),
    ];
    assert!(counts.iter().all(Option::is_none));
    assert_eq!(forwarder.save_state(&batch, u64::MAX), None);
    assert_eq!(forwarder.restore_state(b"state", Duration::ZERO), Ok(()));
    forwarder.stop(&mut batch).await;
}

#[test]
fn only_a_failure_to_bind_has_the_cause_at_an_address_of_this_host() {
    let address = SocketAddr::from(([127, 0, 0, 1], 9_100));
    let failure = BindFailure { address, error: io::ErrorKind::AddrInUse.into() };
    assert!(SendError::operator(failure).is_of_own_address());
    assert!(!SendError::operator("address in use").is_of_own_address());
}

struct MinimalSection;

impl ForwarderSection for MinimalSection {
    const KIND: &'static str = "minimal";
    const EXAMPLE: &'static str = "{}";

    fn idle(&self) -> IdleKeys<'_> {
        IdleKeys { idle: None, idle_for: None, rules: IdleRules::default() }
    }

    fn build(self, _context: &BuildContext) -> Result<Vec<Destination>, String> {
        Ok(Vec::new())
    }
}

#[test]
fn a_section_has_no_resources_percentages_or_secrets_unless_it_says_so() {
    let mut section = MinimalSection;
    assert_eq!(section.connections(), None);
    assert!(section.host_resources().is_none() && section.percentages().is_none());
    assert!(section.check().is_ok());
    assert!(!section.mask_payload_secrets());
}
