//! What every listener does with a datagram: decode, tag, record, count.

use std::sync::Arc;
use std::time::Instant;

use smallvec::SmallVec;

use super::config::Endpoint;
use super::rejected::RejectedLog;
use super::stats::{Counts, ListenerStats};
use super::{Origin, Protocol};
use crate::aggregator::handover::ListenerEnd;
use crate::aggregator::identity::Identifier;
use crate::aggregator::registry::Registry;
use crate::aggregator::shapes::{KnownLine, NumberMeaning, ShapeLookup};
use crate::aggregator::table::SeriesTable;
use crate::listener::tap::listener::{Decoding, ListenerTap};
use crate::listener::tap::taps::Taps;
use crate::protocol::split::Split;
use crate::protocol::{Limits, Rejection, Sample, json, lines};
use basics::escape::EXCERPT_BYTES;

/// Lines that are looked up together: enough that the processor waits for memory once and not for
/// each, few enough that what it fetched is still there when it is used.
const LINES_AHEAD: usize = 16;

/// What all listeners share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Merges the agent's tags.
    pub identifier: Arc<Identifier>,
    /// Knows every live series.
    pub registry: Arc<Registry>,
    /// Remembers rejected messages.
    pub rejected: Arc<RejectedLog>,
    /// When the process started: arrivals are measured from here, so that those of two listeners
    /// can be compared.
    pub started: Instant,
    /// What a message may cost.
    pub limits: Limits,
    /// Values of a timer that are kept one by one.
    pub exact_samples: usize,
    /// Bytes that lines seen before may take, for each listener.
    pub line_cache: usize,
}

/// Other settings for a listener that runs.
#[derive(Debug)]
pub struct Change {
    /// What it shares with the others from now on.
    pub shared: Shared,
    /// Its own settings; its place and its protocol are the same.
    pub endpoint: Endpoint,
    /// What to ask of the kernel as buffer, in bytes, where it matters and is another.
    pub receive_buffer: Option<u64>,
}

/// Lines that were looked at but not recorded yet.
pub struct Ahead<'b, S> {
    lines: SmallVec<[LookedAt<'b, S>; LINES_AHEAD]>,
}

/// A line on its way.
struct Line<'b, S> {
    line: &'b [u8],
    /// What a rejection shows, and where the line starts in it.
    shown: &'b [u8],
    at: usize,
    sender: S,
}

/// A line, and if it may be known: split, with what was found by its shape.
struct LookedAt<'b, S> {
    line: Line<'b, S>,
    known: Option<(Split<'b>, ShapeLookup)>,
}

impl<S> Ahead<'_, S> {
    /// None so far.
    #[must_use]
    pub fn new() -> Self {
        Self { lines: SmallVec::new() }
    }
}

impl<S> Default for Ahead<'_, S> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Drop for Ahead<'_, S> {
    fn drop(&mut self) {
        debug_assert!(self.lines.is_empty(), "a line was looked at and not recorded");
    }
}

/// Owns a listener's table and its counts.
#[derive(Debug)]
pub struct Recorder {
    shared: Shared,
    protocol: Protocol,
    stats: Arc<ListenerStats>,
    handover: ListenerEnd,
    table: SeriesTable,
    /// Counted since the last [`Recorder::publish`].
    counts: Counts,
    /// When the current batch was read, in nanoseconds since the start.
    arrival_ns: u64,
    /// Where other settings are left.
    changes: flume::Receiver<Change>,
    /// Those that the recorder has followed and the listener has not.
    changed: Option<Change>,
    /// Whoever looks on.
    tap: ListenerTap,
}

impl Recorder {
    /// A recorder with an empty table.
    #[must_use]
    pub fn new(
        shared: Shared,
        protocol: Protocol,
        stats: Arc<ListenerStats>,
        handover: ListenerEnd,
    ) -> Self {
        let table = SeriesTable::new(shared.exact_samples, shared.line_cache);
        let (_, changes) = flume::bounded(0);
        Self {
            shared,
            protocol,
            stats,
            handover,
            table,
            counts: Counts::default(),
            arrival_ns: 0,
            changes,
            changed: None,
            tap: ListenerTap::default(),
        }
    }

