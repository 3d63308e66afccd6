//! `tallyd run`: puts the parts together, downstream first, changes them when it is told to, and
//! takes them apart in the order of the data.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use forwarders::delivery::driver::Destination;
use tracing::info;

use crate::config;
use crate::daemon::logging::Log;
use crate::runtime::configured::Configured;
use engine::sys;

use self::priority::give_way;
use self::running::Daemon;
use self::signals::{SignalRequest, Signals};
use self::start_error::StartError;

mod delivery;
pub mod logging;
mod pipeline;
mod polling;
mod priority;
mod reload;
mod report;
mod running;
mod service;
mod signals;
mod start_error;

/// Threads for the forwarders and the admin endpoint: one that encodes a large window must not keep
/// the others waiting.
const WORKERS: usize = 2;
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
            SignalRequest::Stop(name) => break name,
            SignalRequest::Reload => {
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
    info!(signal = name, "stopping: draining the sockets, flushing the last window, delivering");
    daemon.stop().await;
    Ok(())
}

/// A number that no other run has, as far as chance goes.
fn random_id() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}
