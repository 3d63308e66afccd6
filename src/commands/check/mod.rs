//! `tallyd check`: validates the configuration.

use crate::commands::client::access::AccessArgs;
use crate::commands::client::configured::ConfigArgs;
use clap::Args;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use forwarders::advice::advice;
use forwarders::delivery::destination::Destination;

use self::sockets::SocketFindings;
use crate::commands::client::stdout;
use crate::commands::kamailio as command;
use crate::commands::reload;
use crate::config::{self, ConfigFile, effective};
use kamailio::{KamailioSection, poller};

mod sockets;

/// `tallyd check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Also check whether each destination and each Kamailio server answers
    #[arg(long)]
    pub connect: bool,
    /// Also show the changes that a reload of the running daemon would make
    #[arg(long)]
    pub diff: bool,
    /// Also list every key with its effective value and where it comes from; secrets are masked
    #[arg(long)]
    pub effective: bool,
    /// The daemon's admin endpoint, or unix:PATH for its `admin.socket`, for --diff [default: as
    /// configured, else http://127.0.0.1:9495]
    #[arg(long, value_name = "URL", requires = "diff")]
    pub admin: Option<String>,
    /// How to get access to it.
    #[command(flatten, next_help_heading = "Access to the daemon")]
    pub access: AccessArgs,
}

/// The verdict on a file without mistakes.
const GOOD: &str = "good";

/// Runs the command: status 0 if everything is valid and reachable, 1 if not.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &CheckArgs) -> ExitCode {
    let (loaded, destinations) = match config::load_and_build(args.config.path(), "check") {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    for warning in &loaded.warnings {
        eprintln!("warning: {warning}");
    }
    let verdict = verdict(&loaded, &destinations, &args.access);
    let is_good = verdict == GOOD;
    let mut text = summary(&loaded, &destinations, verdict) + "\n";
    if args.effective {
        text += &format!("\n{}", effective::text(&effective::of(&loaded)));
    }
    if !stdout::print(text.as_bytes()) {
        return ExitCode::FAILURE;
    }
    if args.diff && !diff(args, &loaded) {
        return ExitCode::FAILURE;
    }
    let status = if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if !args.connect {
        return status;
    }
    // With `debug_mode` the daemon sends nothing, but it polls Kamailio.
    let destinations = if loaded.config.debug_mode { Vec::new() } else { destinations };
    match connect(destinations, &loaded.config.kamailio) {
        true => status,
        false => ExitCode::FAILURE,
    }
}

/// Reports obstacles on this host, and returns the verdict on the file.
#[allow(clippy::print_stderr)]
fn verdict(loaded: &ConfigFile, destinations: &[Destination], access: &AccessArgs) -> &'static str {
    let SocketFindings { errors, warnings } = sockets::check(loaded, access);
    warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    errors.iter().for_each(|error| eprintln!("{error}"));
    loaded.obstacles.iter().for_each(|error| eprintln!("{error}"));
    let has_spool = check_spool(loaded, destinations);
    match (errors.is_empty(), loaded.obstacles.is_empty(), has_spool) {
        (true, true, true) => GOOD,
        (true, false, _) => "the daemon would start, but not write to every file",
        (true, true, false) => "the daemon would start, but without its spool",
        (false, _, _) => "the daemon would not start",
    }
}

/// Prints the changes of a reload of the running daemon; whether it would be applied.
#[allow(clippy::print_stderr)]
fn diff(args: &CheckArgs, loaded: &ConfigFile) -> bool {
    let admin = reload::admin_of(args.admin.as_deref(), &args.access, &args.config);
    let forecast = match admin.and_then(|admin| admin.forecast()) {
        Ok(forecast) => forecast,
        Err(error) => {
            eprintln!("{error}");
            return false;
        }
    };
    if !sockets::reads_this_file(&forecast, loaded) {
        let reads = forecast.file.as_deref().map(Path::new);
        let reads = reads.map_or("none".into(), Path::to_string_lossy);
        eprintln!("the running daemon reads another file: {reads}");
        return false;
    }
    match &forecast.error {
        None => stdout::print_line(&reload::words("a reload would change", &forecast.changes)),
        Some(error) => {
            eprintln!("a reload would be refused:\n{error}");
            false
        }
    }
}

