//! The manual pages and completions that packages have: complete, and readable by those who read
//! them.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::fs;
use std::path::Path;
use std::process::{Command as Process, Stdio};

use clap::{Command, CommandFactory};
use common::{keys, markdown};
use tallyd::cli::Cli;
use tempfile::TempDir;

fn manual() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("made");
    let status = Process::new(env!("CARGO_BIN_EXE_tallyd-manual")).arg(&inner).status().unwrap();
    assert!(status.success());
    fs::rename(&inner, folder.path().join("manual")).unwrap();
    folder
}

fn read(manual: &TempDir, name: &str) -> String {
    fs::read_to_string(manual.path().join("manual").join(name))
        .unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// A page as plain text, without marks, with one space between words.
fn plain(page: &str) -> String {
    let text = page.replace("\\-", "-").replace("\\fB", "").replace("\\fI", "").replace("\\fR", "");
    text.replace("\\*(Aq", "'").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The command and all below it, each with the name of its page.
fn commands(command: &Command, found: &mut Vec<(String, Command)>) {
    found.push((command.get_display_name().unwrap_or("tallyd").to_owned(), command.clone()));
    command.get_subcommands().for_each(|inner| commands(inner, found));
}

fn all_commands() -> Vec<(String, Command)> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut found = Vec::new();
    commands(&command, &mut found);
    found
}

#[test]
fn every_command_has_a_page_with_its_options() {
    let manual = manual();
    let commands = all_commands();
    assert!(commands.len() > 5);
    for (name, command) in &commands {
        let page = plain(&read(&manual, &format!("{name}.1")));
        assert!(page.contains(&format!(".TH {} 1", name.to_uppercase())), "{page}");
        assert!(page.contains(&command.get_about().unwrap().to_string()), "{page}");
        for long in command.get_arguments().filter_map(|argument| argument.get_long()) {
            assert!(page.contains(&format!("--{long}")), "{name}.1 does not tell of --{long}");
        }
        for inner in command.get_subcommands() {
            let inner = inner.get_display_name().unwrap();
            assert!(page.contains(&format!("{inner}(1)")), "{name}.1 does not lead to {inner}");
        }
    }
}

#[test]
fn the_reference_has_a_section_for_every_command() {
    let reference = markdown::document("docs/commands.md");
    for command in Cli::command().get_subcommands() {
        let heading = format!("## `tallyd {}`", command.get_name());
        let is_found = reference.text.lines().any(|line| line == heading);
        assert!(is_found, "docs/commands.md lacks `{heading}`");
    }
}

#[test]
fn the_page_of_the_configuration_has_every_key_with_its_default() {
    let page = plain(&read(&manual(), "tallyd.yaml.5"));
    let shown = keys::shown();
    for path in keys::accepted() {
        let key = keys::documented_as(&path);
        let mut entry = format!(".TP {key} ");
        if let Some((keys::Line::Default, value)) = shown.get(&path)
            && !value.is_empty()
        {
            entry.push_str(&format!("(default: {value}) "));
        }
        assert!(page.contains(&entry), "tallyd.yaml.5 does not have `{entry}`");
    }
    for section in
        ["NAME", "DESCRIPTION", "RULES", "INPUT", "AGGREGATION", "OUTPUT", "\"SEE ALSO\""]
    {
        assert!(page.contains(&format!(".SH {section} ")), "{section}");
    }
}

#[test]
fn groff_renders_every_page_without_a_warning() {
    if Process::new("groff").arg("--version").stdout(Stdio::null()).status().is_err() {
        eprintln!("SKIPPED: needs groff");
        return;
    }
    let manual = manual();
    let mut looked_at = 0;
    for entry in fs::read_dir(manual.path().join("manual")).unwrap() {
        let path = entry.unwrap().path();
        if !path.extension().is_some_and(|extension| extension == "1" || extension == "5") {
            continue;
        }
        let output = Process::new("groff")
            .args(["-Kutf8", "-man", "-Tutf8", "-ww", "-z"])
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", path.display());
        looked_at += 1;
    }
    assert_eq!(looked_at, all_commands().len() + 1);
}

#[test]
fn completions_know_every_command_and_option() {
    let manual = manual();
    for name in ["tallyd.bash", "_tallyd", "tallyd.fish"] {
        let script = read(&manual, name);
        for (_, command) in all_commands() {
            assert!(script.contains(command.get_name()), "{name}: {}", command.get_name());
            for long in command.get_arguments().filter_map(|argument| argument.get_long()) {
                // fish writes options without their dashes.
                assert!(script.contains(long), "{name}: --{long}");
            }
        }
    }
}

/// What bash offers behind these words.
fn completed(script: &Path, words: &[&str]) -> Vec<String> {
    let ask = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
               _tallyd tallyd \"${@: -1}\" \"${@: -2:1}\"; printf '%s\\n' \"${COMPREPLY[@]}\"";
    let output =
        Process::new("bash").args(["-c", ask, "bash"]).arg(script).args(words).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_and_options() {
    let manual = manual();
    let script = manual.path().join("manual/tallyd.bash");
    assert_eq!(completed(&script, &["tallyd", "ch"]), ["check"]);
    assert_eq!(completed(&script, &["tallyd", "check", "--conn"]), ["--connect"]);
    assert_eq!(completed(&script, &["tallyd", "spool", "sh"]), ["show"]);
}
