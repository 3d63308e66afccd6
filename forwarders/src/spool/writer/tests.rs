use super::*;
use basics::log_capture::lines_logged;

fn file(seq: u64, points: u64) -> FileName {
    FileName { seq, start_ms: 1, points, bytes: 100 }
}

fn lines_about(found: &FoundWindows, settled: u64) -> Vec<String> {
    let place = SpoolPlace { folder: "/spool".into(), instance: "run-1".into() };
    let writer = SpoolWriter::new("metrics".into(), &place, Host::Real);
    lines_logged(|| writer.log_found(found, settled))
}

#[test]
fn each_kind_of_file_that_a_start_finds_is_logged_with_its_number() {
    let nothing = FoundWindows::default;
    assert_eq!(lines_about(&nothing(), 0), [""; 0]);
    for (found, settled, parts) in [
        (
            FoundWindows { windows: vec![file(1, 30), file(2, 40)], ..nothing() },
            0,
            ["INFO", "found in the spool", "windows=2", "points=70"],
        ),
        (
            FoundWindows { damaged: vec![file(1, 5), file(2, 6)], ..nothing() },
            0,
            ["WARN", "dropped damaged spool files", "windows=2", "points=11"],
        ),
        (
            FoundWindows { replaced: vec![file(1, 5)], ..nothing() },
            0,
            ["INFO", "removed spool files of which only a part was left", "files=1", ""],
        ),
        (nothing(), 3, ["INFO", "ignored spool files that an earlier run", "files=3", ""]),
        (
            FoundWindows { strangers: 4, ..nothing() },
            0,
            ["WARN", "files that are not windows", "files=4", ""],
        ),
    ] {
        let lines = lines_about(&found, settled);
        let [line] = &lines[..] else { panic!("one line, not {lines:?}") };
        let always = ["forwarder=\"metrics\"", "folder=/spool/metrics"];
        assert!(parts.iter().chain(&always).all(|part| line.contains(part)), "{line}");
    }
}
