//! The threads of the pipeline: from the sockets through the aggregator to the queues of the
//! destinations.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tracing::{error, info, warn};

use super::priority::lower_priority;
use super::start_error::StartError;
use crate::runtime::current_values::CurrentValues;
use crate::runtime::running_config::match_listeners;
use engine::aggregator::handover::ListenerEnd;
use engine::aggregator::thread::{AggregatorCommand, AggregatorThread, Reconfiguration};
use engine::listener::ListenerConfig;
use engine::listener::bind::{self, BoundListener};
use engine::listener::bind_error::BindError;
use engine::listener::passed::PassedSockets;
use engine::listener::recorder::{ListenerUpdate, Recorder, RecorderContext};
use engine::listener::stats::ListenerStats;
use engine::listener::tap::taps::Taps;
use engine::listener::udp::UdpBindOptions;
use engine::protocol::SignedGauges;
use engine::wake::Waker;
use kamailio::KamailioSection;
use kamailio::intake::{self, IntakeSender};

/// The running threads of the pipeline.
pub(super) struct PipelineThreads {
    aggregator: JoinHandle<()>,
    /// The aggregator ends when this is dropped, after the listeners have ended.
    commands: flume::Sender<AggregatorCommand>,
    listeners: Vec<RunningListener>,
    intake: Option<IntakeThread>,
    /// The open taps, which every listener shows its samples.
    taps: Arc<Taps>,
    /// Number of listener threads started so far, for unique thread names.
    threads: usize,
}

/// A listener of the configuration; it has several sockets if it has several threads.
struct RunningListener {
    config: ListenerConfig,
    /// The receive buffer requested from the kernel, in bytes; `None` for transports without one.
    receive_buffer: Option<u64>,
    sockets: Vec<SocketThread>,
}

/// A socket of a listener and the thread that reads it.
struct SocketThread {
    stats: Arc<ListenerStats>,
    waker: Arc<Waker>,
    changes: flume::Sender<ListenerUpdate>,
    thread: JoinHandle<()>,
}

/// The thread that records the polls of all Kamailio servers.
struct IntakeThread {
    sender: IntakeSender,
    waker: Arc<Waker>,
    changes: flume::Sender<RecorderContext>,
    thread: JoinHandle<()>,
}

/// The listeners of a configuration, all bound.
pub(super) struct StagedListeners(Vec<StagedListener>);

/// A listener of the next configuration.
struct StagedListener {
    config: ListenerConfig,
    receive_buffer: Option<u64>,
    sockets: StagedSockets,
}

/// The sockets of a staged listener.
enum StagedSockets {
    /// Those of the running listener with this index.
    Running(usize),
    /// New ones, which are not read yet.
    New(Vec<BoundListener>),
}

