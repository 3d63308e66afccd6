//! A daemon with its own `/etc/hosts`, so that a test decides which addresses a name has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::{Daemon, tallyd_path, write_config};

/// Mounts the file in the first argument over `/etc/hosts`, and becomes the rest of the arguments.
const MOUNT: &str = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";

/// A command that runs with this hosts file; `None`, and a message on standard error, where mount
/// namespaces are not allowed. A change of the file has an effect on the next lookup.
pub fn with_hosts(hosts: &Path, program: &str) -> Option<Command> {
    let command = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", MOUNT, "sh"]);
        command.arg(hosts).arg(program).stdin(Stdio::null());
        command
    };
    if command("true").output().is_ok_and(|output| output.status.success()) {
        return Some(command(program));
    }
    // Not with `eprintln!`, because cargo captures its output when a test passes.
    let skipped = "SKIPPED: needs a mount namespace (unshare --map-root-user --mount)";
    let _written = writeln!(std::io::stderr(), "{skipped}");
    None
}

/// Starts a daemon as [`Daemon::start`] does, with these lines as its hosts file, which is `hosts`
/// in the daemon's folder.
pub fn start(hosts: &str, config: &str) -> Option<Daemon> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("hosts");
    std::fs::write(&file, hosts).unwrap();
    let path = write_config(&folder, config);
    let mut command = with_hosts(&file, tallyd_path())?;
    Some(Daemon::start_command(folder, command.arg("run").arg("--config").arg(path)))
}