fn summary(loaded: &ConfigFile, destinations: &[Destination], verdict: &str) -> String {
    let ConfigFile { config, listeners, source, .. } = loaded;
    let listeners: Vec<String> = listeners.iter().map(ToString::to_string).collect();
    let listens = match listeners.is_empty() {
        true => "no listeners".to_owned(),
        false => format!("listens on {}", listeners.join(", ")),
    };
    let names: Vec<&str> =
        destinations.iter().map(|destination| destination.common.name.as_str()).collect();
    let debug = if config.debug_mode { " (debug_mode: logged, not sent)" } else { "" };
    let spools = destinations.iter().any(Destination::may_spool);
    let spool = match spools && spool_error(loaded).is_none() {
        true => format!("\n  spool in {}", config.spool_folder().display()),
        false => String::new(),
    };
    let polls: String = config
        .kamailio
        .iter()
        .map(|kamailio| {
            let KamailioSection { endpoint, interval, methods, .. } = kamailio;
            format!("\n  polls Kamailio at {endpoint} every {interval}, {} methods", methods.len())
        })
        .collect();
    format!(
        "{}: {verdict}\n  {listens}{polls}\n  every {} to {}{debug}{spool}",
        source.name(),
        config.interval,
        names.join(", ")
    )
}

/// The system's error if no spool can be created in `state_dir`.
fn spool_error(loaded: &ConfigFile) -> Option<io::Error> {
    forwarders::spool::usable(&loaded.config.spool_folder()).err()
}

/// Reports that a destination would run without its spool: as an error if the file names the
/// folder. The default folder often exists only on the host of the service. Whether there is no
/// error.
#[allow(clippy::print_stderr)]
fn check_spool(loaded: &ConfigFile, destinations: &[Destination]) -> bool {
    let error = destinations.iter().any(Destination::may_spool).then(|| spool_error(loaded));
    let Some(error) = error.flatten() else { return true };
    let folder = loaded.config.spool_folder();
    let message = format!(
        "NO SPOOL: cannot write to {}: {error}: undelivered points would wait in memory only, and be \
         lost when the process ends",
        folder.display()
    );
    let advice = "name another `state_dir`, or check as the user of the service, for example with \
                  `sudo -u tallyd`";
    match yaml::key_span(&loaded.source, &[], 0, Some("state_dir")) {
        Some(span) => {
            let error = loaded.source.error_at(span, format!("`state_dir`: {message}"));
            eprintln!("{}", error.with_help(advice));
            false
        }
        None => {
            eprintln!("warning: {message}; {advice}");
            true
        }
    }
}

/// An error, followed by advice if there is any.
fn with_advice(words: &str) -> String {
    match advice(words) {
        Some(advice) => format!("{words}; {advice}"),
        None => words.to_owned(),
    }
}

/// Probes every destination and every Kamailio server, one after the other, so that the output is in
/// the order of the configuration. Returns whether all answer.
#[allow(clippy::print_stderr)]
fn connect(destinations: Vec<Destination>, instances: &[KamailioSection]) -> bool {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start: {error}");
            return false;
        }
    };
    let mut is_good = true;
    for mut destination in destinations {
        let limit = destination.common.delivery.timeout.get();
        let probe = async { tokio::time::timeout(limit, destination.forwarder.probe()).await };
        let name = &destination.common.name;
        match runtime.block_on(probe) {
            Ok(Ok(())) => is_good &= stdout::print_line(&format!("  {name}: answers")),
            // As with a listener: the program that has the address may end before the daemon starts.
            Ok(Err(error)) if error.is_of_own_address() => {
                eprintln!("warning: {name}: {}", with_advice(&error.to_string()));
            }
            Ok(Err(error)) => {
                stdout::print_line(&format!("  {name}: {}", with_advice(&error.to_string())));
                is_good = false;
            }
            Err(_) => {
                let words = format!("no answer within {limit:?} (delivery.timeout)");
                stdout::print_line(&format!("  {name}: {}", with_advice(&words)));
                is_good = false;
            }
        }
    }
    for instance in instances {
        let endpoint = &instance.endpoint;
        match runtime.block_on(poller::probe(instance)) {
            Ok(version) => {
                is_good &= stdout::print_line(&format!("  {endpoint}: answers, {version}"));
            }
            Err(error) => {
                let advice = command::next_step(&error);
                stdout::print_line(&format!("  {endpoint}: {error}{advice}"));
                is_good = false;
            }
        }
    }
    is_good
}
