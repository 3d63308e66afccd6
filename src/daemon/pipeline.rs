//! The threads between the sockets and the destinations' queues.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use tracing::{error, info};

use super::priority::give_way;
use super::start_error::StartError;
use crate::runtime::configured::same_places;
use engine::aggregator::handover::ListenerEnd;
use engine::aggregator::thread::{AggregatorCommand, AggregatorThread, Reconfiguration};
use engine::listener::ListenerConfig;
use engine::listener::bind::{self, BoundListener};
use engine::listener::passed::PassedSockets;
use engine::listener::recorder::{ListenerUpdate, Recorder, RecorderContext};
use engine::listener::stats::ListenerStats;
use engine::listener::tap::taps::Taps;
use engine::listener::udp::UdpBindOptions;
use engine::wake::Waker;
use kamailio::KamailioSection;
use kamailio::intake::{self, IntakeSender};

/// All of them.
pub(super) struct Pipeline {
    aggregator: JoinHandle<()>,
    /// The aggregator ends when this is dropped.
    commands: flume::Sender<AggregatorCommand>,
    listeners: Vec<Listening>,
    intake: Option<Intake>,
    /// Who looks on at what listeners receive.
    taps: Arc<Taps>,
    /// Listeners' threads so far.
    threads: usize,
}

/// A listener of the configuration.
struct Listening {
    config: ListenerConfig,
    /// What was asked of the kernel, where it matters.
    receive_buffer: Option<u64>,
    sockets: Vec<Socket>,
}

/// One of its sockets and the thread that reads it.
struct Socket {
    stats: Arc<ListenerStats>,
    waker: Arc<Waker>,
    changes: flume::Sender<ListenerUpdate>,
    thread: JoinHandle<()>,
}

/// What takes the polls of all Kamailio servers.
struct Intake {
    sender: IntakeSender,
    waker: Arc<Waker>,
    changes: flume::Sender<RecorderContext>,
    thread: JoinHandle<()>,
}

/// The listeners of a configuration, all bound.
pub(super) struct Prepared(Vec<Next>);

/// A listener of the next configuration; the number is that of the one that runs.
struct Next {
    config: ListenerConfig,
    receive_buffer: Option<u64>,
    bound: Bound,
}

enum Bound {
    Already(usize),
    Now(Vec<BoundListener>),
}

impl Pipeline {
    /// Starts the aggregator; no listener yet.
    pub(super) fn start(aggregator: AggregatorThread, taps: Arc<Taps>) -> io::Result<Self> {
        let (commands, received) = flume::unbounded();
        let thread = thread::Builder::new().name("aggregate".to_owned());
        let aggregator = thread.spawn(move || {
            give_way();
            aggregator.run(&received);
        })?;
        let listeners = Vec::new();
        Ok(Self { aggregator, commands, listeners, intake: None, taps, threads: 0 })
    }

    /// Binds what is to be read and is not; nothing that runs is changed. `receive_buffer` is the
    /// general one.
    ///
    /// # Errors
    /// When something cannot be bound, or a socket was passed that nobody wants.
    pub(super) fn prepare(
        &self,
        configs: &[ListenerConfig],
        receive_buffer: u64,
        mut passed: PassedSockets,
    ) -> Result<Prepared, StartError> {
        let old: Vec<_> = self.listeners.iter().map(|listener| listener.config.clone()).collect();
        let places = same_places(&old, configs);
        let stays = |number: usize| places.contains(&Some(number));
        let leaving: Vec<_> = (0..old.len()).filter(|number| !stays(*number)).collect();
        // One that leaves may have the port of one that comes: both have it for a moment.
        self.share_addresses(&leaving, true);
        let options = UdpBindOptions { receive_buffer, takes_over: !leaving.is_empty() };
        let prepared = configs.iter().zip(&places).map(|(config, place)| {
            let bound = match place {
                Some(number) => Bound::Already(*number),
                None => Bound::Now(bind::bind(config, options, &mut passed)?),
            };
            let receive_buffer = config.endpoint.receive_buffer(receive_buffer);
            Ok(Next { config: config.clone(), receive_buffer, bound })
        });
        let prepared: Result<Vec<_>, StartError> = prepared.collect();
        self.share_addresses(&leaving, false);
        passed.finish()?;
        prepared.map(Prepared)
    }

    fn share_addresses(&self, listeners: &[usize], shares: bool) {
        let leaving = listeners.iter().filter_map(|number| self.listeners.get(*number));
        for socket in leaving.flat_map(|listener| &listener.sockets) {
            // Then the other one cannot be bound, and says so.
            let _cannot = socket.stats.share_address(shares);
        }
    }

