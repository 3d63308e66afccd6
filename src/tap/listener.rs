//! What a listener does for those who look on: nothing while there is nobody, and never wait.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::Bytes;

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
    counts: TapCounts,
}

/// How bytes become samples as they are recorded.
#[derive(Debug)]
pub(crate) struct Decoding<'a> {
    pub(crate) protocol: Protocol,
    pub(crate) identifier: &'a Identifier,
    pub(crate) limits: &'a Limits,
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
    pub(crate) fn look(
        &mut self,
        decoding: &Decoding<'_>,
        bytes: &[u8],
        sender: &dyn Origin,
        listener: &str,
    ) {
        if self.clients.iter().all(|one| one.has_enough(self.now_ns)) {
            return;
        }
        if self.credit.is_spent() {
            self.unseen += lines(bytes).count() as u64;
            return;
        }
        let began = Instant::now();
        let source = Source { listener, sender, ip: sender.ip() };
        let wants = |one: &Tapped| one.client.filter.may_want(bytes, source.ip);
        if self.clients.iter().any(wants) {
            decoding.protocol.decode(bytes, decoding.limits, &mut |message| {
                // Rejections are shown where they are counted.
                if let Ok(sample) = message {
                    self.sample(decoding.identifier, sample, source);
                }
            });
        }
        self.credit.spend(began.elapsed().min(plausible(bytes.len())));
    }

    /// Shows a sample that was not decoded from bytes to whoever wants it.
    #[cold]
    pub(crate) fn show<'a>(
        &mut self,
        identifier: &'a Identifier,
        sample: Sample<'a>,
        sender: &dyn Origin,
        listener: &str,
    ) {
        if self.credit.is_spent() {
            self.unseen += 1;
            return;
        }
        let began = Instant::now();
        self.sample(identifier, sample, Source { listener, sender, ip: sender.ip() });
        self.credit.spend(began.elapsed().min(plausible(0)));
    }

    fn sample<'a>(&mut self, identifier: &'a Identifier, sample: Sample<'a>, source: Source<'_>) {
        let kind = sample.value.kind();
        let Self { clients, random, now_ns, .. } = self;
        let mut tags = None;
        let mut event: Option<Bytes> = None;
        for one in clients {
            let Tapped { client, wants_all, counts } = one;
            let filter = &client.filter;
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
            if client.rate.take(*now_ns, random) {
                let event = event.get_or_insert_with(|| {
                    event::sample(&sample, tags, identifier, source.listener, source.sender)
                });
                one.push(event);
            }
        }
    }

    /// Shows a rejected message to whoever wants that; `bytes` are those that its offset is in.
    #[cold]
    pub(crate) fn rejected(
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
            if one.client.rate.take(*now_ns, random) {
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
        Self { client, wants_all, counts: TapCounts::default() }
    }

    /// Whether no sample of this moment could be of use.
    fn has_enough(&self, now_ns: u64) -> bool {
        let Self { client, wants_all, .. } = self;
        !client.filter.wants_samples() || *wants_all && !client.rate.has_room(now_ns)
    }

    fn push(&mut self, event: &Bytes) {
        let is_taken = self.client.push(event.clone());
        let count = if is_taken { &mut self.counts.shown } else { &mut self.counts.dropped };
        *count += 1;
    }
}
