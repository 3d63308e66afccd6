//! The terminal: taken, drawn on, and given back whatever happens.

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

use super::TopError;
use super::asker::Asker;
use super::draw::{Look, draw};
use super::keys::{Outcome, press};
use super::model::Model;
use super::options::TopArgs;
use super::replies::Reply;

/// At the latest after this long the screen is drawn again: ages on it grow.
const REDRAW: Duration = Duration::from_secs(1);

/// What the screen waits for.
enum Happening {
    Answer(Box<Result<Reply, String>>),
    Event(Event),
    /// Nothing can be read from the terminal any more.
    Deaf(io::Error),
    /// A signal to end.
    Stop,
}

/// Shows the daemon until it is told to quit.
///
/// # Errors
/// When the daemon does not answer the first time, or the terminal cannot be used.
pub(super) fn run(
    args: &TopArgs,
    asker: Asker,
    model: Model,
    has_colours: bool,
) -> Result<(), TopError> {
    let interval = args.interval.get();
    let mut model = model.with_interval(interval);
    // Whoever has mistyped the address wants to know at once.
    let first = asker.ask(&model.question())?;
    model.take(Ok(first), SystemTime::now());

    let (sender, happenings) = flume::unbounded();
    let (ask, questions) = flume::unbounded();
    watch_signals(sender.clone()).map_err(TopError::Terminal)?;
    let question = model.question();
    let answers = sender.clone();
    spawn("ask", move || {
        asker.run(interval, question, &questions, |answer| {
            answers.send(Happening::Answer(Box::new(answer))).is_ok()
        });
    })?;
    let mut screen = Screen::take().map_err(TopError::Terminal)?;
    spawn("keys", move || read_events(&sender))?;
    let look = Look { has_colours, interval };
    let mut asked = model.question();
    loop {
        screen.draw(&mut model, look).map_err(TopError::Terminal)?;
        let mut outcome = Outcome::Draw;
        match happenings.recv_timeout(REDRAW) {
            Ok(Happening::Answer(answer)) => model.take(*answer, SystemTime::now()),
            Ok(Happening::Event(Event::Key(key))) if key.kind != KeyEventKind::Release => {
                outcome = press(&mut model, key);
            }
            Ok(Happening::Event(_)) | Err(flume::RecvTimeoutError::Timeout) => {}
            Ok(Happening::Deaf(error)) => return Err(TopError::Terminal(error)),
            Ok(Happening::Stop) | Err(flume::RecvTimeoutError::Disconnected) => return Ok(()),
        }
        match outcome {
            Outcome::Quit => return Ok(()),
            Outcome::Suspend => screen.suspend().map_err(TopError::Terminal)?,
            Outcome::Draw => {}
        }
        let question = model.question();
        if question != asked {
            // The thread that asks ends with this one.
            let _nobody_asks = ask.send(question.clone());
            asked = question;
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), TopError> {
    let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
    thread.map(drop).map_err(TopError::Terminal)
}

fn read_events(to: &flume::Sender<Happening>) {
    loop {
        let happening = match event::read() {
            Ok(event) => Happening::Event(event),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Happening::Deaf(error),
        };
        let is_last = matches!(happening, Happening::Deaf(_));
        if to.send(happening).is_err() || is_last {
            return;
        }
    }
}

/// SIGTERM, SIGINT and SIGHUP end it as `q` does.
fn watch_signals(to: flume::Sender<Happening>) -> io::Result<()> {
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
        let _ends_anyway = to.send(Happening::Stop);
    })?;
    Ok(())
}

/// The terminal, in raw mode and on its other screen. Given back when dropped, and by a panic.
struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    /// Columns and lines that it was made for.
    size: (u16, u16),
}

impl Screen {
    fn take() -> io::Result<Self> {
        give_back_after_a_panic();
        enter()?;
        let screen = size().and_then(|size| Ok(Self { terminal: blank(size)?, size }));
        if screen.is_err() {
            leave();
        }
        screen
    }

    fn draw(&mut self, model: &mut Model, look: Look) -> io::Result<()> {
        // The word that the size has changed may have come before anybody listened for it.
        if size()? != self.size {
            self.begin()?;
        }
        self.terminal.draw(|frame| draw(frame, model, look)).map(drop)
    }

    /// Forgets what was drawn: after a change of size nobody knows what is left of it.
    fn begin(&mut self) -> io::Result<()> {
        self.size = size()?;
        self.terminal = blank(self.size)?;
        Ok(())
    }

    /// Stops the process, with the terminal as it was, until the shell continues it.
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

/// A screen with nothing on it. It is of a fixed size: one that follows the terminal's would ask for the
/// cursor's place, and the answer comes among the keys.
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

/// As far as it is possible: a terminal that is gone needs nothing.
fn leave() {
    let _gone = execute!(io::stdout(), LeaveAlternateScreen, Show);
    let _gone = disable_raw_mode();
    let _gone = io::stdout().flush();
}

/// So that its message can be read.
fn give_back_after_a_panic() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let tell = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            leave();
            tell(panic);
        }));
    });
}
