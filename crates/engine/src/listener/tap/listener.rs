//! The listener's part of taps: no work without clients, and never waiting for them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::budget::{TimeBudget, Xorshift};
use super::event::{self, RuleTrace};
use super::taps::{TapClient, TapCounts, Taps};
use crate::aggregator::identity::Identifier;
use crate::listener::stats::ListenerCounts;
use crate::listener::{Origin, Protocol};
use crate::protocol::{
    MessageLimits, RejectReason, Rejection, Sample, SignedGauges, TagText, Tags, lines,
};
use crate::rules::{RuleVerdict, Rules};
use std::borrow::Cow;

/// A listener's view of the taps.
#[derive(Debug)]
pub struct ListenerTap {
    taps: Arc<Taps>,
    /// The version of `clients`.
    version: u64,
    clients: Vec<ClientState>,
    /// When the current batch was read, in nanoseconds since the start.
    now_ns: u64,
    budget: TimeBudget,
    random: Xorshift,
}

/// A client, and its counts in the current batch.
#[derive(Debug)]
struct ClientState {
    client: Arc<TapClient>,
    /// Whether it requests every sample. Then samples need not be decoded in order to be counted.
    wants_all: bool,
    /// Whether it requests every sample that a rule drops, and all or none of the other samples. Then
    /// dropped samples need not be decoded in order to be counted.
    wants_all_drops: bool,
    /// Samples to skip before the next one is shown.
    skip: u64,
    /// Whether it does not need the current messages.
    is_skipping: bool,
    counts: TapCounts,
}

/// The settings with which the listener decodes.
#[derive(Debug)]
pub struct DecodeContext<'a> {
    /// The protocol of the clients.
    pub protocol: Protocol,
    /// The meaning of a sign before the value of a gauge.
    pub gauges: SignedGauges,
    /// Merges the agent's tags.
    pub identifier: &'a Identifier,
    /// The limits on a message.
    pub limits: &'a MessageLimits,
    /// The rules for names.
    pub rules: &'a Rules,
}

/// The origin of a message.
#[derive(Clone, Copy)]
struct EventSource<'a> {
    listener: &'a str,
    sender: &'a dyn Origin,
    ip: Option<IpAddr>,
}

/// The bytes that a rejection shows, and the place of the line in them.
#[derive(Clone, Copy)]
struct ShownLine<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Default for ListenerTap {
    /// Creates a view without taps.
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl ListenerTap {
    /// Creates the view of these taps.
    #[must_use]
    pub fn new(taps: Arc<Taps>) -> Self {
        let budget = TimeBudget::new(taps.max_cpu(), 0);
        let seed = Arc::as_ptr(&taps) as usize as u64;
        Self {
            taps,
            version: 0,
            clients: Vec::new(),
            now_ns: 0,
            budget,
            random: Xorshift::new(seed),
        }
    }

    /// Whether a client is connected in this batch.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Whether a client may be connected in the next batch.
    #[inline]
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_on() || self.taps.version() != self.version
    }

    /// Updates the clients; `now_ns` is the time since the process started.
    #[inline]
    pub fn begin_batch(&mut self, now_ns: u64) {
        if self.is_wanted() {
            self.update_clients(now_ns);
        }
    }

    #[cold]
    fn update_clients(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        // The first call after a time without clients earns for all of this time, but the budget
        // keeps no more than its maximum.
        self.budget.earn(now_ns);
        if self.taps.version() != self.version {
            // Read together with the list: a client that connected between two readings would never
            // be noticed.
            let (version, clients) = self.taps.clients();
            self.version = version;
            self.budget.set_percent(self.taps.max_cpu());
            self.clients = clients.into_iter().map(ClientState::new).collect();
        }
    }

    /// Shows the samples of a datagram or line to the clients that request them, and those that a rule
    /// drops to the clients that request rejected messages.
    pub fn show_samples(
        &mut self,
        decoding: &DecodeContext<'_>,
        bytes: &[u8],
        sender: &dyn Origin,
        listener: &str,
    ) {
        // The number of messages in an array is not known before it is decoded.
        let is_array = decoding.protocol.is_array(bytes);
        let messages = if is_array { None } else { Some(lines(bytes).count() as u64) };
        // With rules, neither the name of a sample nor its rejection is known from the bytes.
        let has_rules = !decoding.rules.is_empty();
        if !self.is_needed(messages, has_rules) {
            return;
        }
        if self.budget.is_spent() {
            return self.count_unseen(messages.unwrap_or(1));
        }
        let source = EventSource { listener, sender, ip: sender.ip() };
        let (mut may_want, mut glance_ns) = (false, 0);
        for ClientState { client, is_skipping, .. } in &self.clients {
            let filter = &client.filter;
            glance_ns += filter.glance_ns(bytes.len());
            may_want |= !is_skipping
                && if has_rules {
                    filter.wants_from(source.ip)
                } else {
                    filter.may_want(bytes, source.ip)
                };
        }
        self.budget.spend_ns(glance_ns);
        if !may_want {
            return;
        }
        let began = Instant::now();
        if is_array {
            self.show_decoded(decoding, bytes, ShownLine { bytes, at: 0 }, source);
        } else {
            for range in lines(bytes) {
                let line = ShownLine { bytes, at: range.start };
                self.show_decoded(decoding, &bytes[range], line, source);
            }
        }
        self.budget.spend(began.elapsed().min(plausible(bytes.len())));
    }

