//! Decodes messages, adds the agent's tags, records samples and counts, for every listener.

use std::sync::Arc;

use super::config::ListenerEndpoint;
pub use super::pending_lines::PendingLines;
use super::pending_lines::{PENDING_MAX, PendingLine};
use super::recorder_context::MessageLine;
pub use super::recorder_context::{RecorderContext, Recording};
use super::rejected_line::RejectedLine;
use super::reordered::ReorderedLines;
use super::signature::SignatureContext;
use super::stats::{ListenerCounts, ListenerStats};
use super::statsd_recorder::StatsdRecorder;
use super::{Origin, Protocol};
use crate::aggregator::handover::ListenerEnd;
use crate::aggregator::shapes::{KnownLine, ShapeLookup};
use crate::aggregator::table::SeriesTable;
use crate::listener::tap::listener::{DecodeContext, ListenerTap};
use crate::listener::tap::taps::Taps;
use crate::protocol::json::JsonMessage;
use crate::protocol::split::Split;
use crate::protocol::{MarkedLine, Rejection, SignedGauges, Tags, json, lines, statsd};
use crate::sync::{Receiver, bounded};
use basics::escape::EXCERPT_BYTES;
use model::TimerType;

/// New settings for a running listener.
#[derive(Debug)]
pub struct ListenerUpdate {
    /// The state and settings that it shares with other listeners.
    pub context: RecorderContext,
    /// Its own settings. The address and the protocol stay the same.
    pub endpoint: ListenerEndpoint,
    /// The meaning of a sign before the value of a gauge.
    pub gauges: SignedGauges,
    /// The kernel buffer to request, in bytes, if the size has changed.
    pub receive_buffer: Option<u64>,
}

/// The way in which the lines of a datagram are recorded.
#[derive(Clone, Copy, PartialEq, Eq)]
enum RecordWay {
    /// Each line is decoded: there is no line cache, and so no reason to wait for other lines.
    Decoded,
    /// Each line is looked up and recorded before the next: the memory of a small table is in the
    /// processor's cache.
    AtOnce,
    /// Lines are looked up together.
    Together,
}

/// Records the messages of one listener. Owns the listener's table and counts.
#[derive(Debug)]
pub struct Recorder {
    context: RecorderContext,
    protocol: Protocol,
    gauges: SignedGauges,
    stats: Arc<ListenerStats>,
    handover: ListenerEnd,
    table: SeriesTable,
    reordered: ReorderedLines,
    /// The counts since the last [`Recorder::publish`].
    counts: ListenerCounts,
    /// Arrival time of the current batch, in nanoseconds since the start.
    arrival_ns: u64,
    /// Receives new settings.
    updates: Receiver<ListenerUpdate>,
    /// Settings that the recorder has applied and the listener has not.
    applied: Option<ListenerUpdate>,
    /// Shows messages to tap clients.
    tap: ListenerTap,
}

impl Recorder {
    /// Creates a recorder with an empty table.
    #[must_use]
    pub fn new(
        context: RecorderContext,
        protocol: Protocol,
        stats: Arc<ListenerStats>,
        handover: ListenerEnd,
    ) -> Self {
        let table = SeriesTable::new(context.cells.clone(), context.line_cache)
            .with_rules(context.table_rules(protocol));
        let (_, updates) = bounded(0);
        Self {
            context,
            protocol,
            gauges: SignedGauges::default(),
            stats,
            handover,
            table,
            reordered: ReorderedLines::default(),
            counts: ListenerCounts::default(),
            arrival_ns: 0,
            updates,
            applied: None,
            tap: ListenerTap::default(),
        }
    }

    /// Gives this meaning to a sign before the value of a gauge on a statsd line.
    #[must_use]
    pub fn with_gauges(self, gauges: SignedGauges) -> Self {
        Self { gauges, ..self }
    }

    /// Shows messages to the clients of these taps.
    #[must_use]
    pub fn with_taps(self, taps: Arc<Taps>) -> Self {
        Self { tap: ListenerTap::new(taps), ..self }
    }

