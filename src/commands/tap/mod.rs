//! `tallyd tap`: shows what a running daemon's listeners receive.

pub mod options;
mod text;

use parking_lot::Mutex;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use basics::units::Span;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::tcgetwinsize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use self::options::{TapArgs, TapFormat};
use self::text::Lines;
use crate::commands::client::configured;
use crate::commands::client::events::{Event, Events, EventsError};
use crate::commands::client::ledger::{Admin, LedgerError};
use crate::commands::client::numbers::grouped;
use crate::commands::client::terminal;
use crate::config::LoadError;
use engine::listener::tap::event::{self, ShownCounts, ShownStart};
use engine::listener::tap::filter::TapQuery;

/// Wrong usage.
const STATUS_USAGE: u8 = 2;
/// What a shell gives as the status of a program that SIGINT ended.
const STATUS_INTERRUPTED: i32 = 130;
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";
/// Pause between two looks whether a line is written.
const LINE_LOOK: Duration = Duration::from_millis(10);
/// How often it is told again that there are more than are shown, if it has become another number.
const TELL_AGAIN: Duration = Duration::from_secs(10);
/// So many counts in which all were shown make it worth a word.
const CALM_COUNTS: u32 = 3;

/// Why nothing more is shown.
#[derive(Debug, Error)]
enum TapError {
    /// The options do not go together, or one is none.
    #[error("{0}\n\nFor more information, try '--help'.")]
    Usage(String),
    /// There is no configuration that says where the daemon is.
    #[error("{0}\n--admin says where the daemon answers without a configuration")]
    Config(#[source] LoadError),
    /// `admin: { listen: none }`.
    #[error(
        "the configuration has no admin endpoint (`admin: {{listen: none}}`), and samples are shown \
         over it; with `admin: {{listen: 127.0.0.1:9495}}` the daemon has one"
    )]
    NoAdmin,
    /// The URL is none.
    #[error(transparent)]
    Url(#[from] LedgerError),
    /// The daemon shows nothing.
    #[error(transparent)]
    Events(#[from] EventsError),
    /// The connection ended in the middle.
    #[error("the daemon at {0} closed the connection")]
    Closed(String),
    /// What it says is not understood.
    #[error("what answers at {url} is no tallyd of this version: {source}")]
    Answer {
        url: String,
        #[source]
        source: serde_json::Error,
    },
    /// Standard output takes nothing.
    #[error("cannot write: {0}")]
    Output(#[source] io::Error),
    /// The system refuses a thread or a signal handler.
    #[error("cannot start: {0}")]
    System(#[source] io::Error),
}

/// Runs the command: status 0 unless it broke off, or brought fewer than --count; 2 for wrong usage.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &TapArgs) -> ExitCode {
    match run(args) {
        Ok(is_good) => ExitCode::from(u8::from(!is_good)),
        // Whoever reads has seen enough.
        Err(TapError::Output(error)) if error.kind() == ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            let is_usage = matches!(error, TapError::Usage(_));
            if is_usage { ExitCode::from(STATUS_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

/// Whether there were as many as were asked for.
fn run(args: &TapArgs) -> Result<bool, TapError> {
    let parameters = args.parameters();
    // The daemon looks as well; what is wrong here it need not be asked for.
    let _query = TapQuery::parse(parameters.iter().map(|(key, value)| (*key, value.as_str())))
        .map_err(TapError::Usage)?;
    let admin = Admin::new(&find(args)?)?;
    let session = Arc::new(Mutex::new(Session::new(args, admin.url())));
    end_in_time(Arc::clone(&session), args.duration.map(Span::get)).map_err(TapError::System)?;
    let mut events = Events::open(&admin, "/api/v1/tap", &parameters)?;
    while let Some(event) = events.next()? {
        let mut session = session.lock();
        if session.take(&event)? {
            session.farewell();
            return Ok(session.has_enough());
        }
    }
    Err(TapError::Closed(admin.url().to_owned()))
}

/// Where the daemon answers.
fn find(args: &TapArgs) -> Result<String, TapError> {
    if let Some(url) = &args.admin {
        return Ok(url.clone());
    }
    let loaded = configured::load(&args.config).map_err(TapError::Config)?;
    configured::admin(None, loaded.as_ref()).ok_or(TapError::NoAdmin)
}

/// Ends the process with the first SIGINT or SIGTERM, or when the time is over: between two lines, but
/// with a second signal at once.
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
                () = tokio::time::sleep(LINE_LOOK) => {}
            }
        }
    };
    thread::Builder::new().name("end".to_owned()).spawn(move || runtime.block_on(wait))?;
    Ok(())
}

/// What was shown, and how.
struct Session {
    url: String,
    format: TapFormat,
    lines: Lines,
    /// How many more are wanted.
    left: Option<u64>,
    sampling: Sampling,
    what: &'static str,
}

impl Session {
    fn new(args: &TapArgs, url: &str) -> Self {
        let stdout = io::stdout();
        let width = if stdout.is_terminal() { tcgetwinsize(&stdout).ok() } else { None };
        let width = width.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        Self {
            url: url.to_owned(),
            format: args.format,
            lines: Lines::new(terminal::has_colours(&stdout), args.agent_tags, width),
            left: args.count,
            sampling: Sampling::default(),
            what: match (args.rejected, args.with_rejected) {
                (true, _) => "rejected messages",
                (_, true) => "samples and rejected messages",
                _ => "samples",
            },
        }
    }

    /// Shows an event; whether it was the last.
    fn take(&mut self, event: &Event) -> Result<bool, TapError> {
        match event.name.as_str() {
            event::START => {
                let ShownStart { rate, .. } = self.read(&event.data)?;
                if io::stderr().is_terminal() {
                    let (what, url) = (self.what, &self.url);
                    let rate = grouped(rate);
                    tell(&format!("{what} of {url}, up to {rate} a second; Ctrl-C ends it"));
                }
            }
            event::SAMPLE | event::REJECTED => {
                let text = match self.format {
                    TapFormat::Json => format!("{}\n", event.data),
                    TapFormat::Text if event.name == event::SAMPLE => {
                        let sample = self.read(&event.data)?;
                        self.lines.sample(&sample)
                    }
                    TapFormat::Text => self.lines.rejection(&self.read(&event.data)?),
                };
                let mut stdout = io::stdout().lock();
                let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
                written.map_err(TapError::Output)?;
                self.left = self.left.map(|left| left - 1);
                return Ok(self.left == Some(0));
            }
            event::COUNTS => {
                let counts: ShownCounts = self.read(&event.data)?;
                if let Some(words) = self.sampling.learn(&counts, self.what, Instant::now()) {
                    tell(&words);
                }
                return Ok(is_closed(&io::stdout()));
            }
            event::END => {
                tell("the daemon stops");
                return Ok(true);
            }
            // Of a later version.
            _ => {}
        }
        Ok(false)
    }

    fn read<T: DeserializeOwned>(&self, data: &str) -> Result<T, TapError> {
        serde_json::from_str(data)
            .map_err(|source| TapError::Answer { url: self.url.clone(), source })
    }

    fn has_enough(&self) -> bool {
        self.left.is_none_or(|left| left == 0)
    }

    /// Says how many there were, if that was more than were shown.
    fn farewell(&self) {
        let Sampling { shown, matched, unseen, received, .. } = self.sampling;
        if matched > shown || unseen > 0 {
            let (shown, matched) = (grouped(shown), grouped(matched));
            let unseen = match unseen {
                0 => String::new(),
                unseen => format!(", and {} messages were not looked at", grouped(unseen)),
            };
            tell(&format!("shown: {shown} of {matched} {}{unseen}", self.what));
        } else if shown == 0 && received > 0 {
            tell(&format!("none of the {} messages that came is wanted", grouped(received)));
        }
    }

    fn leave(&self, is_good: bool) -> ! {
        self.farewell();
        process::exit(i32::from(!is_good));
    }
}

/// Whether all are shown, and what was said of it.
#[derive(Debug, Default)]
struct Sampling {
    received: u64,
    shown: u64,
    matched: u64,
    unseen: u64,
    /// What share was shown when it was told last, and when.
    told: Option<(f64, Instant)>,
    calm: u32,
}

impl Sampling {
    /// Learns of a second; gives words when there is something new to tell.
    fn learn(&mut self, counts: &ShownCounts, what: &str, now: Instant) -> Option<String> {
        let ShownCounts { seconds, received, matched, shown, unseen, dropped } = *counts;
        self.received += received;
        self.shown += shown;
        self.matched += matched;
        self.unseen += unseen;
        if matched == shown && unseen == 0 {
            self.calm += 1;
            let is_new = self.told.is_some() && self.calm == CALM_COUNTS;
            return is_new.then(|| {
                self.told = None;
                format!("all {what} are shown again")
            });
        }
        self.calm = 0;
        let share = (shown.max(1)) as f64 / (matched + unseen).max(1) as f64;
        let is_new = self.told.is_none_or(|(told, at)| {
            now.duration_since(at) >= TELL_AGAIN && !(told / 2.0..=told * 2.0).contains(&share)
        });
        if !is_new {
            return None;
        }
        self.told = Some((share, now));
        let a_second = |count: u64| grouped((count as f64 / seconds).round() as u64);
        let mut parts = Vec::new();
        if matched > shown {
            let (shown, matched) = (a_second(shown), a_second(matched));
            parts.push(format!("{shown} of {matched} {what} a second are shown"));
        }
        if dropped > 0 {
            let dropped = a_second(dropped);
            parts.push(format!("{dropped} a second are left out because they are read too slowly"));
        }
        if unseen > 0 {
            let (unseen, received) = (a_second(unseen), a_second(received));
            parts.push(format!(
                "{unseen} of {received} messages a second are not looked at (`admin.tap.max_cpu`)"
            ));
        }
        let words = format!("sampling: {}", parts.join("; "));
        Some(words)
    }
}

/// A word to whoever runs the command, which is not what was asked for.
fn tell(words: &str) {
    let mut stderr = io::stderr().lock();
    let words = if terminal::has_colours(&stderr) {
        format!("{YELLOW}{words}{PLAIN}")
    } else {
        words.to_owned()
    };
    let _nobody_looks = writeln!(stderr, "{words}");
}

/// Whether whoever read standard output is gone. Without samples nothing would tell.
fn is_closed(stdout: &io::Stdout) -> bool {
    let mut look = [PollFd::new(stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut look, Some(&at_once)).is_ok() && look[0].revents().contains(PollFlags::ERR)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(matched: u64, shown: u64, unseen: u64) -> ShownCounts {
        ShownCounts { seconds: 1.0, received: matched + unseen, unseen, matched, shown, dropped: 0 }
    }

    #[test]
    fn that_it_samples_is_told_once_and_that_it_stops_when_it_is_calm() {
        let mut sampling = Sampling::default();
        let start = Instant::now();
        let mut told = Vec::new();
        let seconds =
            [(10, 10, 0), (98_000, 1_000, 0), (99_000, 1_000, 0), (5, 5, 0), (2_000, 1_000, 7)];
        let calm = [(5, 5, 0); 5];
        for (number, (matched, shown, unseen)) in seconds.into_iter().chain(calm).enumerate() {
            let now = start + Duration::from_secs(number as u64);
            told.extend(sampling.learn(&second(matched, shown, unseen), "samples", now));
        }
        assert_eq!(
            told,
            ["sampling: 1,000 of 98,000 samples a second are shown", "all samples are shown again"]
        );
        let later = start + Duration::from_secs(60);
        let words = sampling.learn(&second(3_000_000, 1_000, 20), "samples", later).unwrap();
        assert!(words.starts_with("sampling: 1,000 of 3,000,000 "), "{words}");
        assert!(words.contains("; 20 of 3,000,020 messages a second are not looked at"), "{words}");
        let later = later + TELL_AGAIN;
        assert_eq!(sampling.learn(&second(2_900_000, 1_000, 0), "samples", later), None);
        assert!(sampling.learn(&second(2_000, 1_000, 0), "samples", later).is_some());
    }
}
