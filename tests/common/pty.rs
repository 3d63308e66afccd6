//! A program in a separate terminal, and the content of its screen.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};
use vt100::Parser;

use crate::PATIENCE;

/// A program and its terminal. Killed when dropped.
pub struct Terminal {
    child: Child,
    master: File,
    /// Kept open, so that its settings can be checked after the program has ended.
    slave: File,
    before: Termios,
    screen: Arc<Mutex<Parser>>,
    _reader: JoinHandle<()>,
}

fn size(columns: u16, lines: u16) -> Winsize {
    Winsize { ws_row: lines, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }
}

impl Terminal {
    /// Starts a program in a new terminal of this size, which becomes its controlling terminal.
    pub fn start(command: &Command, columns: u16, lines: u16) -> Self {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap();
        let slave = OpenOptions::new().read(true).write(true).open(path.to_str().unwrap()).unwrap();
        tcsetwinsize(&slave, size(columns, lines)).unwrap();
        let before = tcgetattr(&slave).unwrap();
        // `setsid` executes the program in its place, so the process ID is that of the program.
        let mut inner = Command::new("setsid");
        inner.arg("--ctty").arg(command.get_program()).args(command.get_args());
        inner.env("TERM", "xterm-256color").env_remove("NO_COLOR");
        for (key, value) in command.get_envs() {
            inner.env(key, value.unwrap());
        }
        inner.stdin(slave.try_clone().unwrap());
        inner.stdout(slave.try_clone().unwrap()).stderr(slave.try_clone().unwrap());
        let child = inner.spawn().unwrap();
        let screen = Arc::new(Mutex::new(Parser::new(lines, columns, 0)));
        let (mut from, shown) = (File::from(master.try_clone().unwrap()), Arc::clone(&screen));
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                shown.lock().unwrap().process(&bytes[..length]);
            }
        });
        Self { child, master: master.into(), slave, before, screen, _reader: reader }
    }

    /// Types keys.
    pub fn keys(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// The text on the screen.
    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// The text on the screen with its escape sequences for style.
    pub fn formatted(&self) -> String {
        String::from_utf8(self.screen.lock().unwrap().screen().contents_formatted()).unwrap()
    }

    /// Changes the size of the terminal.
    pub fn resize(&self, columns: u16, lines: u16) {
        self.screen.lock().unwrap().screen_mut().set_size(lines, columns);
        tcsetwinsize(&self.slave, size(columns, lines)).unwrap();
    }

    /// Waits until the screen contains a text, and returns the screen.
    pub fn wait(&self, text: &str) -> String {
        self.wait_for(text, |screen| screen.contains(text))
    }

    /// Waits until the screen meets a condition, and returns it.
    pub fn wait_for(&self, what: &str, is_met: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.text();
            if is_met(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "timeout waiting for {what}:\n{screen}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// Waits for the end of the program and checks that it restored the terminal.
    pub fn end(mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "timeout waiting for its end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(5));
        };
        let after = tcgetattr(&self.slave).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes, "raw mode");
        assert_eq!(after.input_modes, self.before.input_modes, "raw mode");
        // The reader thread may not have processed its last output yet.
        let is_restored =
            |parser: &Parser| !parser.screen().alternate_screen() && !parser.screen().hide_cursor();
        while !is_restored(&self.screen.lock().unwrap()) {
            assert!(Instant::now() < deadline, "main screen or cursor not restored");
            std::thread::sleep(Duration::from_millis(5));
        }
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Fails if it has already ended.
        let _is_killed = self.child.kill();
        let _reaped = self.child.wait();
    }
}
