//! `tallyd run`: starts the parts of the daemon, downstream first, reloads them on request, and stops
//! them in the order of the data.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use forwarders::delivery::destination::Destination;
use tracing::info;

use crate::config;
use crate::daemon::logging::LogHandle;
use crate::runtime::running_config::RunningConfig;
use engine::sys;

use self::lifecycle::Daemon;
use self::priority::lower_priority;
use self::signals::{SignalRequest, Signals};
use self::start_error::StartError;

mod delivery;
mod lifecycle;
pub mod logging;
mod pipeline;
mod polling;
mod priority;
mod reload;
mod report;
mod service;
mod signals;
mod start_error;

/// Threads for the forwarders and the admin endpoint. With a single one, encoding a large window would
/// delay all other forwarders.
const WORKERS: usize = 2;

/// Runs `tallyd run`. The exit status is 0 after a stop by a signal and 1 if the daemon cannot start.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(config: Option<PathBuf>) -> ExitCode {
    sys::keep_large_allocations_apart();
    let instance = format!("{:016x}", random_id());
    let (file, destinations) = match config::load_and_build(config.as_deref(), &instance) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let log = LogHandle::start(&file.config.log);
    let running_config = RunningConfig::new(config, instance, Arc::new(file));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("forward")
        .on_thread_start(lower_priority)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(running_config, log, destinations));
            // Without waiting: a task that hangs in a system call must not keep the process alive.
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
    running_config: RunningConfig,
    log: LogHandle,
    destinations: Vec<Destination>,
) -> Result<(), StartError> {
    let mut signals = Signals::new()?;
    let file = running_config.current();
    info!(
        version = env!("CARGO_PKG_VERSION"),
        config = if file.is_file { file.source.name() } else { "built-in defaults" },
        interval = %file.config.interval,
        "starting"
    );
    let mut daemon = Daemon::start(Arc::new(running_config), log, destinations).await?;
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
    Ok(())
}

/// A random number that identifies this run. `RandomState` is seeded by the system.
fn random_id() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
