//! Faults of the daemon's host: its wall clock, its disk and its names. See host.c.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::plan::{DiskFault, LookupFault, Name};

/// Places of the numbers in the control file, as in host.c.
const CLOCK_MS: u64 = 0;
const SYNC_US: u64 = 1;
const WRITE_US: u64 = 2;
const CHANGE_US: u64 = 3;
const ERROR: u64 = 4;
const ERROR_STATE: u64 = 5;
const ERROR_OUTPUT: u64 = 6;
const NAMES: u64 = 8;
const NUMBERS: u64 = 16;

const EIO: i64 = 5;
const ENOSPC: i64 = 28;
const EROFS: i64 = 30;

/// The faults of the host that the daemon sees.
pub(crate) struct Host {
    control: File,
    control_path: PathBuf,
    library: PathBuf,
    folder: PathBuf,
    clock_ms: i64,
}

impl Host {
    /// Builds the library. `None`, and a message, if there is no C compiler.
    pub(crate) fn new(folder: &Path) -> Option<Self> {
        let library = folder.join("host.so");
        let source = common::root().join("tests/chaos/host.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
        match compiler.arg(&library).arg(source).arg("-ldl").status() {
            Ok(status) => assert!(status.success(), "cc cannot build host.c"),
            Err(error) => {
                let is_required =
                    std::env::var("TALLYD_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
                assert!(!is_required, "cc: {error}");
                let _unread = writeln!(std::io::stderr(), "SKIPPED: chaos needs cc: {error}");
                return None;
            }
        }
        let control_path = folder.join("control");
        fs::write(&control_path, vec![0; NUMBERS as usize * 8]).unwrap();
        let control = File::options().write(true).open(&control_path).unwrap();
        let host = Self { control, control_path, library, folder: folder.to_owned(), clock_ms: 0 };
        for name in [Name::Influx, Name::Graphite] {
            host.set_address(name, 1);
        }
        Some(host)
    }

    /// Makes a command see the faults.
    pub(crate) fn apply(&self, command: &mut Command) {
        command
            .env("LD_PRELOAD", &self.library)
            .env("CHAOS_CONTROL", &self.control_path)
            .env("CHAOS_FOLDER", &self.folder);
    }

    pub(crate) fn step_clock(&mut self, by_ms: i64) {
        self.clock_ms += by_ms;
        self.set(CLOCK_MS, self.clock_ms);
    }

    /// The daemon's wall clock.
    pub(crate) fn now_ms(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        (now.as_millis() as u64).saturating_add_signed(self.clock_ms)
    }

    pub(crate) fn set_disk(&self, fault: DiskFault) {
        let (mut delays, mut error) = ([0; 3], (0, false, false));
        match fault {
            DiskFault::None => {}
            DiskFault::Slow { sync_us, write_us, change_us } => {
                delays = [sync_us, write_us, change_us];
            }
            DiskFault::Full { state, output } => error = (ENOSPC, state, output),
            DiskFault::Broken { state, output } => error = (EIO, state, output),
            DiskFault::ReadOnly { state, output } => error = (EROFS, state, output),
        }
        for (place, delay) in [SYNC_US, WRITE_US, CHANGE_US].into_iter().zip(delays) {
            self.set(place, delay as i64);
        }
        self.set(ERROR_STATE, error.1.into());
        self.set(ERROR_OUTPUT, error.2.into());
        self.set(ERROR, error.0);
    }

    /// Makes a name stand for 127.0.0.`last`.
    pub(crate) fn set_address(&self, name: Name, last: u8) {
        self.set(NAMES + 2 * name as u64, last.into());
    }

    pub(crate) fn set_lookup(&self, name: Name, fault: LookupFault) {
        let value = match fault {
            LookupFault::None => 0,
            LookupFault::TryAgain => -1,
            LookupFault::NoSuchName => -2,
            LookupFault::Slow => 1_500_000,
        };
        self.set(NAMES + 2 * name as u64 + 1, value);
    }

    fn set(&self, place: u64, value: i64) {
        self.control.write_all_at(&value.to_ne_bytes(), place * 8).unwrap();
    }
}