impl PipelineThreads {
    /// Starts the aggregator, without listeners.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start(aggregator: AggregatorThread, taps: Arc<Taps>) -> io::Result<Self> {
        let (commands, received) = flume::unbounded();
        let thread = thread::Builder::new().name("aggregate".to_owned());
        let aggregator = thread.spawn(move || {
            lower_priority();
            aggregator.run(&received);
        })?;
        let listeners = Vec::new();
        Ok(Self { aggregator, commands, listeners, intake: None, taps, threads: 0 })
    }

    /// Lets requests for current values reach the aggregator.
    pub(super) fn let_ask(&self, values: &CurrentValues) {
        values.set_aggregator(&self.commands);
    }

    /// Binds the sockets of new listeners. Running listeners are not changed. `receive_buffer` is the
    /// buffer of listeners that do not configure one.
    ///
    /// # Errors
    /// When a socket cannot be bound, or no listener uses one of the `passed` sockets.
    pub(super) fn stage(
        &self,
        configs: &[ListenerConfig],
        receive_buffer: u64,
        mut passed: PassedSockets,
    ) -> Result<StagedListeners, StartError> {
        let old: Vec<_> = self.listeners.iter().map(|listener| listener.config.clone()).collect();
        let matches = match_listeners(&old, configs);
        let stays = |index: usize| matches.contains(&Some(index));
        let leaving: Vec<_> = (0..old.len()).filter(|index| !stays(*index)).collect();
        // A new listener may have the port of one that will be removed, for example when only the
        // address changes from 127.0.0.1 to 0.0.0.0. Closing the old socket first would lose datagrams
        // and could not be undone if a later step failed, so both share the port for a moment.
        self.share_addresses(&leaving, true);
        let options = UdpBindOptions { receive_buffer, takes_over: !leaving.is_empty() };
        let bound = configs.iter().zip(&matches).map(|(config, same)| match same {
            Some(index) if self.has_sockets(*index) => Ok(StagedSockets::Running(*index)),
            _ => bind::bind(config, options, &mut passed).map(StagedSockets::New),
        });
        let bound = bound.collect();
        // Sharing ends at once: otherwise another process could bind the port as well.
        self.share_addresses(&leaving, false);
        passed.finish()?;
        let sockets = without_missing_addresses(configs, bound)?;
        let staged = configs.iter().zip(sockets).map(|(config, sockets)| {
            let receive_buffer = config.endpoint.receive_buffer(receive_buffer);
            StagedListener { config: config.clone(), receive_buffer, sockets }
        });
        Ok(StagedListeners(staged.collect()))
    }

    /// Whether a running listener has sockets: it has none if this host lacked its address when it was
    /// bound.
    fn has_sockets(&self, index: usize) -> bool {
        self.listeners.get(index).is_some_and(|listener| !listener.sockets.is_empty())
    }

    fn share_addresses(&self, listeners: &[usize], shares: bool) {
        let leaving = listeners.iter().filter_map(|index| self.listeners.get(*index));
        for socket in leaving.flat_map(|listener| &listener.sockets) {
            // After a failure the new socket cannot be bound either, and that error is reported.
            let _is_set = socket.stats.share_address(shares);
        }
    }

    /// Replaces the listeners: starts threads for new sockets, and sends running ones their
    /// changes, which they apply when the aggregator calls them ([`PipelineThreads::reconfigure`]).
    /// Returns the sockets that the next configuration does not contain, and an error if the system
    /// refused a thread or a descriptor. The other listeners run in any case.
    pub(super) async fn apply(
        &mut self,
        StagedListeners(staged): StagedListeners,
        shared: &RecorderContext,
        is_shared_changed: bool,
    ) -> (Vec<RemovedSocket>, io::Result<()>) {
        // Before the first message: its rejection may name the listener that accepts it.
        shared.rejected.set_listeners(self.labels(&staged));
        let mut previous: Vec<Option<RunningListener>> =
            std::mem::take(&mut self.listeners).into_iter().map(Some).collect();
        let mut outcome = Ok(());
        for StagedListener { config, receive_buffer, sockets } in staged {
            let sockets = match sockets {
                StagedSockets::Running(index) => {
                    let Some(listener) = previous[index].take() else { continue };
                    if is_shared_changed
                        || listener.config != config
                        || listener.receive_buffer != receive_buffer
                    {
                        listener.send_change(&config, receive_buffer, shared);
                    }
                    listener.sockets
                }
                StagedSockets::New(bound) => {
                    let mut sockets = Vec::new();
                    for bound in bound {
                        match self.listen(bound, config.gauges, shared).await {
                            Ok(socket) => sockets.push(socket),
                            Err(error) => outcome = Err(error),
                        }
                    }
                    sockets
                }
            };
            self.listeners.push(RunningListener { config, receive_buffer, sockets });
        }
        if is_shared_changed && let Some(intake) = &self.intake {
            // Fails only after the thread has ended, and it lives as long as the pipeline.
            let _is_alive = intake.changes.send(shared.clone());
        }
        let removed = previous.into_iter().flatten().flat_map(|listener| listener.sockets);
        (removed.map(RemovedSocket).collect(), outcome)
    }

    /// The labels of all sockets of staged listeners.
    fn labels(&self, staged: &[StagedListener]) -> Vec<String> {
        let label = |stats: &Arc<ListenerStats>| stats.label().to_owned();
        let labels = staged.iter().flat_map(|listener| match &listener.sockets {
            StagedSockets::Running(index) => {
                let running = self.listeners.get(*index).into_iter();
                running.flat_map(|one| &one.sockets).map(|socket| label(&socket.stats)).collect()
            }
            StagedSockets::New(bound) => {
                bound.iter().map(|bound| label(bound.stats())).collect::<Vec<_>>()
            }
        });
        labels.collect()
    }

    /// Returns the input for the polls of Kamailio, or `None` if no server is polled. The first call
    /// that needs it starts its thread.
    ///
    /// # Errors
    /// When the system refuses a thread or a descriptor.
    pub(super) async fn intake_for(
        &mut self,
        polled: &[KamailioSection],
        shared: &RecorderContext,
    ) -> io::Result<Option<IntakeSender>> {
        if polled.is_empty() {
            return Ok(None);
        }
        if let Some(intake) = &self.intake {
            return Ok(Some(intake.sender.clone()));
        }
        let name = "kamailio";
        let waker = Arc::new(Waker::new()?);
        let handover = self.add_listener(name, &waker).await?;
        let (changes, changed) = flume::unbounded();
        let (sender, intake) = intake::new(shared.clone(), changed, handover, Arc::clone(&waker));
        let intake = intake.with_taps(Arc::clone(&self.taps));
        let woken = Arc::clone(&waker);
        let thread = thread::Builder::new().name(name.to_owned());
        let thread = thread.spawn(move || intake.run(&woken))?;
        self.intake = Some(IntakeThread { sender: sender.clone(), waker, changes, thread });
        Ok(Some(sender))
    }

    /// Applies other settings in the aggregator, which then calls all listeners to apply theirs. Returns
    /// when the aggregator has done so.
    pub(super) async fn reconfigure(&self, settings: Reconfiguration) {
        let (done, is_done) = flume::bounded(1);
        let command = AggregatorCommand::Reconfigure(Box::new(settings), done);
        if self.commands.send(command).is_err() || is_done.recv_async().await.is_err() {
            error!("aggregator thread exited unexpectedly (bug); restart the daemon");
        }
    }

    /// Returns the ledgers of all sockets.
    pub(super) fn ledgers(&self) -> impl Iterator<Item = Arc<ListenerStats>> {
        let sockets = self.listeners.iter().flat_map(|listener| &listener.sockets);
        sockets.map(|socket| Arc::clone(&socket.stats))
    }

    /// Stops the threads in the order of the data, so that nothing is lost: the listeners read their
    /// sockets to the end and hand over their last samples, then the aggregator flushes the open window.
    ///
    /// # Panics
    /// If a thread panicked, which is a bug.
    pub(super) fn stop(self) {
        let sockets = self.listeners.into_iter().flat_map(|listener| listener.sockets);
        let sockets = sockets.map(|socket| (socket.waker, socket.thread));
        let intake = self.intake.map(|intake| (intake.waker, intake.thread));
        let (wakers, threads): (Vec<_>, Vec<_>) = sockets.chain(intake).unzip();
        // All are asked before the first is joined, so that they drain their sockets in parallel.
        wakers.iter().for_each(|waker| waker.stop());
        let listeners: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
        // The aggregator must outlive the listeners, whose last samples it merges.
        drop(self.commands);
        let aggregator = self.aggregator.join();
        assert!(listeners.iter().all(Result::is_ok) && aggregator.is_ok(), "a thread panicked");
    }

    /// Starts the thread that reads a bound socket.
    async fn listen(
        &mut self,
        bound: BoundListener,
        gauges: SignedGauges,
        shared: &RecorderContext,
    ) -> io::Result<SocketThread> {
        let name = format!("listen-{}", self.threads);
        self.threads += 1;
        let waker = Arc::new(Waker::new()?);
        let handover = self.add_listener(&name, &waker).await?;
        let (changes, changed) = flume::unbounded();
        let stats = Arc::clone(bound.stats());
        let recorder =
            Recorder::new(shared.clone(), bound.protocol(), Arc::clone(&stats), handover)
                .with_gauges(gauges)
                .with_updates(changed)
                .with_taps(Arc::clone(&self.taps));
        info!(listener = stats.label(), buffer = stats.receive_buffer(), "listening");
        let woken = Arc::clone(&waker);
        let thread =
            thread::Builder::new().name(name).spawn(move || bound.run(recorder, &woken))?;
        Ok(SocketThread { stats, waker, changes, thread })
    }

    /// Registers a listener with the aggregator and returns the end through which it hands over its
    /// samples.
    async fn add_listener(&self, name: &str, waker: &Arc<Waker>) -> io::Result<ListenerEnd> {
        let exited = || io::Error::other("aggregator thread exited unexpectedly (bug)");
        let (end, added) = flume::bounded(1);
        let (name, waker) = (name.to_owned(), Arc::clone(waker));
        self.commands
            .send(AggregatorCommand::AddListener { name, waker, end })
            .map_err(|_| exited())?;
        added.recv_async().await.map_err(|_| exited())
    }
}

