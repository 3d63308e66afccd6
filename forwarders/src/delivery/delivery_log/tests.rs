use super::*;
use crate::delivery::payload::Batch;
use crate::spool::SpoolFileError;
use basics::log_capture::lines_logged;

const FILE: FileName = FileName { seq: 1, start_ms: 1, points: 7, bytes: 100 };

fn log() -> DeliveryLog {
    DeliveryLog::new("metrics".into())
}

/// The line that is logged during `action`, which contains each of the parts.
fn assert_logged(action: impl FnOnce(), parts: &[&str]) {
    let lines = lines_logged(action);
    let [line] = &lines[..] else { panic!("one line, not {lines:?}") };
    assert!(line.contains("forwarder=\"metrics\""), "{line}");
    assert!(parts.iter().all(|part| line.contains(part)), "{line}");
}

fn assert_silent(action: impl FnOnce()) {
    assert_eq!(lines_logged(action), [""; 0]);
}

/// The outcome of a payload with this many points.
fn settled(points: u64, settle: impl FnOnce(&mut Batch)) -> Settled {
    let mut batch = Batch::default();
    batch.push(points, |_| (), |_| ());
    settle(&mut batch);
    batch.take_settled()
}

#[test]
fn the_end_of_a_long_spool_is_logged_with_the_points_it_had() {
    let mut log = log();
    let replayed = ReplayedPoints { delivered: 40, refused: 2 };
    assert_silent(|| log.window_settled(10, replayed));
    log.replay.be_due();
    assert_logged(
        || log.window_settled(5, replayed),
        &["INFO", "draining the spool: 40 delivered, 2 refused", "left=5"],
    );
    assert_logged(
        || log.window_settled(0, replayed),
        &["INFO", "drained the spool: 40 delivered, 2 refused"],
    );
    assert_silent(|| log.window_settled(0, ReplayedPoints::default()));
}

#[test]
fn points_that_are_dropped_are_logged_with_their_reason_once_a_minute() {
    let mut log = log();
    for (reason, message) in [
        (reason::REFUSED, "points were permanently refused"),
        (reason::TOO_LARGE, "dropped points that were too large"),
        (reason::PAGE_FULL, "dropped points of new series that had no room"),
        (reason::TOTALS_FULL, "dropped points of series whose totals had no room"),
        (reason::LOST, "points may be lost and are not sent again"),
        (reason::SHUTDOWN, "dropped points"),
    ] {
        let refused = settled(3, |batch| batch.refused(0, reason, "400 Bad Request"));
        let named = format!("reason=\"{reason}\"");
        let message = format!("message={message} ");
        let words = "words=\"400 Bad Request\"";
        assert_logged(|| log.settled(&refused), &["ERROR", "points=3", &named, &message, words]);
        assert_silent(|| log.settled(&refused));
    }
    let set_aside = settled(3, |batch| batch.set_aside(0, reason::DEBUG_MODE));
    assert_silent(|| log.settled(&set_aside));
}

#[test]
fn refused_payloads_without_points_are_logged_once_a_minute() {
    let mut log = log();
    let refused = settled(0, |batch| batch.refused(0, reason::REFUSED, "400 Bad Request"));
    let words = "words=\"400 Bad Request\"";
    let message = "series without new points were refused";
    assert_logged(|| log.settled(&refused), &["WARN", message, "reason=\"refused\"", words]);
    assert_silent(|| log.settled(&refused));
}

#[test]
fn each_reason_of_failures_is_logged_once_until_the_first_failure_after_a_success() {
    let mut log = log();
    let first = &["WARN", "delivery failed, will retry (data kept)", "error=down"];
    assert_logged(|| log.attempt_failed("down", true), first);
    assert_silent(|| log.attempt_failed("down", false));
    let other = ["WARN", "delivery still fails, for another reason", "error=Connection refused"];
    assert_logged(
        || log.attempt_failed("Connection refused", false),
        &[&other[..], &["advice=\"nothing listens there"]].concat(),
    );
    assert_logged(|| log.attempt_failed("down", true), first);
}

#[test]
fn a_recovery_and_a_reload_are_logged() {
    let log = log();
    assert_logged(|| log.recovered(), &["INFO", "delivery recovered"]);
    assert_logged(|| log.reconfigured(), &["INFO", "applied new settings"]);
    assert_logged(
        || log.lost_in_reload(9),
        &["ERROR", "points=9", "before the destination changed"],
    );
}

#[test]
fn unreadable_files_are_logged_for_each_reason_once_a_minute() {
    let mut log = log();
    for (reason, error, words) in [
        (reason::REMOVED, SpoolReadError::Gone, "it was removed"),
        (
            reason::SPOOL_CORRUPT,
            SpoolReadError::Content(SpoolFileError::Damaged("the length")),
            "damaged: the length",
        ),
    ] {
        let named = format!("reason=\"{reason}\"");
        assert_logged(
            || log.unreadable(FILE, &error, reason),
            &["WARN", "points=7", words, &named, &FILE.to_string()],
        );
        assert_silent(|| log.unreadable(FILE, &error, reason));
    }
}

#[test]
fn the_first_of_several_failed_reads_and_the_recovery_are_logged() {
    let mut log = log();
    let error = io::Error::other("too many open files");
    for _ in 0..2 {
        assert_silent(|| log.read_recovered());
        let failed = ["WARN", "cannot read the spool", "too many open files"];
        assert_logged(|| log.read_failed(FILE, &error), &failed);
        assert_silent(|| log.read_failed(FILE, &error));
        assert_logged(|| log.read_recovered(), &["INFO", "the spool can be read again"]);
    }
}
