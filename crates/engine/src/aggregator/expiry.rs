//! The times without samples after which series expire: the general one, and those of rules.

use std::time::Duration;

use super::windows_in;

/// The number of a time; 0 is the general one.
pub(super) type ExpiryClass = u16;

/// Each time once, in seconds and in windows. A series has only the number of its time.
#[derive(Debug)]
pub(super) struct ExpiryTimes {
    /// The first is the general one.
    times: Vec<ExpiryTime>,
    interval: Duration,
}

#[derive(Clone, Copy, Debug)]
struct ExpiryTime {
    after: Duration,
    windows: u64,
}

impl ExpiryTimes {
    pub(super) fn new(general: Duration, interval: Duration) -> Self {
        Self { times: vec![ExpiryTime::new(general, interval)], interval }
    }

    /// Applies another general time and another length of windows.
    pub(super) fn reconfigure(&mut self, general: Duration, interval: Duration) {
        self.interval = interval;
        self.times[0].after = general;
        for time in &mut self.times {
            *time = ExpiryTime::new(time.after, interval);
        }
    }

    /// The number of windows without samples after which a series expires.
    pub(super) fn windows(&self, class: ExpiryClass) -> u64 {
        self.times[usize::from(class)].windows
    }

    /// The class with the longer time. Any time of a rule replaces the general one.
    pub(super) fn longest(&self, one: ExpiryClass, other: ExpiryClass) -> ExpiryClass {
        if one == 0 || other == 0 {
            return one.max(other);
        }
        let after = |class| self.times[usize::from(class)].after;
        if after(other) > after(one) { other } else { one }
    }

    /// The class of a series after a rule has set this time: that of the longest time that rules have set.
    /// With more different times than classes, which takes many reloads, the class stays.
    pub(super) fn extended(&mut self, class: ExpiryClass, after: Duration) -> ExpiryClass {
        if class != 0 && self.times[usize::from(class)].after >= after {
            return class;
        }
        let known = self.times.iter().skip(1).position(|time| time.after == after);
        let number = known.map_or(self.times.len(), |index| index + 1);
        let Ok(extended) = ExpiryClass::try_from(number) else { return class };
        if known.is_none() {
            self.times.push(ExpiryTime::new(after, self.interval));
        }
        extended
    }
}

impl ExpiryTime {
    fn new(after: Duration, interval: Duration) -> Self {
        Self { after, windows: windows_in(after, interval) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn the_longest_time_of_rules_replaces_the_general_one() {
        let mut times = ExpiryTimes::new(secs(600), secs(10));
        assert_eq!(times.windows(0), 60);
        let short = times.extended(0, secs(20));
        assert_eq!(times.windows(short), 2, "shorter than the general one");
        let long = times.extended(short, secs(3_600));
        assert_eq!(times.windows(long), 360);
        assert_eq!(times.extended(long, secs(20)), long);
        assert_eq!(times.extended(0, secs(20)), short, "each time has one class");
        assert_eq!([times.longest(0, short), times.longest(short, long)], [short, long]);
        assert_eq!([times.longest(long, short), times.longest(short, 0)], [long, short]);
        let general = times.extended(0, secs(600));
        assert_ne!(general, 0, "it stays if the general one changes");
        times.reconfigure(secs(60), secs(5));
        let windows = [0, short, long, general].map(|class| times.windows(class));
        assert_eq!(windows, [12, 4, 720, 120]);
    }
}