/// Leaves out an address that this host does not have, such as `::1` where IPv6 is off, if a listener
/// at another address of the same name is bound.
fn without_missing_addresses(
    configs: &[ListenerConfig],
    bound: Vec<Result<StagedSockets, BindError>>,
) -> Result<Vec<StagedSockets>, StartError> {
    let is_bound: Vec<bool> = bound.iter().map(Result::is_ok).collect();
    let has_sibling = |config: &ListenerConfig| {
        let mut others = configs.iter().zip(&is_bound);
        others.any(|(other, is_bound)| *is_bound && config.shares_name_with(other))
    };
    let sockets = configs.iter().zip(bound).map(|(config, bound)| match bound {
        Err(error) if error.is_missing_here() && has_sibling(config) => {
            warn!(
                name = config.name,
                listener = %config,
                "left out an address that this host does not have: {error}"
            );
            Ok(StagedSockets::New(Vec::new()))
        }
        bound => bound.map_err(StartError::from),
    });
    sockets.collect()
}

impl RunningListener {
    /// Sends the listener's threads its new settings, which they apply when they are next called.
    fn send_change(
        &self,
        config: &ListenerConfig,
        receive_buffer: Option<u64>,
        shared: &RecorderContext,
    ) {
        let new_buffer = receive_buffer.filter(|_| receive_buffer != self.receive_buffer);
        for SocketThread { changes, stats, .. } in &self.sockets {
            let change = ListenerUpdate {
                context: shared.clone(),
                endpoint: config.endpoint.clone(),
                gauges: config.gauges,
                receive_buffer: new_buffer,
            };
            if changes.send(change).is_err() {
                error!(
                    listener = stats.label(),
                    "listener thread exited unexpectedly (bug); restart the daemon"
                );
            }
        }
    }
}

/// A socket that the configuration no longer contains, and its thread.
pub(super) struct RemovedSocket(SocketThread);

impl RemovedSocket {
    /// Reads the remaining data from the socket and closes it. Blocks until that is done, which takes
    /// up to some seconds. Returns the ledger.
    pub(super) fn end(self) -> Arc<ListenerStats> {
        let SocketThread { stats, waker, thread, .. } = self.0;
        info!(listener = stats.label(), "listener removed; draining its socket");
        waker.stop();
        if thread.join().is_err() {
            error!(listener = stats.label(), "listener thread panicked (bug)");
        }
        stats
    }
}
