//! `tallyd send`: messages to a daemon, looked at before they are sent.
//!
//! UDP gives no answer, so the daemon's own decoder is asked first, and its ledger afterwards.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;

use thiserror::Error;

use self::destination::Destination;
use self::options::SendArgs;
use self::outgoing::Outgoing;
use self::verify::{Sent, Watched};
use self::words::Input;
use crate::commands::client::connect::ConnectError;
use crate::commands::client::endpoint::Endpoint;
use crate::commands::client::ledger::LedgerError;
use crate::commands::client::terminal::{self, ProgressLine};
use crate::commands::diagnosis::Diagnosis;
use crate::config::LoadError;
use basics::escape::escaped;
use engine::listener::{Protocol, Transport};
use engine::protocol::{Limits, Rejection};

mod destination;
pub mod options;
mod outgoing;
mod verify;
mod words;

/// Wrong usage.
const STATUS_USAGE: u8 = 2;
/// Longest message: the most that `max_line` allows.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Longest datagram that a listener takes whole: over UDP what IPv4 carries.
const UDP_BYTES_MAX: usize = 65_507;
const UNIX_DATAGRAM_BYTES_MAX: usize = 256 << 10;
/// Lines that are not sent and told of one by one.
const TOLD_MAX: u64 = 10;
/// Bytes of a message that are shown.
const SHOWN_BYTES: usize = 1000;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Why nothing more is sent.
#[derive(Debug, Error)]
enum SendError {
    /// The words do not go together.
    #[error("{0}\n\nFor more information, try '--help'.")]
    Usage(String),
    /// There is no configuration to look for a listener in.
    #[error("{0}\n--to says where to send without a configuration")]
    Config(#[source] LoadError),
    /// The configuration has no listener for this.
    #[error(
        "{file}: no listener speaks {protocol}; add one to `listeners`, or say with --to where to \
         send"
    )]
    NoListener { file: String, protocol: &'static str },
    /// A listener on any free port, or with a relative path.
    #[error("{0}: its place is only known to the daemon that runs; say with --to where to send")]
    Unknown(String),
    /// `admin: { listen: none }`.
    #[error(
        "the configuration has no admin endpoint (`admin: {{listen: none}}`), so --verify cannot ask"
    )]
    NoAdmin,
    /// The listener there speaks something else.
    #[error("the listener at {endpoint} speaks {spoken}: {}", spoken_hint(.spoken))]
    Protocol { endpoint: Endpoint, spoken: &'static str },
    /// Nothing takes the messages.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The way broke.
    #[error("cannot send to {endpoint}: {source}{}", broken_hint(.endpoint))]
    Broken { endpoint: Endpoint, source: io::Error },
    /// The daemon does not tell.
    #[error("{0}; --admin names another endpoint")]
    Ledger(#[from] LedgerError),
    /// Standard input breaks off.
    #[error("cannot read standard input: {0}")]
    Input(#[source] io::Error),
}

fn spoken_hint(spoken: &str) -> &'static str {
    if spoken == Protocol::Statsd.as_str() { "add --statsd" } else { "leave out --statsd" }
}

fn broken_hint(endpoint: &Endpoint) -> &'static str {
    match endpoint.transport {
        Transport::Udp => "; no daemon listens there any more",
        Transport::UnixDatagram => "",
        Transport::Tcp | Transport::Unix => {
            "; the daemon closed the connection (see its `allow`, `max_connections` and \
             `idle_timeout`)"
        }
    }
}

/// Runs the command: status 0 if all was sent and, if asked, accepted; 1 if not; 2 for wrong usage.
#[must_use]
#[allow(clippy::print_stderr)]
pub fn command(args: &SendArgs) -> ExitCode {
    match run(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            let is_usage = matches!(error, SendError::Usage(_));
            if is_usage { ExitCode::from(STATUS_USAGE) } else { ExitCode::FAILURE }
        }
    }
}

fn run(args: &SendArgs) -> Result<bool, SendError> {
    let input = words::read(args).map_err(SendError::Usage)?;
    let to = destination::find(args)?;
    let mut sending = Sending::start(args, to)?;
    match input {
        Input::Messages(messages) => {
            for message in messages {
                sending.take(&message, None)?;
            }
        }
        Input::Lines => sending.take_lines()?,
    }
    sending.finish()
}

