//! Prometheus: a page to scrape, and remote write.
//!
//! Windows hold increments, but Prometheus expects running totals: `state` adds up the windows, and
//! `page` renders the state after each of them. A scrape gets the latest complete page, so never a
//! part of a window. A point counts as delivered once it is on the page that is served, whether or
//! not Prometheus scrapes it.

use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use async_trait::async_trait;
use httpserver::{Access, HttpServer};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use self::foreign::{Merge, Relay};
use self::page::Page;
pub(crate) use self::page::PageFormat;
use self::probe::Probe;
use self::server::{PageService, Site};
use self::state::{Limits, State};
use self::timers::TimerSettings;
use crate::delivery::explained::ExplainedHistogram;
use crate::delivery::forwarder::{Forwarder, InvalidState, ReleasedSockets, SavedState, SendError};
use crate::delivery::payload::Batch;
use crate::delivery::stats::reason;
use crate::target_poll::TargetPoller;
use basics::address::ListenAddresses;
use basics::tcp_listeners::{BindFailure, TcpListeners};
use basics::units::Span;
use model::{SeriesNaming, Snapshot};

pub mod config;
mod explained;
mod exposition;
mod foreign;
mod held;
mod messages;
mod names;
mod native;
mod negotiate;
mod ours;
mod page;
mod probe;
mod protobuf;
mod remote_write;
mod sample_lines;
mod section;
mod server;
mod state;
#[cfg(test)]
mod tests;
mod timer_total;
mod timers;

pub use config::{PageListen, PrometheusConfig};
pub use remote_write::RemoteWrite;
pub use timers::{BucketBounds, BucketsConfig, MatchedBounds, TimerForm, TimerForms};

/// The explanation for points that are dropped as `page_full`.
const PAGE_FULL_WORDS: &str = "there are too many series (max_series, max_page)";

/// The settings of the state that the page and remote write each keep.
#[derive(Clone, Debug)]
pub struct StateSettings {
    limits: Limits,
    timers: TimerSettings,
}

impl StateSettings {
    /// Reads the settings from `config`. `expire_after` is the default for the key of that name.
    #[must_use]
    pub fn new(config: &PrometheusConfig, expire_after: Duration) -> Self {
        let limits = Limits {
            expire_after: config.expire_after.map_or(expire_after, Span::get),
            series_max: usize::try_from(config.max_series).unwrap_or(usize::MAX),
            bytes_max: config.max_page.get(),
            expired_max: usize::try_from(config.max_departed).unwrap_or(usize::MAX),
        };
        let timers = TimerSettings {
            forms: config.timers.clone(),
            buckets: config.buckets.clone(),
            native_buckets_max: config.max_buckets,
        };
        Self { limits, timers }
    }

    fn state(self, naming: Option<Arc<dyn SeriesNaming>>) -> State {
        State::new(self.limits, naming).showing_timers(self.timers)
    }
}

/// Serves a page with the running totals of all windows.
pub struct PrometheusPage {
    name: String,
    addresses: ListenAddresses,
    site: Arc<Site>,
    http: HttpServer,
    state: State,
    /// The page of the encoded window, until `send` publishes it.
    next: Option<Page>,
    /// The memory of the previous page, for the next one. Allocating that much in each window would
    /// take as long as writing the page.
    spare: Vec<u8>,
    /// Number of failed fetches of other programs' pages; `None` if none is configured.
    failed_fetches: Option<Arc<AtomicU64>>,
    serving: Option<Serving>,
    /// The sockets of the page that this one replaces.
    inherited: Option<ReleasedSockets>,
}

/// Where the page is served, and to whom.
pub struct ServedPage {
    /// The addresses, which [`Forwarder::start`] binds.
    pub addresses: ListenAddresses,
    /// Who may read it.
    pub access: Access,
}

/// The task that serves the page.
struct Serving {
    task: JoinHandle<()>,
    /// Sends the task the channel into which it puts its sockets when another forwarder needs them.
    heir: oneshot::Sender<oneshot::Sender<TcpListeners>>,
}

