//! What a listener does for those who look on: nothing while there is nobody, and never wait.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::budget::{Credit, Random};
use super::event;
use super::taps::{Client, TapCounts, Taps};
use crate::aggregator::identity::Identifier;
use crate::listener::stats::Counts;
use crate::listener::{Origin, Protocol};
use crate::protocol::{Limits, Rejection, Sample, lines};

/// A listener's view of the taps.
#[derive(Debug)]
pub struct ListenerTap {
    taps: Arc<Taps>,
    /// That of `clients`.
    version: u64,
    clients: Vec<Tapped>,
    /// When the current batch was read, in nanoseconds since the start.
    now_ns: u64,
    credit: Credit,
    random: Random,
    /// Messages of this batch that there was no time to look at.
    unseen: u64,
}

/// A client, and what this batch brought it.
#[derive(Debug)]
struct Tapped {
    client: Arc<Client>,
    /// Whether it wants every sample: then those that it does not get need not be decoded to be
    /// counted.
    wants_all: bool,
    /// Samples to pass over before the next that is shown.
    skip: u64,
    /// Whether the messages that are being looked at are of no use to it.
    is_passing: bool,
    counts: TapCounts,
}

/// How bytes become samples as they are recorded.
#[derive(Debug)]
pub struct Decoding<'a> {
    pub protocol: Protocol,
    pub identifier: &'a Identifier,
    pub limits: &'a Limits,
}

/// Where something came from.
#[derive(Clone, Copy)]
struct Source<'a> {
    listener: &'a str,
    sender: &'a dyn Origin,
    ip: Option<IpAddr>,
}

impl Default for ListenerTap {
    /// Nobody will ever look on.
    fn default() -> Self {
        Self::new(Arc::default())
    }
}

impl ListenerTap {
    /// For those who will look on.
    #[must_use]
    pub fn new(taps: Arc<Taps>) -> Self {
        let credit = Credit::new(taps.max_cpu(), 0);
        let seed = Arc::as_ptr(&taps) as usize as u64;
        Self {
            taps,
            version: 0,
            clients: Vec::new(),
            now_ns: 0,
            credit,
            random: Random::new(seed),
            unseen: 0,
        }
    }