/// A load on its way.
struct Sending<'a> {
    args: &'a SendArgs,
    to: Destination,
    /// None where messages are only printed.
    outgoing: Option<Outgoing>,
    watched: Option<Watched>,
    progress: ProgressLine,
    /// Samples, and messages that will be rejected, in what was sent.
    messages: u64,
    /// Messages or lines that were not sent.
    held_back: u64,
    /// The latest message that was sent, for whoever sent only one.
    latest: Vec<u8>,
}

/// What the daemon will make of a message.
struct Checked {
    samples: u64,
    skipped: u64,
    rejections: Vec<Rejection>,
}

impl<'a> Sending<'a> {
    fn start(args: &'a SendArgs, to: Destination) -> Result<Self, SendError> {
        let watched = args.verify.then(|| Watched::look(&to, args.protocol())).transpose()?;
        let outgoing =
            if args.print { None } else { Some(Outgoing::open(&to.endpoint, args.rate)?) };
        let progress = ProgressLine::new();
        let (messages, held_back, latest) = (0, 0, Vec::new());
        Ok(Self { args, to, outgoing, watched, progress, messages, held_back, latest })
    }

    /// Takes messages from standard input until it ends.
    fn take_lines(&mut self) -> Result<(), SendError> {
        let stdin = io::stdin();
        let size = file_size(&stdin);
        // Not `lock`, which cannot tell whether more is there without waiting for it.
        let file = stdin.as_fd().try_clone_to_owned().map_err(SendError::Input)?;
        let mut reader = BufReader::with_capacity(64 << 10, File::from(file));
        let (mut line, mut number, mut position) = (Vec::new(), 0_u64, 0_u64);
        loop {
            line.clear();
            let mut part = reader.by_ref().take(MESSAGE_BYTES_MAX as u64 + 1);
            let read = part.read_until(b'\n', &mut line).map_err(SendError::Input)?;
            if read == 0 {
                return Ok(());
            }
            number += 1;
            position += read as u64;
            if line.len() > MESSAGE_BYTES_MAX && line.last() != Some(&b'\n') {
                position += reader.skip_until(b'\n').map_err(SendError::Input)? as u64;
            }
            let message = line.trim_ascii();
            if !message.is_empty() {
                self.take(message, Some(number))?;
            }
            // What came slowly is not to wait for what comes next.
            if reader.buffer().is_empty() {
                self.flush()?;
            }
            let messages = self.messages;
            self.progress.show(|| match size {
                Some(size) if size > 0 => {
                    let percent = (position * 100 / size).min(100);
                    format!("sending: {messages} messages, {percent} % of the input")
                }
                _ => format!("sending: {messages} messages"),
            });
        }
    }

    /// Sends a message unless the daemon would reject it; `line` is its number on standard input.
    fn take(&mut self, message: &[u8], line: Option<u64>) -> Result<(), SendError> {
        let checked = check(self.args.protocol(), message, &self.to.limits);
        let too_long = self.too_long(message);
        let is_empty =
            checked.samples == 0 && checked.skipped == 0 && checked.rejections.is_empty();
        let is_wrong = !checked.rejections.is_empty() && !self.args.force;
        if is_wrong || is_empty || too_long.is_some() {
            self.held_back += 1;
            self.tell_why(message, &checked.rejections, too_long, line);
            return Ok(());
        }
        self.messages += checked.samples + checked.rejections.len() as u64;
        let Some(outgoing) = &mut self.outgoing else {
            let mut stdout = io::stdout().lock();
            // Whoever reads may have seen enough.
            let _closed = stdout.write_all(message).and_then(|()| stdout.write_all(b"\n"));
            return Ok(());
        };
        outgoing.send(message).map_err(|source| broken(&self.to, source))?;
        self.latest.clear();
        self.latest.extend_from_slice(&message[..message.len().min(SHOWN_BYTES)]);
        Ok(())
    }

    /// Why no listener takes a message of this length.
    fn too_long(&self, message: &[u8]) -> Option<String> {
        let most = match self.to.endpoint.transport {
            Transport::Udp => UDP_BYTES_MAX,
            Transport::UnixDatagram => UNIX_DATAGRAM_BYTES_MAX,
            Transport::Tcp | Transport::Unix => MESSAGE_BYTES_MAX,
        };
        (message.len() > most).then(|| {
            let transport = self.to.endpoint.transport.as_str();
            format!("too_long: {transport} carries {most} bytes, not {}", message.len())
        })
    }

