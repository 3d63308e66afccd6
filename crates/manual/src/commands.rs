//! Pages of section 1: one for tallyd, and one for each of its commands.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

const MANUAL: &str = "tallyd";

/// All pages, each with the name of its file.
pub(crate) fn pages(command: &Command) -> Vec<(String, Vec<u8>)> {
    let mut built = command.clone();
    built.build();
    let source = format!("tallyd {}", command.get_version().unwrap_or_default());
    let mut pages = Vec::new();
    add(&built, &source, &mut pages);
    pages
}

fn add(command: &Command, source: &str, pages: &mut Vec<(String, Vec<u8>)>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let is_root = name == command.get_name();
    let man = Man::new(command.clone()).title(name.to_uppercase()).source(source).manual(MANUAL);
    let mut page = Vec::new();
    // Writing to memory does not fail.
    let _written = man
        .render_title(&mut page)
        .and_then(|()| man.render_name_section(&mut page))
        .and_then(|()| man.render_synopsis_section(&mut page))
        .and_then(|()| man.render_description_section(&mut page))
        .and_then(|()| man.render_options_section(&mut page));
    if command.has_subcommands() {
        let _written = man.render_subcommands_section(&mut page);
    }
    let mut end = Roff::new();
    if let Some(help) = command.get_after_help() {
        notes(&help.to_string(), &mut end);
    }
    if is_root {
        about_the_program(&mut end);
    }
    see_also(command, is_root, &mut end);
    page.extend(end.to_roff().into_bytes());
    pages.push((format!("{name}.1"), page));
    for inner in command.get_subcommands() {
        add(inner, source, pages);
    }
}

/// Adds the text after the options of `--help`, with its line breaks.
fn notes(help: &str, roff: &mut Roff) {
    roff.control("SH", ["NOTES"]).control("nf", []);
    help.lines().for_each(|line| {
        roff.text([roman(line)]);
    });
    roff.control("fi", []);
}

/// Adds the sections that apply to all commands.
fn about_the_program(roff: &mut Roff) {
    roff.control("SH", ["EXIT STATUS"]);
    roff.text([
        bold("0"),
        roman(" on success, "),
        bold("1"),
        roman(" on failure, "),
        bold("2"),
        roman(" for a wrong command line."),
    ]);
    roff.control("SH", ["SIGNALS"]);
    roff.text([
        bold("SIGTERM"),
        roman(" and "),
        bold("SIGINT"),
        roman(
            " end the daemon: it reads the remaining input of its sockets, closes the open window, \
             and delivers the remaining points or keeps them on disk. ",
        ),
        bold("SIGHUP"),
        roman(" makes it reload its configuration: see tallyd-reload(1)."),
    ]);
    let described = [
        (
            "ENVIRONMENT",
            &[
                ("STATE_DIRECTORY", "The default of state_dir. systemd sets it."),
                (
                    "LISTEN_FDS, LISTEN_PID",
                    "Sockets that the service manager bound for the listeners: see sd_listen_fds(3).",
                ),
                (
                    "NOTIFY_SOCKET, WATCHDOG_USEC",
                    "The socket on which the daemon reports its state to the service manager, and the \
                     watchdog interval: see sd_notify(3).",
                ),
            ][..],
        ),
        (
            "FILES",
            &[
                ("/etc/tallyd/tallyd.yaml", "The configuration: see tallyd.yaml(5)."),
                (
                    "/var/lib/tallyd",
                    "The spools, where windows wait for unavailable destinations, and the restart state.",
                ),
            ][..],
        ),
    ];
    for (heading, entries) in described {
        roff.control("SH", [heading]);
        for (name, text) in entries {
            roff.control("TP", []).text([bold(*name)]).text([roman(*text)]);
        }
    }
}

fn see_also(command: &Command, is_root: bool, roff: &mut Roff) {
    let mut pages: Vec<String> = command
        .get_subcommands()
        .filter_map(|inner| inner.get_display_name())
        .map(|name| format!("{name}(1)"))
        .collect();
    if !is_root {
        pages.push("tallyd(1)".to_owned());
    }
    pages.push("tallyd.yaml(5)".to_owned());
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman(format!("{}; the documents in /usr/share/doc/tallyd.", pages.join(", ")))]);
}
