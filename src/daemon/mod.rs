//! `tallyd run`: starts the parts of the daemon, downstream first, reloads them on request, and stops
//! them in the order of the data.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::config::{self, LoadError};
use crate::daemon::logging::{LogHandle, LogOutput};
use crate::process;
use crate::runtime::running_config::RunningConfig;
use engine::sys;

use self::lifecycle::Daemon;
use self::priority::lower_priority;
use self::report::log_warnings;
use self::run_length::{RunLength, for_one_window};
use self::signals::{SignalRequest, Signals};
use self::start_error::StartError;

mod delivery;
pub mod held_signals;
mod lifecycle;
pub mod logging;
mod mark_writer;
mod pipeline;
mod polling;
mod priority;
mod reload;
mod report;
mod restart;
mod restart_store;
mod restored;
mod run_length;
mod service;
mod signals;
mod start_error;

/// Threads for the forwarders and the admin endpoint. With a single one, encoding a large window would
/// delay all other forwarders.
const WORKERS: usize = 2;

/// Runs `tallyd run`. The exit status is 0 after a stop by a signal, or with `--once` after the window, and
/// 1 if the daemon cannot start.
#[must_use]
pub fn command(config: Option<PathBuf>, once: bool) -> ExitCode {
    sys::keep_large_allocations_apart();
    process::raise_open_files_limit();
    // Without a thread there is no way to write that does not risk to wait forever.
    let Ok(output) = LogOutput::start() else { return ExitCode::FAILURE };
    let outcome = run(config, once, &output);
    if let Err(error) = &outcome {
        output.print(&error.to_string());
    }
    output.flush();
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run(config: Option<PathBuf>, once: bool, output: &LogOutput) -> Result<(), StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("forward")
        .on_thread_start(lower_priority)
        .enable_all()
        .build()?;
    let context = runtime.enter();
    let signals = Signals::new()?;
    drop(context);
    let outcome = runtime.block_on(run_until_end(config, once, output, signals));
    // Without waiting: a task that hangs in a system call must not keep the process alive.
    runtime.shutdown_background();
    outcome
}

/// Loads the configuration and runs the daemon until SIGTERM, SIGINT or the end of its run.
async fn run_until_end(
    config: Option<PathBuf>,
    once: bool,
    output: &LogOutput,
    mut signals: Signals,
) -> Result<(), StartError> {
    let instance = format!("{:016x}", random_id());
    let (path, id) = (config.clone(), instance.clone());
    // On another thread: it may take long, for example to resolve host names.
    let loading = tokio::task::spawn_blocking(move || {
        let (mut file, destinations) = config::load_and_build(path.as_deref(), &id)?;
        let (run_length, destinations) = match once {
            true => for_one_window(&mut file, &id)?,
            false => (RunLength::UntilStopped, destinations),
        };
        Ok::<_, LoadError>((file, run_length, destinations))
    });
    let (file, run_length, destinations) = tokio::select! {
        loaded = loading => loaded??,
        name = signals.stop() => {
            output.print(&format!("{name} while the configuration was read: stopped"));
            return Ok(());
        }
    };
    let interval = match run_length {
        RunLength::UntilStopped => file.config.interval,
        RunLength::OneWindow(length) => length,
    };
    let log = LogHandle::start(&file.config.log, output.clone());
    info!(
        version = env!("CARGO_PKG_VERSION"),
        config = if file.is_file { file.source.name() } else { "built-in defaults" },
        %interval,
        "starting"
    );
    if once {
        info!("running for one window, which goes to standard output only");
    }
    log_warnings(&file);
    let limit = file.config.shutdown_timeout.get();
    let running_config = Arc::new(RunningConfig::new(config, instance, Arc::new(file)));
    let starting = Daemon::start(running_config, log, destinations, run_length);
    match start(starting, limit, &mut signals).await? {
        StartOutcome::Started(daemon) => match run_length {
            RunLength::UntilStopped => serve(*daemon, signals).await,
            RunLength::OneWindow(length) => serve_for(*daemon, length.get(), signals).await,
        },
        StartOutcome::StartedToStop(daemon) => daemon.stop().await,
        StartOutcome::GivenUp => {}
    }
    Ok(())
}

/// The outcome of a start during which a signal may arrive.
enum StartOutcome {
    Started(Box<Daemon>),
    /// A signal to stop arrived. The daemon may have received samples already.
    StartedToStop(Box<Daemon>),
    /// A signal to stop arrived, and the start did not end in time.
    GivenUp,
}

/// Starts the daemon. A signal to stop lets the start finish, so that nothing that was received by
/// then is lost, but not for longer than a stop may take.
async fn start(
    start: impl Future<Output = Result<Daemon, StartError>>,
    limit: Duration,
    signals: &mut Signals,
) -> Result<StartOutcome, StartError> {
    let mut start = Box::pin(start);
    let name = tokio::select! {
        biased;
        started = &mut start => return Ok(StartOutcome::Started(Box::new(started?))),
        name = signals.stop() => name,
    };
    info!(signal = name, "stopping when the start has finished");
    match tokio::time::timeout(limit, start).await {
        Ok(started) => Ok(StartOutcome::StartedToStop(Box::new(started?))),
        Err(_) => {
            warn!(?limit, "the start did not finish in time (shutdown_timeout); stopped");
            Ok(StartOutcome::GivenUp)
        }
    }
}

/// Lets the daemon run for this time, or until a signal stops it. Its window ends with it.
async fn serve_for(daemon: Daemon, length: Duration, mut signals: Signals) {
    service::ready();
    tokio::select! {
        () = tokio::time::sleep(length) => info!("stopping: the window has ended"),
        name = signals.stop() => info!(signal = name, "stopping"),
    }
    daemon.stop().await;
}

/// Reloads the daemon on request until a signal stops it.
async fn serve(mut daemon: Daemon, mut signals: Signals) {
    service::ready();
    let name = loop {
        match signals.next().await {
            SignalRequest::Stop(name) => break name,
            SignalRequest::Reload => {
                service::reloading();
                // Staging may take long, for example to resolve host names. A signal to stop must not
                // wait for it, and nothing is changed yet.
                let staged = tokio::select! {
                    staged = daemon.stage_reload() => staged,
                    name = signals.stop() => break name,
                };
                daemon.reload(staged).await;
                service::ready();
            }
        }
    };
    info!(signal = name, "stopping: draining the sockets, flushing the last window, delivering");
    daemon.stop().await;
}

/// A random number that identifies this run. `RandomState` is seeded by the system.
fn random_id() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
