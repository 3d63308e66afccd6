//! Helpers for the tests and benchmarks of this and other crates: encoded batches and real servers.

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::Forwarder;
use crate::delivery::payload::Batch;
use model::testing::snapshot_of;
use model::{Point, Snapshot};

pub mod encoders;
pub mod load;
pub mod simulation;
pub mod spool;

/// Parses a section from its members, such as `"tags": "drop"`, and adds an address if they have
/// none.
///
/// # Panics
/// If the members are not a valid section.
#[must_use]
pub fn section<T: DeserializeOwned>(members: &str) -> T {
    let has_address = members.contains("\"address\"");
    let address = if has_address { "" } else { r#""address": "127.0.0.1:1""# };
    let members: Vec<&str> = [address, members].into_iter().filter(|m| !m.is_empty()).collect();
    serde_json::from_str(&format!("{{{}}}", members.join(", "))).expect("a section")
}

/// Encodes points with a forwarder.
pub fn encoded(forwarder: &mut dyn Forwarder, points: Vec<Point>) -> Batch {
    let mut batch = Batch::default();
    forwarder.encode(&snapshot_of(points), &mut batch);
    batch
}

/// Returns the bytes of all pending payloads as text.
///
/// # Panics
/// If they are not UTF-8.
#[must_use]
pub fn text_of(batch: &Batch) -> String {
    let bytes: Vec<u8> = batch.pending().flat_map(|payload| payload.bytes.to_vec()).collect();
    String::from_utf8(bytes).expect("text")
}

/// Checks that payloads follow the order of the snapshot's points and state how many points they
/// hold. The delivery loop relies on both to know which points of a partly delivered window to
/// keep. Each payload must equal the encoding of its points alone.
///
/// # Panics
/// If a payload differs, or if a point is in no payload.
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

/// Returns the address of a real server, which `scripts/test.sh` passes in the environment variable
/// `variable`. If it is not set, the test must be skipped; a line on standard error says so,
/// because cargo captures the output of a passing test.
///
/// # Panics
/// If it is not set although `TALLYD_REQUIRE_SERVERS` is `1`: the server should have been started.
#[must_use]
pub fn real_server(variable: &str) -> Option<String> {
    named_by(variable, "needs a real server", "starts one")
}

/// Returns the path of a real client, like [`real_server`].
///
/// # Panics
/// As [`real_server`].
#[must_use]
pub fn real_client(variable: &str) -> Option<String> {
    named_by(variable, "sends with a real client", "installs it")
}

/// Returns whether a program is in the `PATH`. If not, the test must be skipped, like
/// [`real_server`].
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

/// Returns the path of libfaketime, which sets the wall clock of one process. If it is not
/// installed, the test must be skipped, like [`real_server`].
///
/// # Panics
/// As [`real_server`].
#[must_use]
pub fn libfaketime() -> Option<PathBuf> {
    let below = |folder: &str| folder.to_owned() + "/faketime/libfaketime.so.1";
    let multiarch = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let multiarch = multiarch.map(|entry| below(&entry.path().to_string_lossy()));
    let mut places = ["/usr/lib", "/usr/lib64"].map(below).into_iter().chain(multiarch);
    let found = places.find(|place| Path::new(place).is_file());
    if found.is_none() {
        skip("needs libfaketime", "installs it");
    }
    found.map(PathBuf::from)
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