    #[allow(clippy::print_stderr)]
    fn tell_why(
        &mut self,
        message: &[u8],
        rejections: &[Rejection],
        too_long: Option<String>,
        line: Option<u64>,
    ) {
        if line.is_some() && self.held_back > TOLD_MAX {
            return;
        }
        self.progress.clear();
        let place = line.map_or(String::new(), |line| format!("line {line}: "));
        if let Some(words) = too_long {
            return eprintln!("{place}not sent: {words}");
        }
        if rejections.is_empty() {
            return eprintln!("{place}not sent: there is no message in it");
        }
        for rejection in rejections.iter().take(TOLD_MAX as usize) {
            let diagnosis = Diagnosis::of(self.args.protocol(), message, *rejection);
            eprintln!("{place}not sent: {diagnosis}");
            for shown in diagnosis.excerpt(message) {
                eprintln!("  {shown}");
            }
        }
    }

    fn flush(&mut self) -> Result<(), SendError> {
        let Some(outgoing) = &mut self.outgoing else { return Ok(()) };
        outgoing.flush().map_err(|source| broken(&self.to, source))
    }

    /// Ends the sending, tells what was sent, and asks what became of it; whether all is good.
    #[allow(clippy::print_stderr)]
    fn finish(mut self) -> Result<bool, SendError> {
        if let Some(outgoing) = &mut self.outgoing {
            outgoing.finish().map_err(|source| broken(&self.to, source))?;
        }
        self.progress.clear();
        if self.held_back > TOLD_MAX {
            eprintln!("not sent: {} lines in all; --force sends them all the same", self.held_back);
        }
        let is_whole = self.held_back == 0;
        let Some(outgoing) = &self.outgoing else { return Ok(is_whole) };
        if !self.args.quiet && outgoing.payloads > 0 {
            self.say(&self.what_was_sent(outgoing), "");
        }
        let Some(watched) = self.watched.as_ref().filter(|_| self.messages > 0) else {
            return Ok(is_whole);
        };
        let is_datagram = self.to.endpoint.is_datagram();
        let sent = Sent {
            messages: self.messages,
            datagrams: if is_datagram { outgoing.payloads } else { 0 },
            sender: outgoing.local(),
        };
        let verdict = watched.verdict(&sent, &mut self.progress)?;
        if !verdict.is_good {
            self.say(&verdict.words, RED);
        } else if !self.args.quiet {
            self.say(&verdict.words, GREEN);
        }
        Ok(is_whole && verdict.is_good)
    }

    fn what_was_sent(&self, outgoing: &Outgoing) -> String {
        let Destination { endpoint, .. } = &self.to;
        if outgoing.payloads == 1 {
            return format!("sent to {endpoint}: {}", escaped(&self.latest));
        }
        let messages = if self.messages == 1 { "message" } else { "messages" };
        format!("sent {} {messages}, {} bytes, to {endpoint}", self.messages, outgoing.bytes)
    }

    /// Writes a line to standard output, of which the first word may have a colour.
    fn say(&self, words: &str, colour: &str) {
        let mut stdout = io::stdout().lock();
        let is_coloured = !colour.is_empty() && terminal::has_colours(&stdout);
        let (on, off) = if is_coloured { (colour, PLAIN) } else { ("", "") };
        // Whoever reads may have gone.
        let _closed = writeln!(stdout, "{on}{words}{off}");
    }
}

fn check(protocol: Protocol, message: &[u8], limits: &Limits) -> Checked {
    let mut checked = Checked { samples: 0, skipped: 0, rejections: Vec::new() };
    checked.skipped = protocol.decode(message, limits, &mut |message| match message {
        Ok(_) => checked.samples += 1,
        Err(rejection) => checked.rejections.push(rejection),
    });
    checked
}

fn broken(to: &Destination, source: io::Error) -> SendError {
    SendError::Broken { endpoint: to.endpoint.clone(), source }
}

/// Bytes of a file that is read as standard input; none of a pipe or a terminal.
fn file_size(stdin: &impl AsFd) -> Option<u64> {
    let file = File::from(stdin.as_fd().try_clone_to_owned().ok()?);
    file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}