    /// Has them read; those that run already follow when the aggregator calls. Returns what the next
    /// configuration does not have, and whether all could be started: if not, the system refused a
    /// thread or a descriptor.
    pub(super) async fn apply(
        &mut self,
        Prepared(prepared): Prepared,
        shared: &RecorderContext,
        is_shared_changed: bool,
    ) -> (Vec<Removed>, io::Result<()>) {
        let mut before: Vec<Option<Listening>> =
            std::mem::take(&mut self.listeners).into_iter().map(Some).collect();
        let mut outcome = Ok(());
        for Next { config, receive_buffer, bound } in prepared {
            let sockets = match bound {
                Bound::Already(number) => {
                    let Some(mut listening) = before[number].take() else { continue };
                    if is_shared_changed
                        || listening.config != config
                        || listening.receive_buffer != receive_buffer
                    {
                        listening.follow(&config, receive_buffer, shared);
                    }
                    listening.sockets
                }
                Bound::Now(bound) => {
                    let mut sockets = Vec::new();
                    for bound in bound {
                        match self.listen(bound, shared).await {
                            Ok(socket) => sockets.push(socket),
                            Err(error) => outcome = Err(error),
                        }
                    }
                    sockets
                }
            };
            self.listeners.push(Listening { config, receive_buffer, sockets });
        }
        if is_shared_changed && let Some(intake) = &self.intake {
            // It lives as long as the pipeline.
            let _never_gone = intake.changes.send(shared.clone());
        }
        let removed = before.into_iter().flatten().flat_map(|listening| listening.sockets);
        (removed.map(Removed).collect(), outcome)
    }

    /// The way for what these polls bring, if there are any; its thread starts with the first.
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
        self.intake = Some(Intake { sender: sender.clone(), waker, changes, thread });
        Ok(Some(sender))
    }

    /// Has the aggregator go on with other settings, and call all listeners.
    pub(super) async fn reconfigure(&self, settings: Reconfiguration) {
        let (done, is_done) = flume::bounded(1);
        let command = AggregatorCommand::Reconfigure(Box::new(settings), done);
        if self.commands.send(command).is_err() || is_done.recv_async().await.is_err() {
            error!("the aggregator has ended, which is a bug: restart the daemon");
        }
    }

    /// The ledgers of all sockets.
    pub(super) fn ledgers(&self) -> impl Iterator<Item = Arc<ListenerStats>> {
        let sockets = self.listeners.iter().flat_map(|listening| &listening.sockets);
        sockets.map(|socket| Arc::clone(&socket.stats))
    }

    /// Stops upstream first: each part ends because its input has ended.
    ///
    /// # Panics
    /// If a thread panicked, which is a bug.
    pub(super) fn stop(self) {
        let sockets = self.listeners.into_iter().flat_map(|listening| listening.sockets);
        let sockets = sockets.map(|socket| (socket.waker, socket.thread));
        let intake = self.intake.map(|intake| (intake.waker, intake.thread));
        let (wakers, threads): (Vec<_>, Vec<_>) = sockets.chain(intake).unzip();
        wakers.iter().for_each(|waker| waker.stop());
        let listeners: Vec<_> = threads.into_iter().map(JoinHandle::join).collect();
        drop(self.commands);
        let aggregator = self.aggregator.join();
        assert!(listeners.iter().all(Result::is_ok) && aggregator.is_ok(), "a thread panicked");
    }

    async fn listen(
        &mut self,
        bound: BoundListener,
        shared: &RecorderContext,
    ) -> io::Result<Socket> {
        let name = format!("listen-{}", self.threads);
        self.threads += 1;
        let waker = Arc::new(Waker::new()?);
        let handover = self.add_listener(&name, &waker).await?;
        let (changes, changed) = flume::unbounded();
        let stats = Arc::clone(bound.stats());
        let recorder =
            Recorder::new(shared.clone(), bound.protocol(), Arc::clone(&stats), handover)
                .with_updates(changed)
                .with_taps(Arc::clone(&self.taps));
        info!(listener = stats.label(), buffer = stats.receive_buffer(), "listening");
        let woken = Arc::clone(&waker);
        let thread =
            thread::Builder::new().name(name).spawn(move || bound.run(recorder, &woken))?;
        Ok(Socket { stats, waker, changes, thread })
    }

    async fn add_listener(&self, name: &str, waker: &Arc<Waker>) -> io::Result<ListenerEnd> {
        let gone = || io::Error::other("the aggregator has ended, which is a bug");
        let (end, added) = flume::bounded(1);
        let (name, waker) = (name.to_owned(), Arc::clone(waker));
        self.commands
            .send(AggregatorCommand::AddListener { name, waker, end })
            .map_err(|_| gone())?;
        added.recv_async().await.map_err(|_| gone())
    }
}

impl Listening {
    fn follow(
        &mut self,
        config: &ListenerConfig,
        receive_buffer: Option<u64>,
        shared: &RecorderContext,
    ) {
        let other_buffer = receive_buffer.filter(|_| receive_buffer != self.receive_buffer);
        for Socket { changes, stats, .. } in &self.sockets {
            let change = ListenerUpdate {
                context: shared.clone(),
                endpoint: config.endpoint.clone(),
                receive_buffer: other_buffer,
            };
            if changes.send(change).is_err() {
                error!(listener = stats.label(), "has ended, which is a bug: restart the daemon");
            }
        }
    }
}

/// A socket that is not to be read any more.
pub(super) struct Removed(Socket);

impl Removed {
    /// Reads what the kernel still holds and closes the socket. Waits for that, up to some seconds.
    pub(super) fn end(self) -> Arc<ListenerStats> {
        let Socket { stats, waker, thread, .. } = self.0;
        info!(listener = stats.label(), "removed: reading what the socket holds");
        waker.stop();
        if thread.join().is_err() {
            error!(listener = stats.label(), "had panicked, which is a bug");
        }
        stats
    }
}
