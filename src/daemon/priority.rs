//! Thread priorities: the listeners get the CPU first.

/// The niceness of the runtime's threads and of the aggregator relative to the listeners. On a shared
/// core, the scheduler gives them a quarter of the time and the listener three quarters.
const GIVE_WAY: i32 = 5;

/// Lowers the priority of the calling thread below that of the listeners. When CPU time is short, a
/// listener that does not run loses datagrams in the kernel; all later stages can wait.
pub(super) fn lower_priority() {
    // If the system forbids it, the daemon works with equal priorities.
    let _is_allowed = rustix::process::nice(GIVE_WAY);
}
