//! Which threads get the CPU first.

/// How much nicer the runtime's threads and the aggregator are than the listeners: on a core that they share, they
/// get a quarter of it and the listener three.
const GIVE_WAY: i32 = 5;

/// Has the listeners go before this thread where there are too few cores: what they cannot take at
/// once the kernel drops, and everything behind them can wait.
pub(super) fn give_way() {
    // Without it the daemon works as well.
    let _not_allowed = rustix::process::nice(GIVE_WAY);
}
