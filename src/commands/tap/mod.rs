//! `tallyd tap`: shows the samples that a running daemon receives, or the points that leave it.

use parking_lot::Mutex;
use std::io::{self, ErrorKind};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use api::path::AdminPath;
use basics::units::Span;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use self::error::TapError;
use self::options::TapArgs;
use self::session::Session;
use crate::commands::client::configured::{self, AdminEndpoint};
use crate::commands::client::events::EventStream;
use crate::commands::client::ledger::{AdminClient, LedgerError};
use engine::listener::tap::filter::TapQuery;
use engine::series_filter::SeriesFilter;

mod error;
pub mod options;
mod sampling;
mod session;
mod text;

/// Wrong usage.
const STATUS_USAGE: u8 = 2;
/// The status that a shell reports for a program that SIGINT ended.
const STATUS_INTERRUPTED: i32 = 130;
/// Pause between two checks whether a line is being written.
const LINE_PAUSE: Duration = Duration::from_millis(10);

/// Runs the command: status 0 unless the connection broke or fewer than `--count` events came; 2 for
/// wrong usage.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &TapArgs) -> ExitCode {
    match run(args) {
        Ok(is_good) => ExitCode::from(u8::from(!is_good)),
        // The reader has closed the pipe.
        Err(TapError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            let is_usage = matches!(error, TapError::Usage(_));
            if is_usage { ExitCode::from(STATUS_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Shows events until the last one; whether there were as many as `--count` says.
fn run(args: &TapArgs) -> Result<bool, TapError> {
    let parameters = args.parameters();
    // The daemon checks the parameters too, but it need not run for an error in them.
    let checked = match args.out {
        Some(_) => SeriesFilter::new(&args.names, &args.tags, &args.types).map(|_| ()),
        None => TapQuery::parse(parameters.iter().map(|(key, value)| (*key, value.as_str())))
            .map(|_| ()),
    };
    checked.map_err(TapError::Usage)?;
    let admin = AdminClient::new(&find(args)?)?;
    let session = Arc::new(Mutex::new(Session::new(args, admin.url())));
    end_in_time(Arc::clone(&session), args.duration.map(Span::get)).map_err(TapError::System)?;
    let mut events = EventStream::open(&admin, AdminPath::Tap.as_str(), &parameters)?;
    while let Some(event) = events.next()? {
        let mut session = session.lock();
        if session.take(&event)? {
            session.farewell();
            return Ok(session.has_enough());
        }
    }
    Err(TapError::Closed(admin.url().to_owned()))
}

/// The endpoint of the daemon.
fn find(args: &TapArgs) -> Result<AdminEndpoint, TapError> {
    let loaded = match &args.admin {
        Some(_) => None,
        None => configured::load(&args.config).map_err(TapError::Config)?,
    };
    let endpoint = configured::admin(args.admin.as_deref(), &args.access, loaded.as_ref());
    endpoint.map_err(LedgerError::from)?.ok_or(TapError::NoAdmin)
}

/// Ends the process with the first SIGINT or SIGTERM, or when the time is over: between two lines, or
/// at once with a second signal.
fn end_in_time(session: Arc<Mutex<Session>>, time: Option<Duration>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _context = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    let wait = async move {
        let over = async {
            match time {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
        };
        let is_good = tokio::select! {
            _ = interrupt.recv() => true,
            _ = terminate.recv() => true,
            () = over => session.lock().has_enough(),
        };
        loop {
            if let Some(session) = session.try_lock() {
                session.leave(is_good);
            }
            tokio::select! {
                _ = interrupt.recv() => process::exit(STATUS_INTERRUPTED),
                _ = terminate.recv() => process::exit(STATUS_INTERRUPTED),
                () = tokio::time::sleep(LINE_PAUSE) => {}
            }
        }
    };
    thread::Builder::new().name("end".to_owned()).spawn(move || runtime.block_on(wait))?;
    Ok(())
}