    /// With those who look on at what comes.
    #[must_use]
    pub fn with_taps(self, taps: Arc<Taps>) -> Self {
        Self { tap: ListenerTap::new(taps), ..self }
    }

    /// Whether anybody looks on, and wants to know who sends.
    #[inline]
    #[must_use]
    pub fn is_tapped(&self) -> bool {
        self.tap.is_wanted()
    }

    /// Has it follow the changes that are left there, whenever the aggregator calls.
    #[must_use]
    pub fn with_changes(self, changes: flume::Receiver<Change>) -> Self {
        Self { changes, ..self }
    }

    /// What the listener has to follow as well.
    pub fn take_change(&mut self) -> Option<Change> {
        self.changed.take()
    }

    /// Notes that what follows was read just now.
    pub fn begin_batch(&mut self) {
        self.arrival_ns = self.shared.started.elapsed().as_nanos() as u64;
        self.tap.begin_batch(self.arrival_ns);
    }

    /// Records all messages of a datagram, some of them not before [`Recorder::catch_up`].
    pub fn datagram<'b, S: Origin + Copy>(
        &mut self,
        datagram: &'b [u8],
        sender: S,
        ahead: &mut Ahead<'b, S>,
    ) {
        self.count_read(1, datagram.len());
        if self.tap.is_on() {
            self.tap(datagram, &sender);
        }
        if self.protocol.is_array(datagram) {
            self.catch_up(ahead);
            return self.array(datagram, &sender);
        }
        for place in lines(datagram) {
            let line = &datagram[place.clone()];
            self.look_at(Line { line, shown: datagram, at: place.start, sender }, ahead);
        }
    }

    /// Records the messages of complete lines of a stream. What a datagram may hold, a line may;
    /// bytes are counted by whoever reads them.
    pub fn lines(&mut self, bytes: &[u8], sender: impl Origin + Copy) {
        let mut ahead = Ahead::new();
        for place in lines(bytes) {
            let line = &bytes[place];
            if self.tap.is_on() {
                self.tap(line, &sender);
            }
            if self.protocol.is_array(line) {
                self.catch_up(&mut ahead);
                self.array(line, &sender);
            } else {
                self.look_at(Line { line, shown: line, at: 0, sender }, &mut ahead);
            }
        }
        self.catch_up(&mut ahead);
    }

    /// Records the lines that were looked at so far.
    pub fn catch_up<S: Origin>(&mut self, ahead: &mut Ahead<'_, S>) {
        for LookedAt { known, .. } in &mut ahead.lines {
            if let Some((split, look)) = known {
                self.table.find_shape(look, split);
            }
        }
        for line in &ahead.lines {
            self.line(line);
        }
        ahead.lines.clear();
    }

    /// Counts a message that was rejected before it could be decoded; `bytes` is what there is of
    /// it.
    pub fn reject(&mut self, rejection: Rejection, bytes: &[u8], sender: impl Origin) {
        // Its beginning tells more than the place where it became too much.
        let beginning = &bytes[..bytes.len().min(EXCERPT_BYTES)];
        let Self { shared, stats, counts, tap, .. } = self;
        shared.reject(rejection, beginning, &sender, stats, counts, tap);
    }

    /// Counts what was read.
    pub fn count_read(&mut self, datagrams: u64, bytes: usize) {
        self.counts.datagrams += datagrams;
        self.counts.bytes += bytes as u64;
    }

    /// Shows the samples of a datagram or line to whoever looks on. They are decoded for that alone,
    /// beside their recording, which goes on as ever.
    #[cold]
    #[inline(never)]
    fn tap(&mut self, bytes: &[u8], sender: &impl Origin) {
        let Self { shared, protocol, stats, tap, .. } = self;
        let (identifier, limits) = (&shared.identifier, &shared.limits);
        let decoding = Decoding { protocol: *protocol, identifier, limits };
        tap.look(&decoding, bytes, sender, stats.label());
    }

    /// Finds out what memory a line will need, to be recorded when there are enough of them.
    #[inline]
    fn look_at<'b, S: Origin>(&mut self, line: Line<'b, S>, ahead: &mut Ahead<'b, S>) {
        if ahead.lines.len() == LINES_AHEAD {
            self.catch_up(ahead);
        }
        let shapes = self.table.shapes();
        let split = if shapes.should_look_up() { self.protocol.split(line.line) } else { None };
        let known = split.map(|split| {
            let look = shapes.start_lookup(&split);
            (split, look)
        });
        ahead.lines.push(LookedAt { line, known });
    }

    #[inline]
    fn line<S: Origin>(&mut self, LookedAt { line, known }: &LookedAt<'_, S>) {
        if let Some((split, look)) = known
            && self.table.record_known(*look, split, self.arrival_ns)
        {
            self.counts.aggregated += 1;
            return;
        }
        self.decode_line(line, known.as_ref());
    }

    /// Decodes a line and remembers its shape where it is a plain one.
    fn decode_line<S: Origin>(
        &mut self,
        line: &Line<'_, S>,
        split: Option<&(Split<'_>, ShapeLookup)>,
    ) {
        let Self { shared, protocol, stats, table, counts, arrival_ns, tap, .. } = self;
        let (mut samples, mut known) = (0, None);
        let limits = &shared.limits;
        let number_is_at = split.map(|(split, _)| split);
        let decoded = protocol.decode_line(line.line, number_is_at, limits, &mut |message| {
            samples += 1;
            match message {
                Ok(sample) => {
                    known = shared.record(table, sample, *arrival_ns);
                    counts.aggregated += 1;
                }
                Err(rejection) => {
                    let rejection = rejection.behind(line.at);
                    shared.reject(rejection, line.shown, &line.sender, stats, counts, tap);
                }
            }
        });
        counts.skipped += decoded.skipped;
        if let (1, Some((split, look)), Some(known)) = (samples, split, known)
            && decoded.is_split_right
        {
            table.shapes().learn(*look, split, known);
        }
    }

    /// Records the messages of an array.
    fn array(&mut self, array: &[u8], sender: &impl Origin) {
        let Self { shared, stats, table, counts, arrival_ns, tap, .. } = self;
        json::decode(array, &shared.limits, &mut |message| match message {
            Ok(sample) => {
                shared.record(table, sample, *arrival_ns);
                counts.aggregated += 1;
            }
            Err(rejection) => shared.reject(rejection, array, sender, stats, counts, tap),
        });
    }

    /// Whether something was rejected since the last [`Recorder::publish`].
    #[must_use]
    pub fn rejected_in_batch(&self) -> bool {
        self.counts.rejected.iter().any(|count| *count > 0)
    }

    /// Messages received and rejected since the last [`Recorder::publish`]; without lines that are
    /// only looked at so far.
    #[must_use]
    pub fn received_in_batch(&self) -> (u64, u64) {
        (self.counts.received(), self.counts.rejected.iter().sum())
    }

    /// Makes the counts of a batch visible.
    pub fn publish(&mut self) {
        self.tap.end_batch(&self.counts);
        self.stats.add(&std::mem::take(&mut self.counts));
    }

    /// Hands over the tally if the window's edge has come, and follows a change if there is one. To
    /// be called between batches.
    #[inline]
    pub fn at_edge(&mut self) {
        if self.handover.hand_over_at_edge(&mut self.table) {
            self.follow();
        }
    }

    #[cold]
    fn follow(&mut self) {
        // Of several the last one says it all.
        if let Some(change) = self.changes.try_iter().last() {
            self.shared = change.shared.clone();
            self.table.reconfigure(self.shared.exact_samples, self.shared.line_cache);
            self.changed = Some(change);
        }
    }

    /// Hands over the last tally.
    pub fn finish(mut self) {
        self.publish();
        self.stats.close();
        self.handover.finish(self.table);
    }
}

