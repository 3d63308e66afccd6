use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::spool::FolderLock;
use crate::spool::codec::tests::{shown, snapshot};
use model::testing::snapshot_of_counters;
use model::{GaugeLevel, MetricKind, PartialWindow, Series, SetSeed, UnfinishedWindows, UsedRange};

const MAX: u64 = 1 << 20;

fn folder(root: &Path) -> RestartFolder {
    RestartFolder::open(root).unwrap()
}

fn seed() -> SetSeed {
    SetSeed::from_text("secret")
}

fn windows(count: usize) -> UnfinishedWindows {
    let window = |start_ms| PartialWindow { start_ms, snapshot: snapshot_of_counters(5) };
    let used = vec![UsedRange { first_ms: 10, last_ms: 77, times: 1 }];
    UnfinishedWindows { used, windows: (0..count as u64).map(window).collect() }
}

fn level(number: u64) -> GaugeLevel {
    let tags = [("n", number.to_string())];
    let series = Arc::new(Series::new(MetricKind::Gauge, "g", &tags));
    GaugeLevel { series, value: number as f64 / 4.0, idle_ms: number * 1_000 }
}

fn levels(count: u64) -> Vec<GaugeLevel> {
    (0..count).map(level).collect()
}

fn told(levels: &[GaugeLevel]) -> Vec<(String, f64, u64)> {
    levels.iter().map(|one| (one.series.to_string(), one.value, one.idle_ms)).collect()
}

#[test]
fn a_part_comes_back_until_it_is_removed() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("restart");
    let parts = [
        RestartPart::Windows,
        RestartPart::Levels,
        RestartPart::Totals("prometheus".to_owned()),
        RestartPart::Totals("../b/c".to_owned()),
        RestartPart::Signatures,
    ];
    let first = folder(&root);
    for (number, part) in parts.iter().enumerate() {
        assert!(first.read(part, MAX).unwrap().is_none());
        first.write(part, number as u64, part.to_string().as_bytes(), || true).unwrap();
    }
    drop(first);
    let second = folder(&root);
    for (number, part) in parts.iter().enumerate() {
        let saved = second.read(part, MAX).unwrap().unwrap();
        let expected = SavedFile { saved_at_ms: number as u64, bytes: part.to_string().into() };
        assert_eq!(saved, expected);
    }
    second.remove_all_but_windows().unwrap();
    assert!(second.read(&RestartPart::Levels, MAX).unwrap().is_none());
    assert!(second.read(&RestartPart::Signatures, MAX).unwrap().is_none());
    assert!(second.read(&RestartPart::Windows, MAX).unwrap().is_some());
    second.remove(&RestartPart::Windows).unwrap();
    let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&root), 0o700);
    let left: Vec<_> = root.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["LOCK"]);
}

#[test]
fn a_part_that_is_not_committed_is_not_there_and_neither_is_an_earlier_one() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    folder.write(&RestartPart::Windows, 1, b"earlier", || true).unwrap();
    folder.write(&RestartPart::Windows, 2, b"later", || false).unwrap_err();
    assert!(folder.read(&RestartPart::Windows, MAX).unwrap().is_none());
    assert_eq!(place.path().read_dir().unwrap().count(), 1, "only the lock");
}

#[test]
fn a_second_daemon_learns_who_uses_the_folder() {
    let place = tempfile::tempdir().unwrap();
    let first = folder(place.path());
    let error = RestartFolder::open(place.path()).unwrap_err().to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    drop(first);
    folder(place.path());
}

/// A folder in which an earlier run left all parts.
fn left_by_an_earlier_run(root: &Path) {
    let folder = folder(root);
    for part in all_parts() {
        folder.write(&part, 1, b"earlier", || true).unwrap();
    }
}

fn all_parts() -> [RestartPart; 3] {
    [RestartPart::Windows, RestartPart::Levels, RestartPart::Totals("p".to_owned())]
}

/// The parts that a run would read.
fn readable(root: &Path) -> Vec<(String, Vec<u8>)> {
    let folder = folder(root);
    let read =
        |part: &RestartPart| Some((part.to_string(), folder.read(part, MAX).unwrap()?.bytes));
    all_parts().iter().filter_map(read).collect()
}

#[test]
fn a_folder_that_becomes_usable_late_loses_the_levels_and_totals_of_an_earlier_run() {
    let above = tempfile::tempdir().unwrap();
    let (root, aside) = (above.path().join("state/restart"), above.path().join("aside"));
    left_by_an_earlier_run(&root);
    fs::rename(above.path().join("state"), &aside).unwrap();
    fs::write(above.path().join("state"), "a file in the place of the folder").unwrap();
    let place = RestartPlace::new(&root);
    place.open().unwrap_err();
    place.clear().unwrap_err();
    place.for_saving().unwrap_err();
    assert!(!place.is_foreign());
    fs::remove_file(above.path().join("state")).unwrap();
    fs::rename(&aside, above.path().join("state")).unwrap();
    place.clear().unwrap();
    drop(place);
    assert_eq!(readable(&root), [("windows".to_owned(), b"earlier".to_vec())]);
}

