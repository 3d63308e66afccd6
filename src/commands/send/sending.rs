//! Sends messages, except those that the daemon would reject.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;

use super::error::SendCommandError;
use super::options::SendArgs;
use super::socket::MessageSocket;
use super::target::SendTarget;
use super::verify::{SentMessages, Verification};
use crate::commands::client::protocol::other_option;
use crate::commands::client::terminal::{self, ProgressLine};
use basics::escape::escaped;
use engine::listener::diagnosis::Diagnosis;
use engine::listener::{Protocol, Transport};
use engine::protocol::signed::SIGNATURE_BYTES;
use engine::protocol::{MessageLimits, Rejection};

/// Longest message: the most that `max_line` allows.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Longest datagram that a listener takes whole: over UDP, the most that IPv4 carries.
const UDP_BYTES_MAX: usize = 65_507;
const UNIX_DATAGRAM_BYTES_MAX: usize = 256 << 10;
/// Maximum number of unsent lines, and of rejections in a message, that are reported one by one.
const REPORTED_MAX: u64 = 10;
/// Bytes of a message that are shown.
const SHOWN_BYTES: usize = 1000;

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const PLAIN: &str = "\x1b[0m";

/// Messages on their way to a daemon.
pub(super) struct Sending<'a> {
    args: &'a SendArgs,
    to: SendTarget,
    /// `None` before `connect`, and with `--print`.
    socket: Option<MessageSocket>,
    /// `None` before `connect`, and without `--verify`.
    verification: Option<Verification>,
    progress: ProgressLine,
    /// Samples sent, and messages that will be rejected.
    messages: u64,
    /// Messages or lines that were not sent.
    held_back: u64,
    /// The beginning of the latest message sent, which is shown if it is the only one.
    latest: Vec<u8>,
}

/// A message as the daemon will decode it.
struct Checked {
    samples: u64,
    skipped: u64,
    rejections: Vec<Rejection>,
}

impl<'a> Sending<'a> {
    /// Prepares to send to a listener, without a connection to it.
    pub(super) fn new(args: &'a SendArgs, to: SendTarget) -> Self {
        let progress = ProgressLine::new();
        let (socket, verification) = (None, None);
        let (messages, held_back, latest) = (0, 0, Vec::new());
        Self { args, to, socket, verification, progress, messages, held_back, latest }
    }

    /// Opens a socket unless the messages are only printed, and requests the status with `--verify`.
    ///
    /// # Errors
    /// When the listener or the admin endpoint does not answer.
    pub(super) fn connect(&mut self) -> Result<(), SendCommandError> {
        if self.args.verify {
            self.verification = Some(Verification::start(&self.to, self.args.protocol())?);
        }
        if !self.args.print {
            self.socket = Some(MessageSocket::open(&self.to, self.args.rate)?);
        }
        Ok(())
    }

    /// Whether [`Sending::take`] sends this message.
    pub(super) fn accepts(&self, message: &[u8]) -> bool {
        let checked = check(self.args.protocol(), message, &self.to.limits);
        self.may_send(&checked) && self.too_long(message).is_none()
    }

    fn may_send(&self, checked: &Checked) -> bool {
        let is_empty =
            checked.samples == 0 && checked.skipped == 0 && checked.rejections.is_empty();
        !is_empty && (checked.rejections.is_empty() || self.args.force)
    }