    /// Shows the samples of an array or a line.
    fn show_decoded(
        &mut self,
        decoding: &DecodeContext<'_>,
        message: &[u8],
        line: ShownLine<'_>,
        source: EventSource<'_>,
    ) {
        decoding.protocol.decode(message, decoding.limits, &mut |message| {
            // Rejections are shown where they are counted, except those by rules.
            if let Ok(mut sample) = message {
                sample.value = decoding.gauges.apply(sample.value);
                self.show_ruled(decoding, &sample, line, source);
            }
        });
    }

    /// Shows a sample as the rules change it, or its rejection.
    fn show_ruled<'a>(
        &mut self,
        decoding: &DecodeContext<'a>,
        sample: &Sample<'a>,
        line: ShownLine<'_>,
        source: EventSource<'_>,
    ) {
        let DecodeContext { protocol, identifier, rules, .. } = *decoding;
        if rules.is_empty() {
            return self.show_to_matching(identifier, sample, None, source);
        }
        let outcome = rules.apply(protocol, sample.value.kind(), &sample.name);
        match &outcome.verdict {
            RuleVerdict::Change(change) => {
                let mut tags: Tags<'_> = sample.tags.iter().map(TagText::to_tag).collect();
                change.set_tags(&mut tags);
                let name = change.name.as_deref().unwrap_or(&sample.name);
                let value = sample.value.scaled(change.scale);
                let (name, weight) = (Cow::Borrowed(name), sample.weight);
                let changed = Sample { name, value, weight, tags, facts: sample.facts };
                let trace = RuleTrace { sent_name: &sample.name, applied: &outcome.applied };
                let trace = (!trace.applied.is_empty()).then_some(trace);
                self.show_to_matching(identifier, &changed, trace, source);
            }
            RuleVerdict::Reject(rejection) => {
                self.show_dropped(rejection.shifted_by(line.at), line.bytes, source);
            }
        }
    }

    /// Shows a sample that a rule drops to the clients that request rejected messages.
    fn show_dropped(&mut self, rejection: Rejection, bytes: &[u8], source: EventSource<'_>) {
        let Self { clients, random, now_ns, .. } = self;
        let mut event: Option<Bytes> = None;
        for state in clients {
            if state.is_skipping || !state.client.filter.wants_rejected(source.ip) {
                continue;
            }
            state.counts.matched += u64::from(!state.wants_all_drops);
            if state.takes(*now_ns, random) {
                let event = event.get_or_insert_with(|| {
                    event::rejected(rejection, bytes, source.listener, source.sender)
                });
                state.push(event);
            }
        }
    }

    /// Whether any client needs the current messages. `messages` is their number, if known.
    fn is_needed(&mut self, messages: Option<u64>, has_rules: bool) -> bool {
        let mut is_needed = false;
        for state in &mut self.clients {
            state.is_skipping = state.can_skip(self.now_ns, messages, has_rules);
            is_needed |= !state.is_skipping;
        }
        is_needed
    }

    /// Counts messages that are not decoded for lack of time.
    fn count_unseen(&mut self, messages: u64) {
        for state in &mut self.clients {
            let is_counted = state.wants_all || state.wants_all_drops;
            if !state.is_skipping && !is_counted {
                state.counts.unseen += messages;
            }
        }
    }

    /// Shows a sample that was not decoded from bytes to the clients that request it.
    #[cold]
    pub fn show<'a>(
        &mut self,
        identifier: &'a Identifier,
        sample: &Sample<'a>,
        sender: &dyn Origin,
        listener: &str,
    ) {
        if !self.is_needed(Some(1), false) {
            return;
        }
        if self.budget.is_spent() {
            return self.count_unseen(1);
        }
        let began = Instant::now();
        self.show_to_matching(
            identifier,
            sample,
            None,
            EventSource { listener, sender, ip: sender.ip() },
        );
        self.budget.spend(began.elapsed().min(plausible(0)));
    }

    fn show_to_matching<'a>(
        &mut self,
        identifier: &'a Identifier,
        sample: &Sample<'a>,
        rules: Option<RuleTrace<'_>>,
        source: EventSource<'_>,
    ) {
        let kind = sample.value.kind();
        let Self { clients, random, now_ns, .. } = self;
        // Merged and written at most once, for the first client that needs them.
        let mut tags = None;
        let mut event: Option<Bytes> = None;
        for state in clients {
            let ClientState { client, wants_all, is_skipping, counts, .. } = state;
            let filter = &client.filter;
            if *is_skipping {
                continue;
            }
            let wants = *wants_all
                || filter.wants_samples()
                    && filter.wants_from(source.ip)
                    && filter.wants_metric(kind, &sample.name);
            if !wants {
                continue;
            }
            let tags = tags.get_or_insert_with(|| {
                let mut tags = sample.tags.clone();
                identifier.add_agent_tags(&mut tags);
                tags
            });
            if !*wants_all {
                if !filter.wants_tags(tags) {
                    continue;
                }
                counts.matched += 1;
            }
            if state.takes(*now_ns, random) {
                let event = event.get_or_insert_with(|| {
                    event::sample(sample, rules, tags, identifier, source.listener, source.sender)
                });
                state.push(event);
            }
        }
    }

    /// Shows a rejected message to the clients that request it. Its offset refers to `bytes`.
    #[cold]
    pub fn rejected(
        &mut self,
        rejection: Rejection,
        bytes: &[u8],
        sender: &dyn Origin,
        listener: &str,
    ) {
        let ip = sender.ip();
        let Self { clients, random, now_ns, .. } = self;
        let mut event: Option<Bytes> = None;
        for state in clients {
            if !state.client.filter.wants_rejected(ip) {
                continue;
            }
            state.counts.matched += 1;
            if state.takes(*now_ns, random) {
                let event = event
                    .get_or_insert_with(|| event::rejected(rejection, bytes, listener, sender));
                state.push(event);
            }
        }
    }

    /// Publishes the counts of a batch. `counts` are the listener's counts of the same batch.
    #[inline]
    pub fn end_batch(&mut self, counts: &ListenerCounts) {
        if self.is_on() {
            self.account(counts);
        }
    }

    #[cold]
    fn account(&mut self, counts: &ListenerCounts) {
        for state in &mut self.clients {
            let mut tapped = std::mem::take(&mut state.counts);
            tapped.received = counts.received();
            if state.wants_all {
                // Every sample matches, decoded for the tap or not.
                tapped.matched += counts.aggregated;
            }
            if state.wants_all_drops {
                tapped.matched += counts.rejected[RejectReason::Rule as usize];
            }
            state.client.count(&tapped);
        }
    }
}

