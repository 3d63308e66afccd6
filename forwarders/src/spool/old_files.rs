//! Tests that files of earlier versions stay readable after an update.
//!
//! `fixtures/` contains files that these versions wrote.

use model::{Snapshot, Value};

use super::codec::tests::shown;
use super::file::{read, write};
use super::name::FileName;
use crate::delivery::payload::Batch;
use crate::testing::encoders;

const NAME_0_1_0: &str = "0000000000000007-1490114064000-7-17056.b";
const BYTES_0_1_0: &[u8] = include_bytes!("fixtures/0000000000000007-1490114064000-7-17056.b");

fn snapshot_of_0_1_0() -> Snapshot {
    let name: FileName = NAME_0_1_0.parse().unwrap();
    read(name, BYTES_0_1_0).unwrap()
}

#[test]
fn a_file_of_0_1_0_has_the_values_that_0_1_0_reported_and_percentiles_within_a_bucket() {
    let snapshot = snapshot_of_0_1_0();
    let fields = snapshot.points.iter().map(|point| {
        let mut fields = Vec::new();
        point.value.for_each_field(&snapshot, |_, value| fields.push(value));
        (point.series.to_string(), fields)
    });
    let small = [3.5, 0.35, 6.0, 1.0, 2.0, 6.0 / 3.5, 0.451_753_951_452_625_65];
    let large = [1200.0, 120.0, 720_600.0, 1.0, 1200.0, 600.5, 346.410_041_232_448_5];
    // The sketch of 0.1.0 had other buckets: 598.9, 1080.4, 1135.7 and 1182.1 for the true values 600,
    // 1080, 1140 and 1188.
    let large_percentiles = [
        599.053_626_574_902_8,
        1_075.126_980_027_500_4,
        1_134.952_612_591_377_8,
        1_185.201_257_626_673_4,
    ];
    let expected = [
        ("counter c host=a", vec![3.0, 0.3]),
        ("set set.small host=a", vec![3.0]),
        ("set set.large host=a", vec![5001.0]),
        ("timer timer.small host=a", [&small[..], &[2.0; 4]].concat()),
        ("timer timer.large host=a", [&large[..], &large_percentiles].concat()),
        ("gauge g host=a", vec![-0.5]),
        ("trace tr host=a", vec![2.0]),
    ];
    let expected = expected.map(|(series, fields)| (series.to_owned(), fields));
    assert_eq!(fields.collect::<Vec<_>>(), expected);
}

#[test]
fn a_file_of_0_1_0_can_be_written_again_and_sent_to_every_destination() {
    let snapshot = snapshot_of_0_1_0();
    let points = model::PointRanges::first(snapshot.points.len());
    let (name, bytes) = write(7, &snapshot, &points, "this run");
    assert_eq!(shown(&read(name, &bytes).unwrap()), shown(&snapshot));
    for encoder in encoders::names() {
        let mut batch = Batch::default();
        encoders::encoder(encoder)(&snapshot, &mut batch);
        assert_eq!(batch.points(), 7, "{encoder}");
    }
}

#[test]
fn large_sets_of_0_1_0_can_be_merged() {
    let snapshot = snapshot_of_0_1_0();
    let mut value = snapshot.points[2].value.clone();
    value.merge(snapshot.points[2].value.clone(), &snapshot);
    assert_eq!(value.headline(), 5001.0);
    assert!(matches!(&value, Value::Set(set) if set.set.member_hashes().is_none()));
    // The two sets share no member.
    value.merge(snapshot.points[1].value.clone(), &snapshot);
    assert!((5002.0..5006.0).contains(&value.headline()), "{}", value.headline());
}
