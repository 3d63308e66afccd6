//! What tests and benchmarks of this and of other crates need: encoded batches, and real servers.

use std::env;
use std::io::{self, Write};

use serde::de::DeserializeOwned;

use crate::Forwarder;
use crate::delivery::payload::Batch;
use model::testing::snapshot_of;
use model::{Point, Snapshot};

pub mod encoders;
pub mod load;
pub mod spool;

/// A section of these members, such as `"tags": "drop"`, with an address unless they have one.
///
/// # Panics
/// If there cannot be such a section.
#[must_use]
pub fn section<T: DeserializeOwned>(members: &str) -> T {
    let has_address = members.contains("\"address\"");
    let address = if has_address { "" } else { r#""address": "127.0.0.1:1""# };
    let members: Vec<&str> = [address, members].into_iter().filter(|m| !m.is_empty()).collect();
    serde_json::from_str(&format!("{{{}}}", members.join(", "))).expect("a section")
}

/// What a destination makes of points.
pub fn encoded(forwarder: &mut dyn Forwarder, points: Vec<Point>) -> Batch {
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of(points), &mut batch);
    batch
}

/// All bytes that are still to be sent, as text.
///
/// # Panics
/// If they are none.
#[must_use]
pub fn text_of(batch: &Batch) -> String {
    let bytes: Vec<u8> = batch.pending().flat_map(|payload| payload.bytes.to_vec()).collect();
    String::from_utf8(bytes).expect("text")
}

/// Checks that payloads are in the order of the snapshot's points and say how many they hold, which
/// is what names the points that are kept when a window is half delivered: each payload is what
/// encoding just its points gives.
///
/// # Panics
/// When one is not, or points are in none.
pub fn assert_payloads_follow_points(forwarder: &mut dyn Forwarder, snapshot: &Snapshot) {
    let mut encode = |points: &[Point]| {
        let mut batch = Batch::default();
        forwarder.encode(&snapshot_of(points.to_vec()), &mut batch);
        let payload = |payload: crate::delivery::payload::Payload<'_>| {
            (payload.points as usize, payload.key.to_vec(), payload.bytes.to_vec())
        };
        batch.pending().map(payload).collect::<Vec<_>>()
    };
    let mut start = 0;
    for payload in encode(&snapshot.points) {
        let end = start + payload.0;
        assert_eq!(encode(&snapshot.points[start..end]), [payload], "points {start} to {end}");
        start = end;
    }
    assert_eq!(start, snapshot.points.len(), "points that are in no payload");
}

/// Where a real server is, as `scripts/test.sh` names it in the environment variable `variable`.
/// Without one the test is to be skipped, which is said aloud: cargo would keep to itself what a
/// passing test prints.
///
/// # Panics
/// Without one, if `TALLYD_REQUIRE_SERVERS` is `1`: a server that is missing there is a mistake.
#[must_use]
pub fn real_server(variable: &str) -> Option<String> {
    named_by(variable, "needs a real server", "starts one")
}

/// Where a real client is, like [`real_server`].
///
/// # Panics
/// As [`real_server`].
#[must_use]
pub fn real_client(variable: &str) -> Option<String> {
    named_by(variable, "sends with a real client", "installs it")
}

/// Whether a program is in the `PATH`. Without it the test is to be skipped, like [`real_server`].
///
/// # Panics
/// As [`real_server`].
#[must_use]
pub fn real_program(name: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    let is_there = env::split_paths(&path).any(|folder| folder.join(name).is_file());
    if !is_there {
        skip(&format!("needs {name}, which is not in the PATH"), "installs it");
    }
    is_there
}

fn named_by(variable: &str, need: &str, what_test_sh_does: &str) -> Option<String> {
    let place = env::var(variable).ok().filter(|place| !place.is_empty());
    if place.is_none() {
        skip(&format!("{need}, and {variable} is not set"), what_test_sh_does);
    }
    place
}

fn skip(why: &str, what_test_sh_does: &str) {
    let is_required = env::var("TALLYD_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(!is_required, "{test} {why}, and TALLYD_REQUIRE_SERVERS is 1");
    let _nobody_listens =
        writeln!(io::stderr(), "SKIPPED: {test}: {why} (scripts/test.sh {what_test_sh_does})");
}
