//! CPU time, memory and limits of this process.

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// Returns the user and system CPU time of all threads since the start of the process, to the
/// nanosecond.
#[must_use]
pub fn cpu_time() -> Duration {
    duration(clock_gettime(ClockId::ProcessCPUTime))
}

/// Returns the user and system CPU time of the calling thread since its start.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    duration(clock_gettime(ClockId::ThreadCPUTime))
}

/// Resident memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The current amount.
    pub resident: u64,
    /// The peak since the start of the process.
    pub resident_peak: u64,
}

/// Returns the memory of this process, or `None` if /proc cannot be read.
#[must_use]
pub fn memory() -> Option<Memory> {
    parse_memory(&fs::read_to_string("/proc/self/status").ok()?)
}

/// The most descriptors that this process may have open.
#[must_use]
pub fn open_files_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Raises the limit on open files to the maximum that the system allows. The usual limit of 1,024
/// exists for programs that use `select`.
pub fn raise_open_files_limit() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // A filter on system calls may forbid it. The shares are computed from the actual limit.
    let _stays_as_it_is = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Parses the format of proc_pid_status(5), which is in kibibytes.
fn parse_memory(status: &str) -> Option<Memory> {
    let bytes = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field))?;
        let kibibytes: u64 = line.strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    Some(Memory { resident: bytes("VmRSS:")?, resident_peak: bytes("VmHWM:")? })
}

/// Converts a reading of a CPU clock, which is never negative.
fn duration(reading: Timespec) -> Duration {
    Duration::new(reading.tv_sec.unsigned_abs(), reading.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\ttallyd\nVmHWM:\t    9344 kB\nVmRSS:\t    9216 kB\nThreads:\t6\n";
        let memory = Memory { resident: 9216 << 10, resident_peak: 9344 << 10 };
        assert_eq!(parse_memory(status), Some(memory));
        assert_eq!(parse_memory("Name:\ttallyd\n"), None);
    }

    #[test]
    fn the_costs_of_this_process_are_measured() {
        let memory = memory().unwrap();
        assert!(memory.resident > 100_000 && memory.resident_peak >= memory.resident);
        let before = thread_cpu_time();
        let mut spent = 0_u64;
        while thread_cpu_time() - before < Duration::from_millis(2) {
            spent = std::hint::black_box(spent + 1);
        }
        assert!(cpu_time() >= thread_cpu_time());
    }
}