#[test]
fn a_stop_is_the_last_chance_to_use_the_folder_and_nothing_removes_what_it_saved() {
    let above = tempfile::tempdir().unwrap();
    let root = above.path().join("restart");
    left_by_an_earlier_run(&root);
    let place = RestartPlace::new(&root);
    let saving = place.for_saving().unwrap();
    saving.write(&RestartPart::Levels, 2, b"later", || true).unwrap();
    place.clear().unwrap();
    place.for_saving().unwrap();
    drop((saving, place));
    let parts = [("windows", "earlier"), ("levels", "later")];
    assert_eq!(readable(&root), parts.map(|(part, bytes)| (part.to_owned(), bytes.into())));
}

#[test]
fn a_folder_that_another_daemon_used_at_the_start_is_left_alone_even_when_it_has_ended() {
    let above = tempfile::tempdir().unwrap();
    let root = above.path().join("restart");
    let other = folder(&root);
    let place = RestartPlace::new(&root);
    place.open().unwrap_err();
    assert!(place.is_foreign());
    other.write(&RestartPart::Levels, 1, b"of the other", || true).unwrap();
    drop(other);
    place.clear().unwrap_err();
    place.for_saving().unwrap_err();
    assert_eq!(readable(&root), [("levels".to_owned(), b"of the other".to_vec())]);
}

#[test]
fn a_folder_that_was_replaced_is_locked_before_it_is_used() {
    let above = tempfile::tempdir().unwrap();
    let root = above.path().join("restart");
    let place = RestartPlace::new(&root);
    place.open().unwrap();
    fs::rename(&root, above.path().join("moved")).unwrap();
    let other = folder(&root);
    place.for_saving().unwrap_err();
    drop(other);
    assert!(place.is_foreign());
}

#[test]
fn a_lock_for_reading_keeps_other_daemons_out() {
    let above = tempfile::tempdir().unwrap();
    drop(folder(above.path()));
    let reading = FolderLock::take_read_only(above.path()).unwrap();
    assert!(matches!(RestartFolder::open(above.path()), Err(RestartFolderError::Held { .. })));
    drop(reading);
    let _writing = folder(above.path());
    FolderLock::take_read_only(above.path()).unwrap_err();
}

#[test]
fn one_changed_byte_anywhere_is_noticed() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    let (part, path) = (RestartPart::Windows, place.path().join("windows"));
    folder.write(&part, 1, &encode_windows(&windows(2), &seed()), || true).unwrap();
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        for change in [0x01, 0x80, 0xff] {
            let mut changed = good.clone();
            changed[at] ^= change;
            fs::write(&path, &changed).unwrap();
            let outcome = folder.read(&part, MAX);
            assert!(matches!(outcome, Err(RestartFileError::Damaged(_))), "{at}: {outcome:?}");
        }
    }
    for length in 0..good.len() {
        fs::write(&path, &good[..length]).unwrap();
        assert!(matches!(folder.read(&part, MAX), Err(RestartFileError::Damaged(_))), "{length}");
    }
    fs::write(&path, [good.as_slice(), b"x"].concat()).unwrap();
    assert!(matches!(folder.read(&part, MAX), Err(RestartFileError::Damaged(_))));
}

#[test]
fn a_newer_file_a_foreign_file_and_a_part_under_another_name_are_told_apart_from_damage() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    folder.write(&RestartPart::Levels, 1, b"content", || true).unwrap();
    let path = place.path().join("levels");
    let good = fs::read(&path).unwrap();
    fs::copy(&path, place.path().join("windows")).unwrap();
    let error = folder.read(&RestartPart::Windows, MAX).unwrap_err().to_string();
    assert_eq!(error, "damaged: content of another kind");

    let mut newer = good;
    newer[8] = 3;
    let header = usize::from(newer[10]);
    let crc = crc32fast::hash(&newer[..header]).to_le_bytes();
    newer[header..header + 4].copy_from_slice(&crc);
    fs::write(&path, newer).unwrap();
    assert!(matches!(folder.read(&RestartPart::Levels, MAX), Err(RestartFileError::Newer(3))));

    fs::write(&path, "tallydsp: a file of a spool, for example").unwrap();
    let error = folder.read(&RestartPart::Levels, MAX).unwrap_err().to_string();
    assert_eq!(error, "damaged: not a file of restart state");
}

#[test]
fn a_file_of_version_1_is_read() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    let levels: Vec<_> = (0..3).map(level).collect();
    // Without literals, the content of both versions is the same.
    let (content, _) = encode_levels(&levels, MAX);
    folder.write(&RestartPart::Levels, 1, &content, || true).unwrap();
    let path = place.path().join("levels");
    let mut old = fs::read(&path).unwrap();
    old[8] = 1;
    let header = usize::from(old[10]);
    let crc = crc32fast::hash(&old[..header]).to_le_bytes();
    old[header..header + 4].copy_from_slice(&crc);
    fs::write(&path, old).unwrap();
    let saved = folder.read(&RestartPart::Levels, MAX).unwrap().unwrap();
    let read = decode_levels(&saved.bytes).unwrap();
    assert_eq!(read.len(), 3);
    assert!(read.iter().zip(&levels).all(|(read, level)| read.series == level.series));
}