    /// Sends the lines of standard input.
    ///
    /// # Errors
    /// When standard input cannot be read, or the daemon is gone.
    pub(super) fn take_lines(&mut self) -> Result<(), SendCommandError> {
        let stdin = io::stdin();
        let size = file_size(&stdin);
        // Not `lock`, which cannot tell without blocking whether more input is available.
        let file = stdin.as_fd().try_clone_to_owned().map_err(SendCommandError::Input)?;
        let mut reader = BufReader::with_capacity(64 << 10, File::from(file));
        let (mut line, mut number, mut position) = (Vec::new(), 0_u64, 0_u64);
        loop {
            line.clear();
            let mut part = reader.by_ref().take(MESSAGE_BYTES_MAX as u64 + 1);
            let read = part.read_until(b'\n', &mut line).map_err(SendCommandError::Input)?;
            if read == 0 {
                return Ok(());
            }
            number += 1;
            position += read as u64;
            if line.len() > MESSAGE_BYTES_MAX && line.last() != Some(&b'\n') {
                position += reader.skip_until(b'\n').map_err(SendCommandError::Input)? as u64;
            }
            let message = line.trim_ascii();
            if !message.is_empty() {
                self.take(message, Some(number))?;
            }
            // Messages that come slowly do not wait for the next one.
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
    ///
    /// # Errors
    /// When the daemon is gone.
    pub(super) fn take(
        &mut self,
        message: &[u8],
        line: Option<u64>,
    ) -> Result<(), SendCommandError> {
        let checked = check(self.args.protocol(), message, &self.to.limits);
        let too_long = self.too_long(message);
        if !self.may_send(&checked) || too_long.is_some() {
            self.held_back += 1;
            self.report_unsent(message, &checked.rejections, too_long, line);
            return Ok(());
        }
        self.messages += checked.samples + checked.rejections.len() as u64;
        let Some(socket) = &mut self.socket else {
            let mut stdout = io::stdout().lock();
            // The reader may have closed the pipe.
            let _closed = stdout.write_all(message).and_then(|()| stdout.write_all(b"\n"));
            return Ok(());
        };
        socket.send(message).map_err(|source| broken(&self.to, source))?;
        self.latest.clear();
        self.latest.extend_from_slice(&message[..message.len().min(SHOWN_BYTES)]);
        Ok(())
    }

    /// Why no listener accepts a message of this length.
    fn too_long(&self, message: &[u8]) -> Option<String> {
        let most = match self.to.endpoint.transport {
            Transport::Udp => UDP_BYTES_MAX,
            Transport::UnixDatagram => UNIX_DATAGRAM_BYTES_MAX,
            Transport::Tcp | Transport::Unix => MESSAGE_BYTES_MAX,
        };
        let most = if self.to.secret.is_some() { most - SIGNATURE_BYTES } else { most };
        (message.len() > most).then(|| {
            let transport = self.to.endpoint.transport.as_str();
            format!("too_long: {transport} carries {most} bytes, not {}", message.len())
        })
    }

    #[allow(clippy::print_stderr)]
    fn report_unsent(
        &mut self,
        message: &[u8],
        rejections: &[Rejection],
        too_long: Option<String>,
        line: Option<u64>,
    ) {
        if line.is_some() && self.held_back > REPORTED_MAX {
            return;
        }
        self.progress.clear();
        let place = line.map_or(String::new(), |line| format!("line {line}: "));
        if let Some(words) = too_long {
            return eprintln!("{place}not sent: {words}");
        }
        if rejections.is_empty() {
            return eprintln!("{place}not sent: it contains no message");
        }
        for rejection in rejections.iter().take(REPORTED_MAX as usize) {
            let diagnosis = Diagnosis::of(self.args.protocol(), message, *rejection, &other_option);
            eprintln!("{place}not sent: {diagnosis}");
            for shown in diagnosis.excerpt(message) {
                eprintln!("  {shown}");
            }
        }
    }

    fn flush(&mut self) -> Result<(), SendCommandError> {
        let Some(socket) = &mut self.socket else { return Ok(()) };
        socket.flush().map_err(|source| broken(&self.to, source))
    }

    /// Completes the sending, prints a summary, and verifies the outcome; whether all is good.
    ///
    /// # Errors
    /// When the daemon is gone.
    #[allow(clippy::print_stderr)]
    pub(super) fn finish(mut self) -> Result<bool, SendCommandError> {
        if let Some(socket) = &mut self.socket {
            socket.finish().map_err(|source| broken(&self.to, source))?;
        }
        self.progress.clear();
        if self.held_back > REPORTED_MAX {
            eprintln!(
                "not sent: {} lines in total; --force also sends rejected ones",
                self.held_back
            );
        }
        let is_whole = self.held_back == 0;
        let Some(socket) = &self.socket else { return Ok(is_whole) };
        if !self.args.quiet && socket.payloads > 0 {
            self.say(&self.summary(socket), "");
        }
        let Some(verification) = self.verification.as_ref().filter(|_| self.messages > 0) else {
            return Ok(is_whole);
        };
        let is_datagram = self.to.endpoint.is_datagram();
        let sent = SentMessages {
            messages: self.messages,
            datagrams: if is_datagram { socket.payloads } else { 0 },
            sender: socket.local(),
        };
        let verdict = verification.verdict(&sent, &mut self.progress)?;
        if !verdict.is_good {
            self.say(&verdict.words, RED);
        } else if !self.args.quiet {
            self.say(&verdict.words, GREEN);
        }
        Ok(is_whole && verdict.is_good)
    }

    fn summary(&self, socket: &MessageSocket) -> String {
        let SendTarget { endpoint, .. } = &self.to;
        if socket.payloads == 1 {
            return format!("sent to {endpoint}: {}", escaped(&self.latest));
        }
        let messages = if self.messages == 1 { "message" } else { "messages" };
        format!("sent {} {messages}, {} bytes, to {endpoint}", self.messages, socket.bytes)
    }

    /// Writes a line to standard output, in a colour if it is a terminal.
    fn say(&self, words: &str, colour: &str) {
        let mut stdout = io::stdout().lock();
        let is_coloured = !colour.is_empty() && terminal::has_colours(&stdout);
        let (on, off) = if is_coloured { (colour, PLAIN) } else { ("", "") };
        // The reader may have closed the pipe.
        let _closed = writeln!(stdout, "{on}{words}{off}");
    }
}

fn check(protocol: Protocol, message: &[u8], limits: &MessageLimits) -> Checked {
    let mut checked = Checked { samples: 0, skipped: 0, rejections: Vec::new() };
    checked.skipped = protocol.decode(message, limits, &mut |message| match message {
        Ok(_) => checked.samples += 1,
        Err(rejection) => checked.rejections.push(rejection),
    });
    checked
}

fn broken(to: &SendTarget, source: io::Error) -> SendCommandError {
    SendCommandError::Broken { endpoint: to.endpoint.clone(), source }
}

/// The size in bytes of a file that is standard input; `None` for a pipe or a terminal.
fn file_size(stdin: &impl AsFd) -> Option<u64> {
    let file = File::from(stdin.as_fd().try_clone_to_owned().ok()?);
    file.metadata().ok().filter(std::fs::Metadata::is_file).map(|metadata| metadata.len())
}
