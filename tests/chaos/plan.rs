//! The sequence of faults that a seed stands for. It depends on nothing but the seed and the kinds of
//! faults that are wanted.

use std::time::Duration;

use crate::config::Settings;
use crate::graphite::GraphiteMode;
use crate::influx::InfluxMode;
use crate::options::Options;
use crate::random::Random;
use crate::statsd::StatsdMode;
use crate::statsd_tcp::StatsdTcpMode;

/// A fault, or the end of one.
#[derive(Clone, Debug)]
pub(crate) enum Action {
    Influx(InfluxMode),
    Graphite(GraphiteMode),
    Statsd(StatsdMode),
    StatsdTcp(StatsdTcpMode),
    /// All destinations and the disk work again.
    Heal,
    /// SIGSTOP, and SIGCONT after this many milliseconds.
    Freeze {
        ms: u64,
    },
    /// An orderly stop and a start; `quiet`: after all sent samples were received; `between`: a fault of
    /// the disk that begins when the daemon has ended.
    Stop {
        quiet: bool,
        reload: bool,
        between: Option<DiskFault>,
    },
    /// `kill -9` and a start.
    Kill {
        quiet: bool,
        between: Option<DiskFault>,
    },
    Reload(Settings),
    /// A reload with this one of several invalid configurations.
    RefusedReload(usize),
    /// Reloads in a row, every second one invalid.
    ReloadStorm(u64),
    /// A step of the wall clock.
    Clock {
        by_ms: i64,
    },
    Disk(DiskFault),
    /// The log is not read, or is read again.
    Log {
        is_read: bool,
    },
    /// Only this many more descriptors for some milliseconds.
    Descriptors {
        spare: u64,
        ms: u64,
    },
    /// A destination moves to another address, and its name follows.
    Move {
        name: Name,
    },
    /// A name cannot be resolved, or only slowly.
    Lookup {
        name: Name,
        fault: LookupFault,
    },
    /// The file of a destination is moved away.
    Rotate,
    /// All senders pause, until all samples were received.
    Settle,
}

/// A disk that is slow, full or broken, or works again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum DiskFault {
    None,
    /// Microseconds of a sync, of a write, and of an open, a rename or a removal.
    Slow {
        sync_us: u64,
        write_us: u64,
        change_us: u64,
    },
    Full {
        state: bool,
        output: bool,
    },
    Broken {
        state: bool,
        output: bool,
    },
    ReadOnly {
        state: bool,
        output: bool,
    },
}

/// A destination that is configured by name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Name {
    Influx,
    Graphite,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum LookupFault {
    None,
    TryAgain,
    NoSuchName,
    Slow,
}

type Make = fn(&mut Random) -> Action;

/// The kinds of faults, how often each is chosen, and how it is chosen.
const KINDS: [(&str, u64, Make); 18] = [
    ("influx", 14, |random| Action::Influx(random.pick(&InfluxMode::ALL))),
    ("graphite", 8, |random| Action::Graphite(random.pick(&GraphiteMode::ALL))),
    ("statsd", 4, |random| Action::Statsd(random.pick(&StatsdMode::ALL))),
    ("statsd_tcp", 4, |random| Action::StatsdTcp(random.pick(&StatsdTcpMode::ALL))),
    ("heal", 8, |_| Action::Heal),
    ("freeze", 4, |random| Action::Freeze { ms: random.between(50, 1_500) }),
    ("stop", 6, |random| Action::Stop {
        quiet: random.chance(50),
        reload: random.chance(30),
        between: random.chance(25).then(|| disk(random)),
    }),
    ("kill", 6, |random| Action::Kill {
        quiet: random.chance(30),
        between: random.chance(25).then(|| disk(random)),
    }),
    ("reload", 5, |random| Action::Reload(Settings::choose(random))),
    ("refused_reload", 2, |random| Action::RefusedReload(random.below(100) as usize)),
    ("reload_storm", 1, |random| Action::ReloadStorm(random.between(3, 15))),
    ("clock", 4, clock),
    ("disk", 7, |random| Action::Disk(disk(random))),
    ("log", 3, |random| Action::Log { is_read: random.chance(50) }),
    ("descriptors", 3, |random| Action::Descriptors {
        spare: random.below(3),
        ms: random.between(200, 1_500),
    }),
    ("address", 6, address),
    ("rotate", 2, |_| Action::Rotate),
    ("settle", 4, |_| Action::Settle),
];

fn clock(random: &mut Random) -> Action {
    let size = random.pick(&[120, 300, 700, 2_000, 3_500, 7_000, 60_000, 3_600_000, 172_800_000]);
    Action::Clock { by_ms: if random.chance(50) { size } else { -size } }
}

fn disk(random: &mut Random) -> DiskFault {
    let state = random.chance(75);
    let output = !state || random.chance(30);
    match random.below(9) {
        0..3 => DiskFault::None,
        3..6 => DiskFault::Slow {
            sync_us: random.between(0, 300_000),
            write_us: random.between(0, 30_000),
            change_us: random.between(0, 60_000),
        },
        6 => DiskFault::Full { state, output },
        7 => DiskFault::Broken { state, output },
        _ => DiskFault::ReadOnly { state, output },
    }
}

fn address(random: &mut Random) -> Action {
    let name = random.pick(&[Name::Influx, Name::Graphite]);
    if random.chance(40) {
        return Action::Move { name };
    }
    let faults =
        [LookupFault::None, LookupFault::TryAgain, LookupFault::NoSuchName, LookupFault::Slow];
    Action::Lookup { name, fault: random.pick(&faults) }
}

impl Action {
    /// The kind, as in [`KINDS`].
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Influx(_) => "influx",
            Self::Graphite(_) => "graphite",
            Self::Statsd(_) => "statsd",
            Self::StatsdTcp(_) => "statsd_tcp",
            Self::Heal => "heal",
            Self::Freeze { .. } => "freeze",
            Self::Stop { .. } => "stop",
            Self::Kill { .. } => "kill",
            Self::Reload(_) => "reload",
            Self::RefusedReload(_) => "refused_reload",
            Self::ReloadStorm(_) => "reload_storm",
            Self::Clock { .. } => "clock",
            Self::Disk(_) => "disk",
            Self::Log { .. } => "log",
            Self::Descriptors { .. } => "descriptors",
            Self::Move { .. } | Self::Lookup { .. } => "address",
            Self::Rotate => "rotate",
            Self::Settle => "settle",
        }
    }
}

/// The endless sequence of pauses and faults.
pub(crate) struct Plan {
    random: Random,
    kinds: Vec<(u64, Make)>,
}

impl Plan {
    pub(crate) fn new(options: &Options) -> Self {
        let wanted = KINDS.iter().filter(|(kind, ..)| options.wants(kind));
        let kinds: Vec<_> = wanted.map(|(_, weight, make)| (*weight, *make)).collect();
        assert!(!kinds.is_empty(), "TALLYD_CHAOS_FAULTS leaves no kind of fault: {KINDS:?}");
        Self { random: Random::new(options.seed), kinds }
    }
}

impl Iterator for Plan {
    type Item = (Duration, Action);

    fn next(&mut self) -> Option<Self::Item> {
        let pause = Duration::from_millis(self.random.between(20, 600));
        let total = self.kinds.iter().map(|(weight, _)| weight).sum();
        let mut place = self.random.below(total);
        for (weight, make) in &self.kinds {
            match place.checked_sub(*weight) {
                Some(rest) => place = rest,
                None => return Some((pause, make(&mut self.random))),
            }
        }
        None
    }
}