impl PrometheusPage {
    /// Creates a page. `naming` provides other names for some of the series.
    ///
    /// # Errors
    /// If an HTTP client for another program's page cannot be created. The text says what to change.
    pub fn new(
        config: &PrometheusConfig,
        name: String,
        served: ServedPage,
        settings: StateSettings,
        naming: Option<Arc<dyn SeriesNaming>>,
    ) -> Result<Self, String> {
        let state = settings.state(naming);
        let ServedPage { addresses, access } = served;
        let http = HttpServer::new(
            name.clone(),
            server::limits(config),
            "prometheus: {hosts: […]}",
            &config.hosts,
            Arc::new(access),
        );
        let failed = Arc::<AtomicU64>::default();
        let fetches = config.merge.is_some() || config.relay.is_some();
        let merge = config.merge.as_ref();
        let merge = merge.map(|merge| Merge::new(merge, &name, Arc::clone(&failed))).transpose()?;
        let relay = config.relay.as_ref();
        let relay = relay.map(|relay| Relay::new(relay, &name, Arc::clone(&failed))).transpose()?;
        let site = Site { merge, relay, ..Site::new(config.path.as_str()) };
        // An empty page, so that scrapes before the first window already get the right format.
        drop(site.current.replace(Page::of(&state, &[], Vec::new())));
        Ok(Self {
            name,
            addresses,
            site: Arc::new(site),
            http,
            state,
            next: None,
            spare: Vec::new(),
            failed_fetches: fetches.then_some(failed),
            serving: None,
            inherited: None,
        })
    }

    /// Adds `/probe`, if it is configured.
    pub(crate) fn probing(
        mut self,
        config: &PrometheusConfig,
        poll: TargetPoller,
        state: StateSettings,
        naming: Option<Arc<dyn SeriesNaming>>,
    ) -> Self {
        if let (Some(config), Some(site)) = (&config.probe, Arc::get_mut(&mut self.site)) {
            let new_state = Box::new(move || state.clone().state(naming.clone()));
            site.probe = Some(Probe::new(&self.name, config, poll, new_state));
        }
        self
    }

    async fn bind(&self) -> Result<TcpListeners, SendError> {
        let sockets = TcpListeners::bind(&self.addresses).await;
        let sockets = sockets.map_err(|BindFailure { address, error }| {
            SendError::operator(format!(
                "cannot listen on {address} for the page: {error}; change `prometheus: {{listen}}`"
            ))
        })?;
        for BindFailure { address, error } in sockets.missing() {
            let forwarder = self.name.as_str();
            warn!(forwarder, %address, %error, "left out an address that this host lacks");
        }
        Ok(sockets)
    }

    /// Renders the page of the encoded window, for benchmarks.
    #[cfg(any(test, feature = "test-util"))]
    pub(crate) fn rendered(&self, format: PageFormat) -> hyper::body::Bytes {
        self.next.as_ref().map(|page| page.plain(format)).unwrap_or_default()
    }
}

#[async_trait]
impl Forwarder for PrometheusPage {
    async fn start(&mut self) -> Result<(), SendError> {
        let sockets = match self.inherited.take() {
            Some(inherited) => inherited.await.ok(),
            None => None,
        };
        let sockets = match sockets {
            Some(sockets) => sockets,
            None => self.bind().await?,
        };
        for address in sockets.local_addresses() {
            info!(forwarder = self.name, %address, path = self.site.path, "Prometheus page");
        }
        let (http, service) = (self.http.clone(), PageService(Arc::clone(&self.site)));
        let (heir, next) = oneshot::channel();
        let task = tokio::spawn(async move { http.serve_until(sockets, service, next).await });
        self.serving = Some(Serving { task, heir });
        Ok(())
    }

    fn release_sockets(&mut self) -> Option<ReleasedSockets> {
        // The task ends by itself after its last reply, which takes `request_timeout` at most.
        let Serving { heir, .. } = self.serving.take()?;
        let (sender, sockets) = oneshot::channel();
        heir.send(sender).ok()?;
        Some(sockets)
    }

    fn inherit_sockets(&mut self, sockets: ReleasedSockets) {
        self.inherited = Some(sockets);
    }

    fn listen(&self) -> Option<&ListenAddresses> {
        Some(&self.addresses)
    }

    fn refused_connections(&self) -> Option<Arc<AtomicU64>> {
        Some(self.http.stats().cut_full())
    }

    fn accept_errors(&self) -> Option<Arc<AtomicU64>> {
        Some(self.http.stats().accept_errors())
    }

