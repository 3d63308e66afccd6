//! Shows the events of a tap.

use std::io::{self, IsTerminal, Write};
use std::process;
use std::time::Instant;

use api::tap::{
    CountsEvent, PayloadEvent, PointEvent, RejectedEvent, SampleEvent, StartEvent, event,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::termios::tcgetwinsize;
use serde::de::DeserializeOwned;

use super::error::TapError;
use super::options::{TapArgs, TapFormat};
use super::sampling::Sampling;
use super::text::TapLines;
use crate::commands::client::events::ServerSentEvent;
use crate::commands::client::numbers::grouped;
use crate::commands::client::terminal;

const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// The output of the command.
pub(super) struct Session {
    url: String,
    format: TapFormat,
    lines: TapLines,
    /// Events still wanted by `--count`.
    left: Option<u64>,
    sampling: Sampling,
    what: &'static str,
}

impl Session {
    pub(super) fn new(args: &TapArgs, url: &str) -> Self {
        let stdout = io::stdout();
        let width = if stdout.is_terminal() { tcgetwinsize(&stdout).ok() } else { None };
        let width = width.map(|size| usize::from(size.ws_col)).filter(|width| *width > 0);
        Self {
            url: url.to_owned(),
            format: args.format,
            lines: TapLines::new(terminal::has_colours(&stdout), args.agent_tags, width),
            left: args.count,
            sampling: Sampling::default(),
            what: match (args.rejected, args.with_rejected) {
                _ if args.bytes => "payloads",
                _ if args.out.is_some() => "points",
                (true, _) => "rejected messages",
                (_, true) => "samples and rejected messages",
                _ => "samples",
            },
        }
    }

    /// Shows an event; whether it is the last.
    ///
    /// # Errors
    /// When the event cannot be read, or standard output cannot be written.
    pub(super) fn take(&mut self, event: &ServerSentEvent) -> Result<bool, TapError> {
        match event.name.as_str() {
            event::START => {
                let StartEvent { rate, .. } = self.read(&event.data)?;
                if io::stderr().is_terminal() {
                    let (what, url) = (self.what, &self.url);
                    let rate = grouped(rate);
                    tell(&format!("{what} of {url}, up to {rate} a second; Ctrl-C ends it"));
                }
            }
            event::SAMPLE | event::REJECTED | event::POINT | event::PAYLOAD => {
                let text = match self.format {
                    TapFormat::Json => format!("{}\n", event.data),
                    TapFormat::Text if event.name == event::SAMPLE => {
                        let sample: SampleEvent<'_> = self.read(&event.data)?;
                        self.lines.sample(&sample)
                    }
                    TapFormat::Text if event.name == event::POINT => {
                        let point: PointEvent<'_> = self.read(&event.data)?;
                        self.lines.point(&point)
                    }
                    TapFormat::Text if event.name == event::PAYLOAD => {
                        let payload: PayloadEvent<'_> = self.read(&event.data)?;
                        self.lines.payload(&payload)
                    }
                    TapFormat::Text => {
                        let rejected: RejectedEvent<'_> = self.read(&event.data)?;
                        self.lines.rejection(&rejected.message)
                    }
                };
                let mut stdout = io::stdout().lock();
                let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
                written.map_err(TapError::Output)?;
                self.left = self.left.map(|left| left - 1);
                return Ok(self.left == Some(0));
            }
            event::COUNTS => {
                let counts: CountsEvent = self.read(&event.data)?;
                if let Some(words) = self.sampling.learn(&counts, self.what, Instant::now()) {
                    tell(&words);
                }
                return Ok(is_closed(&io::stdout()));
            }
            event::END => {
                tell("the daemon is stopping");
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

    /// Whether `--count` events were shown.
    pub(super) fn has_enough(&self) -> bool {
        self.left.is_none_or(|left| left == 0)
    }

    /// Reports how many events matched, if not all were shown.
    pub(super) fn farewell(&self) {
        let Sampling { shown, matched, unseen, received, .. } = self.sampling;
        if matched > shown || unseen > 0 {
            let (shown, matched) = (grouped(shown), grouped(matched));
            let unseen = match unseen {
                0 => String::new(),
                unseen => format!(", and {} messages were not examined", grouped(unseen)),
            };
            tell(&format!("shown: {shown} of {matched} {}{unseen}", self.what));
        } else if shown == 0 && received > 0 {
            tell(&format!("none of the {} received messages matches", grouped(received)));
        }
    }

    /// Reports and ends the process.
    pub(super) fn leave(&self, is_good: bool) -> ! {
        self.farewell();
        process::exit(i32::from(!is_good));
    }
}

/// Writes a notice to standard error.
fn tell(words: &str) {
    let mut stderr = io::stderr().lock();
    let words = if terminal::has_colours(&stderr) {
        format!("{YELLOW}{words}{PLAIN}")
    } else {
        words.to_owned()
    };
    let _closed = writeln!(stderr, "{words}");
}

/// Whether the reader of standard output is gone, which a write would only show with the next sample.
fn is_closed(stdout: &io::Stdout) -> bool {
    let mut look = [PollFd::new(stdout, PollFlags::empty())];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut look, Some(&at_once)).is_ok() && look[0].revents().contains(PollFlags::ERR)
}