    /// Whether a tap client is connected, which needs to know the senders.
    #[inline]
    #[must_use]
    pub fn is_tapped(&self) -> bool {
        self.tap.is_wanted()
    }

    /// The state and settings of signatures.
    #[must_use]
    pub fn signatures(&self) -> &SignatureContext {
        &self.context.signatures
    }

    /// Applies new settings from this channel each time that the aggregator calls.
    #[must_use]
    pub fn with_updates(self, updates: Receiver<ListenerUpdate>) -> Self {
        Self { updates, ..self }
    }

    /// Takes the new settings, so that the listener can apply its part of them.
    pub fn take_update(&mut self) -> Option<ListenerUpdate> {
        self.applied.take()
    }

    /// Starts a batch of messages that were read just now.
    pub fn begin_batch(&mut self) {
        // One time for the batch: the kernel has kept its messages until now, so their own times
        // are not known.
        self.arrival_ns = self.context.started.elapsed().as_nanos() as u64;
        self.tap.begin_batch(self.arrival_ns);
    }

    /// Records all messages of a datagram. Some of them wait in `pending` until
    /// [`Recorder::record_pending`].
    pub fn record_datagram<'b, S: Origin + Copy>(
        &mut self,
        datagram: &'b [u8],
        sender: S,
        pending: &mut PendingLines<'b, S>,
    ) {
        self.count_read(1, datagram.len());
        if self.tap.is_on() {
            self.show_in_taps(datagram, &sender);
        }
        match self.protocol {
            Protocol::Statsd => self.record_statsd(datagram, |_| datagram, sender, pending),
            Protocol::Json if json::is_array(datagram) => {
                self.record_pending(pending);
                self.record_array(datagram, &sender);
            }
            Protocol::Json => match self.way(pending) {
                RecordWay::Decoded => self.decode_lines(datagram, |_| datagram, sender),
                way => {
                    for range in lines(datagram) {
                        let line = &datagram[range];
                        self.enqueue(line, json::split, (datagram, sender), way, pending);
                    }
                }
            },
        }
    }

    /// Records statsd lines. A rejection shows `shown` of the line, which contains it.
    #[inline]
    fn record_statsd<'b, S: Origin + Copy>(
        &mut self,
        bytes: &'b [u8],
        shown: impl Fn(&'b [u8]) -> &'b [u8],
        sender: S,
        pending: &mut PendingLines<'b, S>,
    ) {
        let way = self.way(pending);
        if way == RecordWay::Decoded {
            return self.decode_lines(bytes, shown, sender);
        }
        let mut lines = lines(bytes);
        loop {
            if way == RecordWay::AtOnce && self.table.shapes().expects_known_bytes() {
                lines.skip_to(self.record_by_bytes(bytes, lines.start()));
            }
            let Some(MarkedLine { range, mark }) = statsd::next_line(&mut lines) else { break };
            let mark = mark.saturating_sub(range.start);
            let line = &bytes[range];
            if way == RecordWay::AtOnce
                && let Some(short) = statsd::split_short(line, mark)
                && let Some(is_recorded) = self.table.record_short(&short, self.arrival_ns)
            {
                self.counts.count_recorded(is_recorded);
            } else {
                let split = |split: &mut Split<'_>| statsd::split(split, mark);
                self.enqueue(line, split, (shown(line), sender), way, pending);
            }
        }
    }

    /// Records the lines from `start` up to one whose bytes are not known. Returns the start of that line.
    // Not inlined, because the two ways to record a line would take registers from each other.
    #[inline(never)]
    fn record_by_bytes(&mut self, bytes: &[u8], mut start: usize) -> usize {
        while start < bytes.len()
            && let Some(line) = statsd::read_short(bytes, start)
            && let Some((is_recorded, tail_bytes)) =
                self.table.record_by_bytes(&line, self.arrival_ns)
        {
            self.counts.count_recorded(is_recorded);
            start = line.tail_start + tail_bytes;
        }
        start
    }

    /// Decodes each line.
    #[inline(never)]
    fn decode_lines<'b, S: Origin + Copy>(
        &mut self,
        bytes: &'b [u8],
        shown: impl Fn(&'b [u8]) -> &'b [u8],
        sender: S,
    ) {
        for range in lines(bytes) {
            let line = &bytes[range];
            self.decode_uncached(line, (shown(line), sender));
        }
    }

    /// Decodes a line that cannot be in the cache.
    fn decode_uncached<S: Origin>(&mut self, line: &[u8], (shown, sender): (&[u8], S)) {
        let (split, lookup) = (Split::without_number(line), ShapeLookup::NONE);
        self.decode_line(&PendingLine { shown, sender, split, is_split: false, lookup });
    }

    /// The way in which the next lines are recorded.
    #[inline]
    fn way<S>(&self, pending: &PendingLines<'_, S>) -> RecordWay {
        if !self.table.has_line_cache() {
            RecordWay::Decoded
        } else if pending.lines.is_empty() && !pending.always && self.table.is_small() {
            RecordWay::AtOnce
        } else {
            RecordWay::Together
        }
    }

    /// Records complete lines of a stream. A line may hold the same as a datagram, such as an
    /// array. The caller counts the bytes.
    pub fn record_lines(&mut self, bytes: &[u8], sender: impl Origin + Copy) {
        let mut pending = PendingLines::new();
        if self.tap.is_on() {
            for range in lines(bytes) {
                self.show_in_taps(&bytes[range], &sender);
            }
        }
        match self.protocol {
            Protocol::Statsd => self.record_statsd(bytes, |line| line, sender, &mut pending),
            Protocol::Json => self.record_json_lines(bytes, sender, &mut pending),
        }
        self.record_pending(&mut pending);
    }

    /// Records messages of a stream, any of which may be an array.
    fn record_json_lines<'b, S: Origin + Copy>(
        &mut self,
        bytes: &'b [u8],
        sender: S,
        pending: &mut PendingLines<'b, S>,
    ) {
        let way = self.way(pending);
        for range in lines(bytes) {
            let line = &bytes[range];
            if json::is_array(line) {
                // Samples are recorded in the order in which they arrived.
                self.record_pending(pending);
                self.record_array(line, &sender);
            } else if way == RecordWay::Decoded {
                self.decode_uncached(line, (line, sender));
            } else {
                self.enqueue(line, json::split, (line, sender), way, pending);
            }
        }
    }

    /// Records the pending lines.
    pub fn record_pending<S: Origin>(&mut self, pending: &mut PendingLines<'_, S>) {
        // One step of the lookup for all lines before the next step, so that the waits for memory
        // overlap: the buckets were prefetched by `enqueue`; this loop prefetches the cells.
        self.table.start_finding();
        for line in &mut pending.lines {
            self.table.find_shape(&mut line.lookup);
        }
        for line in &pending.lines {
            self.record_line(line);
        }
        pending.lines.clear();
    }

    /// Counts a message that is too long or not finished; `bytes` is the part received.
    pub fn reject_part(&mut self, rejection: Rejection, bytes: &[u8], sender: impl Origin) {
        // The beginning of a message says more about it than the place where it became too long.
        self.reject(rejection, &bytes[..bytes.len().min(EXCERPT_BYTES)], sender);
    }

    /// Counts a message that was rejected before it could be decoded; `bytes` is the part that may be shown.
    pub fn reject(&mut self, rejection: Rejection, bytes: &[u8], sender: impl Origin) {
        let Self { context, stats, counts, tap, .. } = self;
        context.reject(rejection, bytes, &sender, stats, counts, tap);
    }

    /// Counts datagrams and bytes that were read.
    pub fn count_read(&mut self, datagrams: u64, bytes: usize) {
        self.counts.datagrams += datagrams;
        self.counts.bytes += bytes as u64;
    }

    /// Shows the samples of a datagram or line to tap clients. They are decoded separately for
    /// that, so that recording stays the same with and without taps.
    #[cold]
    #[inline(never)]
    fn show_in_taps(&mut self, bytes: &[u8], sender: &impl Origin) {
        let Self { context, protocol, gauges, stats, tap, .. } = self;
        let (identifier, limits, rules) = (&context.identifier, &context.limits, &*context.rules);
        let (protocol, gauges) = (*protocol, *gauges);
        let decoding = DecodeContext { protocol, gauges, identifier, limits, rules };
        tap.show_samples(&decoding, bytes, sender, stats.label());
    }

    /// Starts the lookup of a line, which is recorded once enough lines are pending, or at once if
    /// waiting would gain nothing. `split_line` splits it, and returns whether it can be in the
    /// cache. A rejection shows `shown`, which contains the line.
    // Always: each of its calls splits lines of another protocol.
    #[inline(always)]
    fn enqueue<'b, S: Origin>(
        &mut self,
        line: &'b [u8],
        split_line: impl Fn(&mut Split<'b>) -> bool,
        (shown, sender): (&'b [u8], S),
        way: RecordWay,
        pending: &mut PendingLines<'b, S>,
    ) {
        // Filled in place: an `Option` of this size would be moved from call to call.
        let mut split = Split::without_number(line);
        let is_split = split_line(&mut split);
        let lookup = match is_split {
            true => self.table.shapes().start_lookup(&split),
            false => ShapeLookup::NONE,
        };
        if way == RecordWay::AtOnce {
            return match self.table.known_line(lookup, split.weight) {
                Some(known) if !split.is_packed() => self.record_number(known, &split),
                known => {
                    let line = PendingLine { shown, sender, split, is_split, lookup };
                    self.record_other(&line, known);
                }
            };
        }
        if pending.lines.len() == PENDING_MAX {
            self.record_pending(pending);
        }
        self.table.shapes().prefetch(lookup);
        pending.lines.push(PendingLine { shown, sender, split, is_split, lookup });
    }

    #[inline]
    fn record_line<S: Origin>(&mut self, line: &PendingLine<'_, S>) {
        match self.table.known_line(line.lookup, line.split.weight) {
            Some(known) if !line.split.is_packed() => self.record_number(known, &line.split),
            known => self.record_other(line, known),
        }
    }

    /// Records the number of a known line.
    // Always: a call of it would cost the most common lines a fortieth more.
    #[inline(always)]
    fn record_number(&mut self, known: KnownLine, split: &Split<'_>) {
        let is_recorded = self.table.record_known(known, split.number, self.arrival_ns);
        self.counts.count_recorded(is_recorded);
        if split.has_time() {
            self.count_timestamped(u64::from(is_recorded));
        }
    }

    /// Counts samples of a known line with a time. In JSON, a time is a reserved member like others.
    #[cold]
    fn count_timestamped(&mut self, samples: u64) {
        if self.protocol == Protocol::Statsd {
            self.counts.timestamped += samples;
        }
    }

    /// Records a line that is not known as it is, or a known one with several numbers.
    #[inline(never)]
    fn record_other<S: Origin>(&mut self, line: &PendingLine<'_, S>, known: Option<KnownLine>) {
        match known.or_else(|| self.find_reordered(line)) {
            Some(known) if line.split.is_packed() => self.record_packed(line, known),
            Some(known) => self.record_number(known, &line.split),
            None => self.decode_line(line),
        }
    }

    /// Returns the properties of a statsd line that is known with another order of its tags.
    fn find_reordered<S>(&mut self, line: &PendingLine<'_, S>) -> Option<KnownLine> {
        let (split, lookup) = line.shape().filter(|_| self.protocol == Protocol::Statsd)?;
        self.reordered.find(split, lookup, &mut self.table)
    }

    /// Records a statsd line with several numbers and a known shape.
    fn record_packed<S: Origin>(&mut self, line: &PendingLine<'_, S>, known: KnownLine) {
        let (kind, limits) = (known.meaning.kind(), &self.context.limits);
        // With too many values, decoding rejects the line.
        let Some(run) = statsd::packed_values(&line.split, kind, known.weight, limits) else {
            return self.decode_line(line);
        };
        let before = self.counts.aggregated;
        self.statsd_recorder(line).known_values(known, &run);
        if line.split.has_time() {
            self.count_timestamped(self.counts.aggregated - before);
        }
    }

    /// Decodes a line that is not in the line cache, and adds it if possible.
    fn decode_line<S: Origin>(&mut self, line: &PendingLine<'_, S>) {
        let known = match self.protocol {
            Protocol::Json => self.decode_json(line),
            Protocol::Statsd => self.decode_statsd(line),
        };
        // A shape stands for lines whose samples depend on nothing but the numbers that the split
        // found. Other lines must be decoded each time.
        if let (Some((split, lookup)), Some(known)) = (line.shape(), known) {
            self.table.shapes().learn(lookup, split, known);
        }
    }

    /// Returns the properties of the line if it can be cached with this split.
    fn decode_json<S: Origin>(&mut self, line: &PendingLine<'_, S>) -> Option<KnownLine> {
        let Self { context, stats, table, counts, arrival_ns, tap, .. } = self;
        let mut tags = Tags::new();
        match json::decode_line(line.split.line, &context.limits, &mut tags) {
            Ok(JsonMessage { name, value, weight, places }) => {
                let timer_type = TimerType::default();
                let message = MessageLine { name: &name, value: &value, weight, timer_type };
                let (recording, known) =
                    context.record_message(table, &message, &tags, *arrival_ns);
                match recording {
                    Recording::Aggregated => counts.aggregated += 1,
                    Recording::Dropped => counts.count_dropped(),
                    Recording::Rejected(rejection) => {
                        let rejection = rejection.shifted_by(line.at());
                        context.reject(rejection, line.shown, &line.sender, stats, counts, tap);
                    }
                }
                // The split was only a guess.
                known.filter(|_| line.is_split && line.split.is_at(&places))
            }
            Err(rejection) => {
                let rejection = rejection.shifted_by(line.at());
                context.reject(rejection, line.shown, &line.sender, stats, counts, tap);
                None
            }
        }
    }

    /// Returns the properties of the line if it can be cached.
    fn decode_statsd<S: Origin>(&mut self, line: &PendingLine<'_, S>) -> Option<KnownLine> {
        let mut recorder = self.statsd_recorder(line);
        let limits = &recorder.context.limits;
        let is_decoded = statsd::decode_line(line.split.line, limits, &mut recorder);
        let (known, was_known) = (recorder.known, recorder.was_known);
        self.counts.skipped += u64::from(!is_decoded);
        if was_known && let (Some((split, _)), Some(known)) = (line.shape(), known) {
            self.reordered.learn(split, known, &mut self.table);
        }
        known
    }

    fn statsd_recorder<'r, S>(
        &'r mut self,
        line: &'r PendingLine<'_, S>,
    ) -> StatsdRecorder<'r, 'r, S> {
        let Self { context, gauges, stats, table, counts, arrival_ns, tap, .. } = self;
        StatsdRecorder {
            context,
            gauges: *gauges,
            table,
            counts,
            rejected: RejectedLine { line, stats, tap },
            arrival_ns: *arrival_ns,
            known: None,
            was_known: false,
        }
    }

    /// Records the messages of an array.
    fn record_array(&mut self, array: &[u8], sender: &impl Origin) {
        let Self { context, stats, table, counts, arrival_ns, tap, .. } = self;
        json::decode(array, &context.limits, &mut |message| match message {
            Ok(sample) => match context.record(table, &sample, *arrival_ns) {
                Recording::Aggregated => counts.aggregated += 1,
                Recording::Dropped => counts.count_dropped(),
                Recording::Rejected(rejection) => {
                    context.reject(rejection, array, sender, stats, counts, tap);
                }
            },
            Err(rejection) => context.reject(rejection, array, sender, stats, counts, tap),
        });
    }

    /// Whether a message was rejected since the last [`Recorder::publish`], for another reason than a
    /// rule, which is no mistake of its sender.
    #[must_use]
    pub fn rejected_in_batch(&self) -> bool {
        self.counts.mistakes() > 0
    }

    /// The numbers of messages received, and of those rejected for another reason than a rule, since the
    /// last [`Recorder::publish`], without pending lines.
    #[must_use]
    pub fn received_in_batch(&self) -> (u64, u64) {
        (self.counts.received(), self.counts.mistakes())
    }

    /// Publishes the counts of a batch.
    pub fn publish(&mut self) {
        self.tap.end_batch(&self.counts);
        self.stats.add(&std::mem::take(&mut self.counts));
    }

    /// Hands over the tally if the window has ended, and applies new settings if there are any.
    /// Must be called between batches.
    #[inline]
    pub fn hand_over_at_edge(&mut self) {
        if self.handover.hand_over_at_edge(&mut self.table) {
            self.apply_update();
        }
    }

    #[cold]
    fn apply_update(&mut self) {
        // Each update is complete, so the last one is enough.
        if let Some(update) = self.updates.try_iter().last() {
            self.context = update.context.clone();
            self.gauges = update.gauges;
            self.table.reconfigure(self.context.cells.clone(), self.context.line_cache);
            self.table.set_rules(self.context.table_rules(self.protocol));
            self.applied = Some(update);
        }
    }

    /// Hands over the last tally.
    pub fn finish(mut self) {
        self.publish();
        // Before the last tally: when the aggregator has it, the counts of the listener are final.
        self.stats.close();
        self.handover.finish(self.table);
    }
}