    fn refused_access(&self) -> Option<Arc<AtomicU64>> {
        Some(self.http.stats().refused_access())
    }

    fn failed_fetches(&self) -> Option<Arc<AtomicU64>> {
        self.failed_fetches.clone()
    }

    fn failed_probes(&self) -> Option<Arc<AtomicU64>> {
        Some(Arc::clone(&self.site.probe.as_ref()?.counts().failed))
    }

    fn refused_probes(&self) -> Option<Arc<AtomicU64>> {
        Some(Arc::clone(&self.site.probe.as_ref()?.counts().refused))
    }

    fn reduced_histograms(&self) -> Option<Arc<AtomicU64>> {
        Some(self.state.reduced_histograms())
    }

    fn held_totals(&self) -> Option<Arc<AtomicU64>> {
        Some(self.state.held_totals())
    }

    fn wants_idle_windows(&self) -> bool {
        true
    }

    /// Totals depend on all earlier windows, so a window must not be encoded in parts. The same
    /// sequence of windows gives the same pages.
    fn wants_whole_window(&self, _: &Snapshot) -> bool {
        true
    }

    fn encode(&mut self, snapshot: &Snapshot, batch: &mut Batch) {
        let applied = self.state.apply(snapshot);
        // An encoded page that was never sent is obsolete: its successor contains its points too.
        let unsent = self.next.take().map(Page::into_memory);
        let memory = unsent.unwrap_or_else(|| std::mem::take(&mut self.spare));
        self.next = Some(Page::of(&self.state, &snapshot.percentiles, memory));
        // Payload 0 stands for the points on the page and payload 1 for the points that had no
        // room; `send` relies on this order. They have no bytes, because the page is in `next`.
        for points in [applied.shown, applied.refused] {
            batch.push(points, |_| (), |_| ());
        }
    }

    /// No series is pending: once a window is encoded, the state contains it as a whole, and no
    /// other run or forwarder encodes it again.
    fn save_state(&self, _batch: &Batch, max: u64) -> Option<SavedState> {
        Some(self.state.save(|_| false, max))
    }

    /// The page shows the series before the first window: a scrape in between must not find them gone.
    fn restore_state(&mut self, state: &[u8], away: Duration) -> Result<(), InvalidState> {
        self.state.restore(state, away).map_err(|_| InvalidState)?;
        let page = Page::of(&self.state, self.state.percentiles(), Vec::new());
        drop(self.site.current.replace(page));
        Ok(())
    }

    /// Returns the page in text format.
    fn served(&self) -> Option<Vec<u8>> {
        self.next.as_ref().map(|page| page.plain(PageFormat::Text).to_vec())
    }

    fn histograms(&self, window: &Snapshot) -> Vec<ExplainedHistogram> {
        explained::histograms(&self.state, window)
    }

    async fn send(&mut self, batch: &mut Batch) -> Result<(), SendError> {
        // Here and not in `encode`, which uses no clock.
        self.state.held().report(&self.name);
        if let Some(page) = self.next.take() {
            // `None` while a scrape still reads the old page, whose memory is then not reused.
            let before = Arc::into_inner(self.site.current.replace(page));
            self.spare = before.map(Page::into_memory).unwrap_or_default();
        }
        let refused = batch.pending().nth(1).map_or(0, |payload| payload.points);
        batch.delivered(0);
        if refused > 0 {
            batch.refused(1, reason::PAGE_FULL, PAGE_FULL_WORDS);
        } else {
            // Without a refused point the payload is empty and must still be settled.
            batch.delivered(1);
        }
        Ok(())
    }

    /// Checks that the page is being served by tallyd, or that its address is free.
    async fn probe(&mut self) -> Result<(), SendError> {
        let Err(failure) = TcpListeners::bind(&self.addresses).await else { return Ok(()) };
        let is_in_use = failure.error.kind() == ErrorKind::AddrInUse;
        if is_in_use && ours::is_ours(failure.address, &self.http.access()).await {
            return Ok(());
        }
        Err(SendError::operator(failure))
    }
}

impl Drop for PrometheusPage {
    fn drop(&mut self) {
        if let Some(serving) = &self.serving {
            serving.task.abort();
        }
    }
}