    /// Whether somebody looks on at this batch.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Whether somebody will look on at the next batch.
    #[inline]
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_on() || self.taps.version() != self.version
    }

    /// Looks who looks on; `now_ns` is the time since the process started.
    #[inline]
    pub fn begin_batch(&mut self, now_ns: u64) {
        if self.is_wanted() {
            self.meet(now_ns);
        }
    }

    #[cold]
    fn meet(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
        self.credit.earn(now_ns);
        if self.taps.version() != self.version {
            let (version, clients) = self.taps.clients();
            self.version = version;
            self.credit.set_percent(self.taps.max_cpu());
            self.clients = clients.into_iter().map(Tapped::new).collect();
        }
    }

    /// Shows samples of a datagram or a line to whoever wants them.
    pub fn look(
        &mut self,
        decoding: &Decoding<'_>,
        bytes: &[u8],
        sender: &dyn Origin,
        listener: &str,
    ) {
        // How many an array has is not known before it is decoded.
        let is_array = decoding.protocol.is_array(bytes);
        let messages = if is_array { None } else { Some(lines(bytes).count() as u64) };
        if !self.is_of_use(messages) {
            return;
        }
        if self.credit.is_spent() {
            self.unseen += messages.unwrap_or(1);
            return;
        }
        let source = Source { listener, sender, ip: sender.ip() };
        let (mut may_want, mut glance_ns) = (false, 0);
        for Tapped { client, is_passing, .. } in &self.clients {
            glance_ns += client.filter.glance_ns(bytes.len());
            may_want |= !is_passing && client.filter.may_want(bytes, source.ip);
        }
        self.credit.spend_ns(glance_ns);
        if !may_want {
            return;
        }
        let began = Instant::now();
        decoding.protocol.decode(bytes, decoding.limits, &mut |message| {
            // Rejections are shown where they are counted.
            if let Ok(sample) = message {
                self.sample(decoding.identifier, &sample, source);
            }
        });
        self.credit.spend(began.elapsed().min(plausible(bytes.len())));
    }

    /// Whether messages of this moment, if it is known how many, can be of use to anybody.
    fn is_of_use(&mut self, messages: Option<u64>) -> bool {
        let mut is_of_use = false;
        for one in &mut self.clients {
            one.is_passing = one.passes(self.now_ns, messages);
            is_of_use |= !one.is_passing;
        }
        is_of_use
    }

    /// Shows a sample that was not decoded from bytes to whoever wants it.
    #[cold]
    pub fn show<'a>(
        &mut self,
        identifier: &'a Identifier,
        sample: &Sample<'a>,
        sender: &dyn Origin,
        listener: &str,
    ) {
        if !self.is_of_use(Some(1)) {
            return;
        }
        if self.credit.is_spent() {
            self.unseen += 1;
            return;
        }
        let began = Instant::now();
        self.sample(identifier, sample, Source { listener, sender, ip: sender.ip() });
        self.credit.spend(began.elapsed().min(plausible(0)));
    }

    fn sample<'a>(&mut self, identifier: &'a Identifier, sample: &Sample<'a>, source: Source<'_>) {
        let kind = sample.value.kind();
        let Self { clients, random, now_ns, .. } = self;
        let mut tags = None;
        let mut event: Option<Bytes> = None;
        for one in clients {
            let Tapped { client, wants_all, is_passing, counts, .. } = one;
            let filter = &client.filter;
            if *is_passing {
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
            if one.takes(*now_ns, random) {
                let event = event.get_or_insert_with(|| {
                    event::sample(sample, tags, identifier, source.listener, source.sender)
                });
                one.push(event);
            }
        }
    }

    /// Shows a rejected message to whoever wants that; `bytes` are those that its offset is in.
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
        for one in clients {
            if !one.client.filter.wants_rejected(ip) {
                continue;
            }
            one.counts.matched += 1;
            if one.takes(*now_ns, random) {
                let event = event
                    .get_or_insert_with(|| event::rejected(rejection, bytes, listener, sender));
                one.push(event);
            }
        }
    }

    /// Makes the counts of a batch visible; `counts` are the listener's own of it.
    #[inline]
    pub fn end_batch(&mut self, counts: &Counts) {
        if self.is_on() {
            self.account(counts);
        }
    }

    #[cold]
    fn account(&mut self, counts: &Counts) {
        let unseen = std::mem::take(&mut self.unseen);
        for one in &mut self.clients {
            let mut tapped = std::mem::take(&mut one.counts);
            tapped.received = counts.received();
            if one.wants_all {
                tapped.matched += counts.aggregated;
            } else if one.client.filter.wants_samples() {
                tapped.unseen = unseen;
            }
            one.client.count(&tapped);
        }
    }
}

/// The most that looking at so many bytes takes. What took longer was the system, which let others
/// run meanwhile, and a tap need not be blind for that.
fn plausible(bytes: usize) -> Duration {
    Duration::from_micros(20 + bytes as u64)
}

impl Tapped {
    fn new(client: Arc<Client>) -> Self {
        let wants_all = client.filter.wants_all();
        Self { client, wants_all, skip: 0, is_passing: false, counts: TapCounts::default() }
    }

    /// Whether it can do without these messages: because it wants none, or because it would not show
    /// one of them.
    fn passes(&mut self, now_ns: u64, messages: Option<u64>) -> bool {
        if !self.wants_all {
            return !self.client.filter.wants_samples();
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

    /// Whether to show it this one.
    fn takes(&mut self, now_ns: u64, random: &mut Random) -> bool {
        let rate = &self.client.rate;
        if self.skip > 0 {
            // Passed over are those that could be shown: those before there is room are none.
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
