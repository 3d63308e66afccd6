//! The terminal: switched to another screen, drawn on, and restored whatever happens.

use std::io::{self, Stdout, Write};
use std::sync::Once;
use std::thread;
use std::time::{Duration, SystemTime};

use crossterm::cursor::{Hide, Show};
use crossterm::event::{self, Event, KeyEventKind};
use crossterm::execute;
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use ratatui::backend::CrosstermBackend;
use ratatui::layout::Rect;
use ratatui::{Terminal, TerminalOptions, Viewport};
use rustix::process::{Signal, getpid, kill_process};
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::canvas::ScreenStyle;
use super::draw::draw;
use super::error::TopError;
use super::keys::{KeyOutcome, press};
use super::model::Model;
use super::options::TopArgs;
use super::poller::TopPoller;
use super::reply::TopReply;

/// Longest time between two drawings: the ages on the screen grow.
const REDRAW: Duration = Duration::from_secs(1);

/// An event that the screen waits for.
enum ScreenEvent {
    /// The outcome of a poll.
    Polled(Box<Result<TopReply, String>>),
    /// Input from the terminal.
    Terminal(Event),
    /// The terminal cannot be read.
    Failed(io::Error),
    /// A signal to end.
    Stop,
}

/// Shows the daemon until a key or a signal ends the command.
///
/// # Errors
/// When the daemon does not answer the first poll, or the terminal cannot be used.
pub(super) fn run(
    args: &TopArgs,
    poller: TopPoller,
    model: Model,
    has_colours: bool,
) -> Result<(), TopError> {
    let interval = args.interval.get();
    let mut model = model.with_interval(interval);
    // An error of the first poll ends the command: the address may be mistyped.
    let first = poller.poll(&model.request())?;
    model.take(Ok(first), SystemTime::now());

    let (sender, events) = flume::unbounded();
    let (ask, requests) = flume::unbounded();
    watch_signals(sender.clone()).map_err(TopError::Terminal)?;
    let request = model.request();
    let replies = sender.clone();
    spawn("ask", move || {
        poller.run(interval, request, &requests, |reply| {
            replies.send(ScreenEvent::Polled(Box::new(reply))).is_ok()
        });
    })?;
    let mut screen = Screen::take().map_err(TopError::Terminal)?;
    spawn("keys", move || read_events(&sender))?;
    let style = ScreenStyle { has_colours, interval };
    let mut asked = model.request();
    loop {
        screen.draw(&mut model, style).map_err(TopError::Terminal)?;
        let mut outcome = KeyOutcome::Draw;
        match events.recv_timeout(REDRAW) {
            Ok(ScreenEvent::Polled(reply)) => model.take(*reply, SystemTime::now()),
            Ok(ScreenEvent::Terminal(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                outcome = press(&mut model, key);
            }
            Ok(ScreenEvent::Terminal(_)) | Err(flume::RecvTimeoutError::Timeout) => {}
            Ok(ScreenEvent::Failed(error)) => return Err(TopError::Terminal(error)),
            Ok(ScreenEvent::Stop) | Err(flume::RecvTimeoutError::Disconnected) => return Ok(()),
        }
        match outcome {
            KeyOutcome::Quit => return Ok(()),
            KeyOutcome::Suspend => screen.suspend().map_err(TopError::Terminal)?,
            KeyOutcome::Draw => {}
        }
        let request = model.request();
        if request != asked {
            // The polling thread ends with this one, so the channel is open.
            let _open = ask.send(request.clone());
            asked = request;
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), TopError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map(drop).map_err(TopError::Terminal)
}

fn read_events(to: &flume::Sender<ScreenEvent>) {
    loop {
        let next = match event::read() {
            Ok(event) => ScreenEvent::Terminal(event),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => ScreenEvent::Failed(error),
        };
        let is_last = matches!(next, ScreenEvent::Failed(_));
        if to.send(next).is_err() || is_last {
            return;
        }
    }
}

/// Makes SIGTERM, SIGINT and SIGHUP end the command as `q` does.
fn watch_signals(to: flume::Sender<ScreenEvent>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut interrupt, mut hangup) = {
        let _context = runtime.enter();
        (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
            signal(SignalKind::hangup())?,
        )
    };
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hangup.recv() => {}
            }
        });
        let _ends_anyway = to.send(ScreenEvent::Stop);
    })?;
    Ok(())
}

/// The terminal, in raw mode and on its alternate screen. Restored when dropped, and by a panic.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Its columns and lines.
    size: (u16, u16),
}

impl Screen {
    fn take() -> io::Result<Self> {
        restore_after_a_panic();
        enter()?;
        let screen = size().and_then(|size| Ok(Self { terminal: blank(size)?, size }));
        if screen.is_err() {
            leave();
        }
        screen
    }

    fn draw(&mut self, model: &mut Model, style: ScreenStyle) -> io::Result<()> {
        // The event of a change of size may have been missed.
        if size()? != self.size {
            self.begin()?;
        }
        self.terminal.draw(|frame| draw(frame, model, style)).map(drop)
    }

    /// Clears the screen: after a change of size, what is left on it is unknown.
    fn begin(&mut self) -> io::Result<()> {
        self.size = size()?;
        self.terminal = blank(self.size)?;
        Ok(())
    }

    /// Restores the terminal and stops the process, until the shell continues it.
    fn suspend(&mut self) -> io::Result<()> {
        leave();
        kill_process(getpid(), Signal::TSTP)?;
        enter()?;
        self.begin()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// A blank screen. Its size is fixed: a screen that follows the terminal's size would ask for the
/// position of the cursor, and the reply would come among the keys.
fn blank((width, height): (u16, u16)) -> io::Result<Terminal<CrosstermBackend<Stdout>>> {
    execute!(io::stdout(), Clear(ClearType::All))?;
    let viewport = Viewport::Fixed(Rect::new(0, 0, width, height));
    let backend = CrosstermBackend::new(io::stdout());
    Terminal::with_options(backend, TerminalOptions { viewport })
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    let entered = execute!(io::stdout(), EnterAlternateScreen, Hide);
    if entered.is_err() {
        leave();
    }
    entered
}

/// Restores the terminal, if it is still there.
fn leave() {
    let _gone = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _gone = disable_raw_mode();
    let _gone = io::stdout().flush();
}

/// Makes a panic restore the terminal before it prints its message.
fn restore_after_a_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            report(panic);
        }));
    });
}
