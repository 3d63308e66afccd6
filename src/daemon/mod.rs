//! `tallyd run`: puts the parts together, downstream first, changes them when it is told to, and
//! takes them apart in the order of the data.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use forwarders::SendError;
use forwarders::delivery::destination::Destination;
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{info, warn};

use crate::admin::AdminError;
use crate::config;
use crate::daemon::logging::Log;
use crate::runtime::Observed;
use crate::runtime::configured::Configured;
use engine::aggregator::pulse::{Pulse, RuntimeCall};
use engine::listener::bind::BindError;
use engine::listener::passed::PassedError;
use engine::listener::stats::Counts;
use engine::sys;

use self::running::Daemon;

mod delivery;
pub mod logging;
mod pipeline;
mod polling;
mod reload;
mod running;
mod service;

/// Threads for the forwarders and the admin endpoint: one that encodes a large window must not keep
/// the others waiting.
const WORKERS: usize = 2;
/// How much nicer they and the aggregator are than the listeners: on a core that they share, they
/// get a quarter of it and the listener three.
const GIVE_WAY: i32 = 5;
/// How often the log looks for new kernel drops.
const DROPS_LOOK: Duration = Duration::from_secs(1);
/// How often it tells of them at most.
const DROPS_LOG_PAUSE: Duration = Duration::from_secs(60);

/// Why the daemon does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// What the service manager passed does not go with the configuration.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// The admin endpoint cannot be bound.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A destination cannot have what it needs on this host.
    #[error("forwarder {name}: {source}")]
    Forwarder {
        /// What ledger and log call it.
        name: String,
        /// What it needs, and what to change.
        #[source]
        source: SendError,
    },
    /// The system refuses a thread, a signal handler or a descriptor.
    #[error("cannot start: {0}")]
    System(#[from] io::Error),
}

/// Runs the command: status 0 after a stop by signal, 1 if it could not start.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(config: Option<PathBuf>) -> ExitCode {
    sys::keep_large_allocations_apart();
    let instance = format!("{:016x}", random_id());
    let (loaded, destinations) = match config::prepare(config.as_deref(), &instance) {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let log = Log::start(&loaded.config.log);
    let configured = Configured::new(config, instance, Arc::new(loaded));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("forward")
        .on_thread_start(give_way)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(configured, log, destinations));
            // A destination that hangs in a system call must not keep the process.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the daemon with these destinations until SIGTERM or SIGINT.
async fn run(
    configured: Configured,
    log: Log,
    destinations: Vec<Destination>,
) -> Result<(), StartError> {
    let mut signals = Signals::new()?;
    let loaded = configured.running();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        config = if loaded.is_file { loaded.source.name() } else { "built-in defaults" },
        interval = %loaded.config.interval,
        "starting"
    );
    let mut daemon = Daemon::start(Arc::new(configured), log, destinations).await?;
    service::ready();
    let name = loop {
        match signals.next().await {
            Told::Stop(name) => break name,
            Told::Reload => {
                service::reloading();
                // To read the file may take long, where names are looked up.
                let prepared = tokio::select! {
                    prepared = daemon.prepare() => prepared,
                    name = signals.stop() => break name,
                };
                daemon.reload(prepared).await;
                service::ready();
            }
        }
    };
    info!(signal = name, "stopping: reading what the sockets hold, flushing, delivering");
    daemon.stop().await;
    Ok(())
}

/// The signs of life that the service manager wants, if it does.
fn pulse() -> Option<Pulse> {
    let period = service::watchdog_period()?;
    let runtime = Arc::new(RuntimeCall::default());
    let responding = Arc::clone(&runtime);
    tokio::spawn(async move { responding.respond().await });
    Some(Pulse::new(period, runtime, service::feed_watchdog))
}

/// Has the listeners go before this thread where there are too few cores: what they cannot take at
/// once the kernel drops, and everything behind them can wait.
fn give_way() {
    // Without it the daemon works as well.
    let _not_allowed = rustix::process::nice(GIVE_WAY);
}

/// The signals that tell the daemon something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop("SIGTERM"),
            _ = self.interrupt.recv() => Told::Stop("SIGINT"),
            _ = self.hangup.recv() => Told::Reload,
        }
    }

    /// Waits for one that ends the daemon; others wait.
    async fn stop(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// What a signal tells.
enum Told {
    /// To stop; with the signal's name.
    Stop(&'static str),
    /// To read the configuration anew.
    Reload,
}

/// Tells of datagrams that the kernel dropped, with the cure, at most once a minute.
async fn watch_drops(observed: Arc<Observed>) {
    let mut told = 0;
    let mut look = tokio::time::interval(DROPS_LOOK);
    loop {
        look.tick().await;
        let parts = observed.parts.now();
        let drops: u64 = parts.listeners.iter().map(|listener| listener.kernel_drops()).sum();
        if drops > told {
            warn!(
                dropped = drops - told,
                total = drops,
                "the kernel dropped datagrams because a receive buffer was full; a larger one: \
                 sysctl -w net.core.rmem_max=67108864 and `receive_buffer: 64MiB`"
            );
            told = drops;
            tokio::time::sleep(DROPS_LOG_PAUSE).await;
        }
    }
}

/// The last word: where everything went.
fn log_ledger(observed: &Observed) {
    let parts = observed.parts.now();
    let mut counts = Counts::default();
    parts.listeners.iter().for_each(|listener| counts.add(&listener.counts()));
    let kernel_drops: u64 = parts.listeners.iter().map(|listener| listener.kernel_drops()).sum();
    info!(
        received = counts.received(),
        aggregated = counts.aggregated,
        rejected = ?counts.rejected_by_reason(),
        skipped = counts.skipped,
        kernel_drops,
        "ledger of the listeners"
    );
    for forwarder in &parts.forwarders {
        delivery::log_ledger(&forwarder.name, &forwarder.stats);
    }
}

/// A number that no other run has, as far as chance goes.
fn random_id() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