#[test]
fn levels_keep_the_types_of_their_tags() {
    let series = Series::with_literals(MetricKind::Gauge, "g", &[("port", "5060")], |_| true);
    let level = GaugeLevel { series: Arc::new(series), value: 1.0, idle_ms: 0 };
    let read = decode_levels(&encode_levels(&[level], MAX).0).unwrap();
    assert!(read[0].series.is_literal(0));
}

#[test]
fn a_large_file_is_not_read_and_one_that_unpacks_to_more_is_not_unpacked() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    let part = RestartPart::Levels;
    folder.write(&part, 1, &vec![0; 1_000_000], || true).unwrap();
    assert!(folder.read(&part, 1_000_000).unwrap().is_some());
    let outcome = folder.read(&part, 999_999);
    assert!(
        matches!(outcome, Err(RestartFileError::TooLarge { bytes: 1_000_000, max: 999_999 })),
        "{outcome:?}"
    );
    // Sparse: it takes no space on the disk.
    fs::File::create(place.path().join("levels")).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(folder.read(&part, MAX), Err(RestartFileError::TooLarge { .. })));
}

#[test]
fn links_pipes_and_folders_in_the_place_of_a_file_are_errors() {
    let place = tempfile::tempdir().unwrap();
    let folder = folder(place.path());
    let path = place.path().join("levels");
    symlink("/etc/hostname", &path).unwrap();
    assert!(matches!(folder.read(&RestartPart::Levels, MAX), Err(RestartFileError::System(_))));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(folder.read(&RestartPart::Levels, MAX).is_err());
    folder.remove_all_but_windows().unwrap();
    folder.write(&RestartPart::Levels, 1, b"", || true).unwrap_err();
}

#[test]
fn levels_beyond_the_bound_are_left_out_from_the_end() {
    let all = levels(100);
    let (bytes, kept) = encode_levels(&all, 500);
    assert!(bytes.len() <= 500 && kept > 10 && kept < 100, "{kept}");
    assert_eq!(told(&decode_levels(&bytes).unwrap()), told(&all[..kept]));
    assert_eq!(encode_levels(&all, MAX).1, 100);
    assert_eq!(encode_levels(&all, 0), (Vec::new(), 0));
}

#[test]
fn a_level_that_is_no_number_is_damage() {
    let infinite = GaugeLevel { value: f64::INFINITY, ..level(1) };
    let (bytes, _) = encode_levels(&[infinite], MAX);
    assert!(decode_levels(&bytes).is_err());
}

#[test]
fn a_length_without_content_takes_no_memory() {
    let huge = [&[0xff; 9][..], &[1]].concat();
    for start in [&[][..], &[0], &[0, 1], &[0, 1, 9], &[0, 1, 9, 5]] {
        decode_windows(&[start, &huge].concat()).unwrap_err();
    }
    for start in [&[][..], &[1, b'g'], &[1, b'g', 1]] {
        decode_levels(&[start, &huge].concat()).unwrap_err();
    }
}

proptest! {
    #[test]
    fn windows_come_back_as_they_were(
        snapshots in prop::collection::vec((snapshot(), any::<u64>()), 0..3),
        used in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..40),
    ) {
        let windows = snapshots
            .into_iter()
            .map(|(snapshot, start_ms)| PartialWindow { start_ms, snapshot })
            .collect();
        let range = |(first_ms, last_ms, times)| UsedRange { first_ms, last_ms, times };
        let used = used.into_iter().map(range).collect();
        let unfinished = UnfinishedWindows { used, windows };
        let (again, set_seed) = decode_windows(&encode_windows(&unfinished, &seed())).unwrap();
        prop_assert_eq!(set_seed, seed());
        prop_assert_eq!(&again.used, &unfinished.used);
        prop_assert_eq!(again.windows.len(), unfinished.windows.len());
        for (one, other) in again.windows.iter().zip(&unfinished.windows) {
            prop_assert_eq!(one.start_ms, other.start_ms);
            prop_assert_eq!(shown(&one.snapshot), shown(&other.snapshot));
        }
    }

    #[test]
    fn changed_content_is_refused_or_harmless(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..9),
        cut in any::<prop::sample::Index>(),
    ) {
        let windows = encode_windows(&windows(2), &seed());
        let (levels, _) = encode_levels(&levels(5), MAX);
        for good in [windows, levels] {
            let mut bytes = good;
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            bytes.truncate(cut.index(bytes.len() * 2));
            let _refused_or_not = (decode_windows(&bytes).is_ok(), decode_levels(&bytes).is_ok());
        }
    }

    #[test]
    fn any_bytes_are_refused_or_harmless(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _refused_or_not = (decode_windows(&bytes).is_ok(), decode_levels(&bytes).is_ok());
        prop_assert!(super::envelope::open(1, &bytes, MAX).is_err());
    }
}