impl Shared {
    /// Records a sample; what is then known of its line, if its number is all that may change.
    pub fn record<'a>(
        &'a self,
        table: &mut SeriesTable,
        sample: Sample<'a>,
        arrival_ns: u64,
    ) -> Option<KnownLine> {
        let Sample { name, value, weight, mut tags } = sample;
        self.identifier.add_agent_tags(&mut tags);
        let identity = self.identifier.identify(value.kind(), &name, &tags);
        let slot = table.record(&identity, &value, weight, arrival_ns, &self.registry)?;
        Some(KnownLine { slot, meaning: NumberMeaning::of(&value)?, weight })
    }

    /// Counts a rejection and shows it with the bytes that its offset is in.
    fn reject(
        &self,
        rejection: Rejection,
        bytes: &[u8],
        sender: &impl Origin,
        stats: &ListenerStats,
        counts: &mut Counts,
        tap: &mut ListenerTap,
    ) {
        counts.rejected[rejection.reason as usize] += 1;
        if tap.is_on() {
            tap.rejected(rejection, bytes, sender, stats.label());
        }
        self.rejected.note(rejection, bytes, sender, stats.label());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aggregator::AggregationConfig;
    use crate::testing::recorder::agrees;

    /// Lines that are made to be taken for one another.
    fn json_line() -> impl Strategy<Value = String> {
        let number = prop_oneof![
            (0_u8..4).prop_map(|n| n.to_string()),
            Just("1.5".to_owned()),
            Just("-2".to_owned()),
            Just("\"3\"".to_owned()),
            Just("\"+3\"".to_owned()),
            Just("1e1".to_owned()),
            Just("01".to_owned()),
            Just("true".to_owned()),
        ];
        let kind = prop::sample::select(vec!["counter", "gauge", "timer", "trace", "set"]);
        (kind, number.clone(), number, 0..12).prop_map(|(kind, n, m, shape)| {
            let head = format!(r#"{{"metric_name":"m","metric_type":"{kind}""#);
            match shape {
                0 => format!(r#"{head},"value":{n}}}"#),
                1 => format!(r#"{head},"count":{n}}}"#),
                2 => format!(r#"{head},"value":{n},"count":{m}}}"#),
                3 => format!(r#"{head},"value":{n},"value":{m}}}"#),
                4 => format!(r#"{head},"timestamp":{{"value":{n}}},"value":{m}}}"#),
                5 => format!(r#"{head},"timestamp":{{"value":{n}}}}}"#),
                6 => format!(r#"{head},"tags":{{"value":{n}}},"value":{m}}}"#),
                7 => format!(r#"{head},"tags":{{"count":{n}}}}}"#),
                8 => format!(r#"{head},"value": {n} ,"a":"\"value\":{m}"}}"#),
                9 => format!(r#"{head},"sample_rate":0.5,"value":{n}}}"#),
                10 => format!(r#"{head},"a":"x","value":{n}}}"#),
                _ => format!("{head}}}"),
            }
        })
    }

    fn statsd_line() -> impl Strategy<Value = String> {
        let number = prop::sample::select(vec!["1", "2", "1.5", "-2", "+3", "1e1", "01", "", "x"]);
        let kind = prop::sample::select(vec!["c", "g", "ms", "s", "h|@0.5", "c|#a:1", "c|#a:2"]);
        (kind, number.clone(), number, 0..5).prop_map(|(kind, n, m, shape)| match shape {
            0 | 1 => format!("m:{n}|{kind}"),
            2 => format!("m:{n}:{m}|{kind}"),
            3 => format!("m[a=b:{n}]:{m}|{kind}"),
            _ => format!("m:{n}|c:{m}|{kind}"),
        })
    }

    fn agree(protocol: Protocol, lines: &[String]) {
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        agrees(protocol, &[lines.clone(), lines], &AggregationConfig::default());
    }

    proptest! {
        #[test]
        fn a_json_line_seen_before_means_what_it_meant(
            lines in prop::collection::vec(json_line(), 1..60),
        ) {
            agree(Protocol::Json, &lines);
        }

        #[test]
        fn a_statsd_line_seen_before_means_what_it_meant(
            lines in prop::collection::vec(statsd_line(), 1..60),
        ) {
            agree(Protocol::Statsd, &lines);
        }
    }
}
