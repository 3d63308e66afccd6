//! The faults of the disk: which operation fails, and how long an access takes.

use std::io;
use std::path::Path;
use std::time::Duration;

use forwarders::testing::simulation::Operation;

use crate::trouble::DiskFault;
use crate::world::State;

impl State {
    /// Counts an operation of the disk and returns its error.
    pub(crate) fn disk_operation(
        &mut self,
        operation: Operation,
        path: &Path,
    ) -> Option<io::ErrorKind> {
        self.counted.disk_operations += 1;
        self.digest(&[operation as u64]);
        let error = self.disk_error(operation, path);
        self.note(|| {
            let outcome = error.map(|error| format!(": {error}")).unwrap_or_default();
            format!("{operation:?} {}{outcome}", path.display())
        });
        error
    }

    fn disk_error(&mut self, operation: Operation, path: &Path) -> Option<io::ErrorKind> {
        let fault = self.disk.fault?;
        if fault.is_slow(operation, path) {
            self.fault("operation: slow");
            let slow = self.ms(300, 4_000);
            self.disk.owed += slow;
            self.disk.had_slow_removal |= operation == Operation::Remove;
            self.disk.slow_until = self.disk.slow_until.max(Some(self.now() + self.disk.owed));
            if fault.is_excuse() {
                self.disk_misbehaves(self.disk.owed);
            }
        }
        if !fault.fails(operation) || !self.chance(fault.probability()) {
            return None;
        }
        self.disk_misbehaves(Duration::ZERO);
        self.disk.has_failed = true;
        self.fault("operation: error");
        Some(match fault {
            DiskFault::ReadOnly => io::ErrorKind::ReadOnlyFilesystem,
            _ => io::ErrorKind::Other,
        })
    }

    /// The time until a thread for blocking tasks begins an access.
    pub(crate) fn access_begins(&mut self) -> Duration {
        match self.disk.fault {
            Some(DiskFault::Slow) => {
                let time = self.ms(0, 3_000);
                self.disk_misbehaves(time);
                time
            }
            Some(DiskFault::Hangs) => {
                self.fault("operation: hangs");
                let time = self.ms(5_000, 90_000);
                self.disk_misbehaves(time);
                time
            }
            _ => {
                let is_at_once = self.chance(0.5);
                if is_at_once { Duration::ZERO } else { self.ms(1, 4) }
            }
        }
    }

    /// The time until the access that has just had its effects ends.
    pub(crate) fn access_ends(&mut self) -> Duration {
        if std::mem::take(&mut self.disk.has_failed) {
            self.count_failed_access();
        }
        let owed = std::mem::take(&mut self.disk.owed);
        if self.chance(0.5) { owed } else { owed + self.ms(0, 3) }
    }

    /// Counts an access during which operations failed: there must be pauses in between.
    fn count_failed_access(&mut self) {
        let second = self.now().as_secs();
        if self.disk.failing_second != second {
            (self.disk.failing_second, self.disk.failed_in_second) = (second, 0);
        }
        self.disk.failed_in_second += 1;
        let failed = self.disk.failed_in_second as usize;
        // A stop tries to write each window, and again once files are removed.
        let windows: usize = self.destinations.iter().map(|target| target.pushed.len()).sum();
        let most = if self.is_stopping { 100 + 2 * windows } else { 100 };
        self.check(failed < most, || format!("{failed} failing accesses to the disk in a second"));
    }
}
