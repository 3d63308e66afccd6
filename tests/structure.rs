//! Dependencies inside the crates point one way. Cargo rejects a cycle between crates; these tests
//! reject cycles between the folders of a crate, and between its files.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use common::keys;
use imports::{Module, imports};

/// The folders of the package `tallyd`; each may import only from the preceding ones.
const LAYERS: [&str; 7] = ["process", "config", "runtime", "admin", "daemon", "commands", "cli"];

type Edges<T> = BTreeMap<T, BTreeSet<T>>;

/// The `src` folder of every crate of the daemon.
fn crates() -> Vec<PathBuf> {
    let root = common::root();
    let inner = fs::read_dir(root.join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<_> = inner.map(|folder| folder.join("src")).collect();
    folders
        .extend(["src", "forwarders/src", "tests/simulation/src"].map(|folder| root.join(folder)));
    assert!(folders.iter().all(|folder| folder.is_dir()) && folders.len() > 8, "{folders:?}");
    folders
}

/// The imports between the files of a crate, without tests and without the crate's root, which only
/// declares modules.
fn files(source: &Path) -> Edges<String> {
    let modules = Module::all_below(source);
    let is_root = |path: &str| ["lib.rs", "main.rs"].contains(&path);
    let mut edges = Edges::new();
    for module in &modules {
        let imported = imports(module, &modules).into_iter().filter(|path| !is_root(path));
        edges.insert(module.path.clone(), imported.collect());
    }
    edges
}

/// The imports between the top-level folders and files of a crate.
fn folders(files: &Edges<String>) -> Edges<String> {
    let top = |path: &str| path.split(['/', '.']).next().unwrap().to_owned();
    let mut edges = Edges::new();
    for (from, imported) in files {
        let others = imported.iter().map(|path| top(path)).filter(|to| *to != top(from));
        edges.entry(top(from)).or_insert_with(BTreeSet::new).extend(others);
    }
    edges
}

/// All files that `start` imports directly or indirectly.
fn reached<'e>(edges: &'e Edges<String>, start: &str) -> BTreeSet<&'e str> {
    let mut reached = BTreeSet::new();
    let mut open: Vec<&str> = edges.get(start).into_iter().flatten().map(String::as_str).collect();
    while let Some(next) = open.pop() {
        if reached.insert(next) {
            open.extend(edges.get(next).into_iter().flatten().map(String::as_str));
        }
    }
    reached
}

/// Groups of files or folders that import each other.
fn cycles(edges: &Edges<String>) -> BTreeSet<Vec<&str>> {
    let reach: BTreeMap<_, _> = edges.keys().map(|at| (at.as_str(), reached(edges, at))).collect();
    let mut cycles = BTreeSet::new();
    for (at, there) in &reach {
        let group: Vec<&str> = there
            .iter()
            .copied()
            .filter(|other| other == at || reach.get(other).is_some_and(|back| back.contains(at)))
            .collect();
        if group.len() > 1 {
            cycles.insert(group);
        }
    }
    cycles
}

#[test]
fn folders_have_no_import_cycles() {
    for source in crates() {
        let files = files(&source);
        let folders = folders(&files);
        let cycles = cycles(&folders);
        assert!(cycles.is_empty(), "{}: {cycles:#?}", source.display());
    }
}

#[test]
fn files_have_no_import_cycles() {
    for source in crates() {
        let files = files(&source);
        let cycles = cycles(&files);
        assert!(cycles.is_empty(), "{}: {cycles:#?}", source.display());
    }
}

#[test]
fn the_daemon_imports_only_from_lower_layers() {
    let folders = folders(&files(&common::root().join("src")));
    let place = |folder: &str| LAYERS.iter().position(|layer| *layer == folder);
    for (from, imported) in
        folders.iter().filter(|(from, _)| !["lib", "main"].contains(&from.as_str()))
    {
        let at = place(from).unwrap_or_else(|| panic!("`{from}` is in no layer"));
        let upward: Vec<_> = imported.iter().filter(|to| place(to) >= Some(at)).collect();
        assert!(upward.is_empty(), "src/{from} imports from {upward:?}");
    }
}

/// The tests above would pass if no import were found.
#[test]
fn the_tests_find_imports() {
    let files = files(&common::root().join("src"));
    assert!(files["daemon/lifecycle.rs"].contains("admin/mod.rs"), "{files:#?}");
    let number: usize = files.values().map(BTreeSet::len).sum();
    assert!(number > 100, "{number}");
}

/// Because `autotests` is off in this package, a file that is not listed would never run.
#[test]
fn the_manifest_lists_every_test_file() {
    let folder = common::root().join("tests");
    let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
    let root = fs::read_to_string(common::root().join("Cargo.toml")).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".rs") {
            let is_listed = manifest.contains(&format!("path = \"{name}\""))
                || root.contains(&format!("path = \"tests/{name}\""));
            assert!(is_listed, "tests/Cargo.toml does not list {name}");
        }
    }
}

/// The tests enable every feature of the destinations, so a feature that the program lacks would show
/// only in its packages.
#[test]
fn the_program_has_every_destination_by_default() {
    let manifest = fs::read_to_string(common::root().join("Cargo.toml")).unwrap();
    let default = manifest.lines().find(|line| line.starts_with("default = [")).unwrap();
    let kinds = keys::forwarder_kinds();
    assert!(kinds.len() > 5, "{kinds:?}");
    for kind in kinds {
        let feature = format!("\"forwarders/{kind}\"]");
        let is_feature =
            |line: &str| line.starts_with(&format!("{kind} = [")) && line.ends_with(&feature);
        assert!(manifest.lines().any(is_feature), "Cargo.toml: `{kind} = […]` lacks {feature}");
        assert!(default.contains(&format!("\"{kind}\"")), "Cargo.toml: {kind} is not in {default}");
    }
}