#[cfg(test)]
mod tests {
    use basics::units::ByteSize;
    use proptest::prelude::*;

    use super::*;
    use crate::aggregator::AggregationConfig;
    use crate::testing::recorder::{COMPARED_RULES, agrees, agrees_with_rules};

    /// Lines that are easily mistaken for one another.
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
        (kind, number.clone(), number, 0..27).prop_map(|(kind, n, m, shape)| {
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
                11 => format!(r#"{head},"value":{n},"sample_rate":0.{m}}}"#),
                12 => format!(r#"{head},"sample_rate": {m},"value":{n}}}"#),
                13 => format!(r#"{head},"sample_rate":1,"sample_rate":0.{m},"value":{n}}}"#),
                14 => format!(r#"{head},"sample\u005frate":0.{m},"sample_rate":0.2,"value":{n}}}"#),
                15 => format!(r#"{head},"a":"sample_rate","value":{n},"timestamp":{m}}}"#),
                16 => format!(r#"{head},"timestamp":{m},"value":{n},"tags":{{"timestamp":{m}}}}}"#),
                17 => format!(r#"{head},"timestamp":"1T0:{m}","value":{n}}}"#),
                18 => format!(r#"{head},"timestamp":{m},"value":{n},"timestamp":{n}}}"#),
                19 => format!(r#"{head},"time\u0073tamp":{m},"value":{n},"timestamp":{n}}}"#),
                20 => format!(r#"{head},"timestamp": {m}, "sample_rate": 0.{n}, "value": {n}}}"#),
                21 => format!(r#"{head},"a":"b\"timestamp":{m},"x\"timestamp":{m},"value":{n}}}"#),
                22 => format!(r#"{head},"timestamp":{{"timestamp":{m}}},"value":{n}}}"#),
                23 => {
                    format!(r#"{head},"tags":{{"timestamp":{m},"sample_rate":{m}}},"value":{n}}}"#)
                }
                24 => format!(r#"{head},"count":{m},"value":{n}}}"#),
                25 => format!(r#"{head},"timestamp":{m}0000000{n},"value":{n}}}"#),
                _ => format!("{head}}}"),
            }
        })
    }

    fn statsd_line() -> impl Strategy<Value = String> {
        let number = prop::sample::select(vec!["1", "2", "1.5", "-2", "+3", "1e1", "01", "", "x"]);
        let kind = prop::sample::select(vec![
            "c",
            "g",
            "ms",
            "s",
            "h|@0.5",
            "c|#a:1",
            "c|#a:2",
            // Lines that differ in the order of tags, which may have a meaning.
            "c|#a:1,b:2,c",
            "c|#c,b:2,a:1",
            "c|#b:2,c,a:1",
            "c|@0.5|#b:2,a:1|T1",
            "c|#a:1,b:2,a:3",
            "c|#a:3,b:2,a:1",
            "c|#b:2,#a:1",
            "c|#b:2,,a:1|#b:3,a:1",
        ]);
        (kind, number.clone(), number, 0..21).prop_map(|(kind, n, m, shape)| match shape {
            0 | 1 => format!("m:{n}|{kind}"),
            2 => format!("m:{n}:{m}|{kind}"),
            3 => format!("m[a=b:{n}]:{m}|{kind}"),
            4 => format!("m:{n}|c:{m}|{kind}"),
            5 => format!("m:1:{n}:{m}:2|{kind}"),
            6 => format!("m:1:2:3:{n}:5:6:7:8:9:10:11:12{m}|{kind}"),
            7 => format!("m:1:2:3:4:5:6:7:8:9:10:11:12:{m}|{kind}"),
            8 => format!("m:{n}|{kind}|T{m}"),
            9 => format!("m:{n}|{kind}|T{m}|@0.{m}"),
            10 => format!("m:{n}|{kind}|@{m}"),
            11 => format!("m:{n}|{kind}|@0.{m}|Tx|T{n}|T{m}"),
            12 => format!("m:{n}:{m}|c|@0.{m}|T{n}"),
            13 => format!("m:{n}|c|@0.{m}|@0.{n}"),
            14 => format!("m;a=1:{n}|{kind}"),
            15 => format!("m;a={n}:{m}|{kind}"),
            16 => format!("m#a=1,b={n}:{m}|{kind}"),
            17 => format!("m#1;a:{n}|{kind}|T{m}"),
            18 => format!("m:{n}|{kind}|T|T{m}"),
            19 => format!("m:{n}:{m}|g|T1"),
            _ => format!("m:1:{n}|{kind}|:{m}|{kind}"),
        })
    }

    /// Short lines with names of all lengths, among others, with different ends.
    fn short_line() -> impl Strategy<Value = String> {
        let name = prop_oneof![
            (0_usize..36).prop_map(|length| "abcdefgh".chars().cycle().take(length).collect()),
            Just("b[a".to_owned()),
            Just("_e{1,1}".to_owned()),
            Just(" c".to_owned()),
        ];
        let number = prop::sample::select(vec!["1", "12", "1.5", "1234567", "-2", "01", "", "x"]);
        let kind = prop::sample::select(vec!["c", "g", "ms", "s", "h", "d", "", "c|@0.5", "cc"]);
        let end = prop::sample::select(vec!["\n", "\n", "\n", "\r\n", " \n", "\n\n", "", "\0\n"]);
        (name, number, kind, end).prop_map(|(name, number, kind, end): (String, _, _, _)| {
            format!("{name}:{number}|{kind}{end}")
        })
    }

    fn agree(protocol: Protocol, lines: &[String]) {
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        agrees(protocol, &[lines.clone(), lines], &AggregationConfig::default());
    }

    /// The same for lines that come together in a datagram.
    fn agree_together(protocol: Protocol, datagram: &str) {
        let windows = [vec![datagram.as_bytes(); 2], vec![], vec![datagram.as_bytes(); 2]];
        agrees(protocol, &windows, &AggregationConfig::default());
    }

    #[test]
    fn packed_lines_record_the_same_as_lines_of_their_own() {
        let many = |values: usize| format!("m{}|ms|#k:v", ":3".repeat(values));
        let lines = [
            "m:1:2:3|c|#k:v",
            "m:4|c|#k:v",
            "m:1:2:3|c|#k:v",
            "m:1:x:3|c|#k:v",
            "m:1::3|c|#k:v",
            "m:1:1e2:-3:007:1e999:|c|#k:v",
            "m:5:+1:-2|g",
            "m:6:7|g",
            "m:1:2|h|@0.5",
            "m:8|h|@0.5",
            "m:1:2|s",
            "m:1:2|c:3:4|ms|:5|c|#k:v",
            "m:-1:2|ms",
            "m:1:2\u{e9}:3|c|#k:v",
            "m:1:2[a=b:3|c|#k:v",
        ];
        let mut lines: Vec<String> = lines.map(str::to_owned).to_vec();
        lines.extend([many(12), many(13), many(1)]);
        agree(Protocol::Statsd, &lines);
    }

    #[test]
    fn each_value_of_a_packed_line_that_overflows_is_counted() {
        let lines: Vec<String> =
            (0..10).map(|n| format!("m:1:2:3|c:4:5|ms|:6|c|#k:{n}\nm:1:x:2|c|#k:{n}")).collect();
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let config = AggregationConfig { max_series_per_metric: 2, ..AggregationConfig::default() };
        agrees(Protocol::Statsd, &[lines.clone(), lines], &config);
    }

    /// Names to which the rules of the comparison apply, or not, and which they make.
    const NAMES: [&str; 12] =
        ["m", "n", "b", "a.x", "a.y", "x.drop.y", "drop", "d", "y", "xy", "q7", "m.x"];

    fn agree_with_rules(protocol: Protocol, lines: &[(String, usize)], rule_cache: u64) {
        let quoted = |name: &str| match protocol {
            Protocol::Json => format!("\"metric_name\":\"{name}\""),
            Protocol::Statsd => name.to_owned(),
        };
        let named =
            |(line, name): &(String, usize)| line.replacen(&quoted("m"), &quoted(NAMES[*name]), 1);
        let lines: Vec<String> = lines.iter().map(named).collect();
        let lines: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
        let rule_cache = ByteSize::from_bytes(rule_cache);
        let config = AggregationConfig { rule_cache, ..AggregationConfig::default() };
        let again = lines.iter().rev().copied().collect();
        let windows = [lines.clone(), again, vec![], lines];
        agrees_with_rules(protocol, &windows, &config, &COMPARED_RULES);
    }

    fn named<L: Strategy<Value = String>>(line: L) -> impl Strategy<Value = Vec<(String, usize)>> {
        prop::collection::vec((line, 0..NAMES.len()), 1..60)
    }

    proptest! {
        #[test]
        fn with_rules_the_totals_are_those_of_mapping_every_sample(
            json in named(json_line()),
            statsd in named(statsd_line()),
            // Room for no name, for few names, and for all.
            rule_cache in prop::sample::select(vec![1, 300, 1 << 20]),
        ) {
            agree_with_rules(Protocol::Json, &json, rule_cache);
            agree_with_rules(Protocol::Statsd, &statsd, rule_cache);
        }

        #[test]
        fn a_cached_json_line_keeps_its_meaning(
            lines in prop::collection::vec(json_line(), 1..60),
        ) {
            agree(Protocol::Json, &lines);
        }

        #[test]
        fn a_cached_statsd_line_keeps_its_meaning(
            lines in prop::collection::vec(statsd_line(), 1..60),
        ) {
            agree(Protocol::Statsd, &lines);
            agree_together(Protocol::Statsd, &lines.join("\n"));
        }

        #[test]
        fn a_short_statsd_line_keeps_its_meaning_whatever_is_around_it(
            lines in prop::collection::vec(short_line(), 1..60),
        ) {
            agree_together(Protocol::Statsd, &lines.concat());
        }
    }
}