/// The maximum plausible time for this many bytes. If it took longer, the system ran another thread
/// in between, and that time must not exhaust the budget.
fn plausible(bytes: usize) -> Duration {
    Duration::from_micros(20 + bytes as u64)
}

impl ClientState {
    fn new(client: Arc<TapClient>) -> Self {
        let filter = &client.filter;
        let wants_all = filter.wants_all();
        let wants_all_drops = filter.wants_all_rejected() && (wants_all || !filter.wants_samples());
        let (skip, is_skipping, counts) = (0, false, TapCounts::default());
        Self { client, wants_all, wants_all_drops, skip, is_skipping, counts }
    }

    /// Whether the client does not need these messages, because it requests neither samples nor those
    /// that rules drop, or because none of them would be shown.
    fn can_skip(&mut self, now_ns: u64, messages: Option<u64>, has_rules: bool) -> bool {
        if !self.wants_all {
            let wants_some = self.client.filter.wants_samples() || has_rules;
            return !wants_some || self.wants_all_drops && !self.client.rate.has_room(now_ns);
        }
        if !self.client.rate.has_room(now_ns) {
            return true;
        }
        match messages {
            Some(messages) if messages <= self.skip => {
                self.skip -= messages;
                true
            }
            _ => false,
        }
    }

    /// Whether to show this sample to the client.
    fn takes(&mut self, now_ns: u64, random: &mut Xorshift) -> bool {
        let rate = &self.client.rate;
        if self.skip > 0 {
            // Only samples that could have been shown count as skipped.
            self.skip -= u64::from(rate.has_room(now_ns));
            return false;
        }
        let is_taken = rate.take(now_ns);
        if is_taken {
            self.skip = rate.skip(now_ns, random);
        }
        is_taken
    }

    fn push(&mut self, event: &Bytes) {
        let is_taken = self.client.push(event.clone());
        let count = if is_taken { &mut self.counts.shown } else { &mut self.counts.dropped };
        *count += 1;
    }
}
