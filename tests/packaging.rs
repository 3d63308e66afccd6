//! The lists that no compiler checks: the files of the packages, and the tests that the emulator cannot run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::root;

/// The files that only one of the packages has, because the distributions have different rules.
const OF_ONE_PACKAGE: [&str; 5] = [
    "target/package/CHANGELOG.md.gz",
    "target/package/CHANGELOG.md",
    "LICENSE",
    "debian/copyright",
    "debian/lintian-overrides",
];

fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// The files of a package, as pairs of source and destination. The section with this title lists them.
fn assets(title: &str) -> BTreeMap<String, String> {
    let manifest = text("Cargo.toml");
    let section = manifest.split(&format!("\n[{title}]\n")).nth(1).unwrap();
    let list = section.split("\nassets = [\n").nth(1).unwrap();
    let rows = list.lines().take_while(|line| *line != "]");
    let rows = rows.filter(|line| !line.trim_start().starts_with('#'));
    let strings = |row: &str| row.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    let pair =
        |strings: Vec<String>| (strings[0].clone(), strings[1].trim_start_matches('/').to_owned());
    rows.map(strings).map(pair).collect()
}

/// Where scripts/package.sh puts the pages of docs/, with changed links.
const PACKED_DOCS: &str = "target/package/docs/";

/// Whether the repository does not contain a source of a package.
fn is_built(source: &str) -> bool {
    source.starts_with("target/") && !source.starts_with(PACKED_DOCS)
}

/// The files of the repository that a source of a package names, which may end in a pattern.
fn matching(source: &str) -> Vec<PathBuf> {
    let source = &source.replace(PACKED_DOCS, "docs/");
    let (folder, name) = source.rsplit_once('/').unwrap_or((".", source));
    let (start, end) = name.split_once('*').unwrap_or((name, ""));
    let entries = fs::read_dir(root().join(folder)).unwrap();
    let names = entries.map(|entry| entry.unwrap().path());
    let is_meant = |path: &PathBuf| {
        let found = path.file_name().unwrap().to_str().unwrap();
        if name.contains('*') {
            found.len() >= start.len() + end.len()
                && found.starts_with(start)
                && found.ends_with(end)
        } else {
            found == name
        }
    };
    names.filter(is_meant).collect()
}

#[test]
fn both_packages_install_the_same_files_which_exist() {
    let (mut deb, mut rpm) =
        (assets("package.metadata.deb"), assets("package.metadata.generate-rpm"));
    for source in OF_ONE_PACKAGE {
        assert!(deb.remove(source).is_some() != rpm.remove(source).is_some(), "{source}");
    }
    let sources =
        |assets: &BTreeMap<String, String>| assets.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(sources(&deb), sources(&rpm));
    for (source, place) in deb.iter().filter(|(source, _)| !is_built(source)) {
        assert!(!matching(source).is_empty(), "{source} matches nothing");
        // A file in one list and its folder in the other.
        let (one, other) = (Path::new(place), Path::new(&rpm[source]));
        assert!(one == other || other.parent() == Some(one), "{place} and {}", other.display());
    }
}

#[test]
fn the_packages_contain_the_rules_the_dashboards_and_all_documents() {
    let deb = assets("package.metadata.deb");
    let sources = deb.keys().filter(|source| !is_built(source));
    let packed: BTreeSet<PathBuf> = sources.flat_map(|source| matching(source)).collect();
    let folders = ["etc", "examples/grafana", "docs", "docs/forwarders", "docs/how-to"];
    let mut seen = 0;
    for folder in folders {
        for entry in fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let kind = path.extension().unwrap_or_default().to_str().unwrap().to_owned();
            // The sample configuration is packed from target/package.
            let is_left_out = path.ends_with("etc/tallyd.yaml")
                || path.ends_with("grafana/README.md")
                || !["md", "json", "png", "yaml"].contains(&kind.as_str());
            if !is_left_out {
                assert!(packed.contains(&path), "{}", path.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 60, "{seen}");
}

#[test]
fn the_links_of_the_packed_documents_have_targets() {
    let folder = tempfile::tempdir().unwrap();
    let copy = Command::new(root().join("scripts/outward-links.py"))
        .arg("--copy")
        .arg(folder.path())
        .status();
    let Ok(status) = copy else {
        let _written = writeln!(std::io::stderr(), "SKIPPED: python3 is missing");
        return;
    };
    assert!(status.success());
    for schema in matching("docs/*.json") {
        fs::copy(&schema, folder.path().join(schema.file_name().unwrap())).unwrap();
    }
    let check = || {
        let script = root().join("tests/packages/links.sh");
        Command::new(script).arg(folder.path()).output().unwrap()
    };
    let output = check();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    // The check finds a missing file.
    fs::remove_file(folder.path().join("status-page.png")).unwrap();
    assert!(!check().status.success());
}

// ---- tests/arm64.txt --------------------------------------------------------------------------------

/// The names of tests in arm64.txt, each with the comment above its block.
fn excluded_on_arm64() -> Vec<(String, String)> {
    let list = text("tests/arm64.txt");
    let blocks = list.split("\n\n").skip(1);
    blocks
        .flat_map(|block| {
            let (reason, names): (Vec<&str>, Vec<&str>) =
                block.lines().partition(|line| line.starts_with('#'));
            let reason = reason.join(" ");
            names.into_iter().map(move |name| (name.to_owned(), reason.clone())).collect::<Vec<_>>()
        })
        .collect()
}

/// The tests in the files of tests/ by their name in the program: the modules, then the function. With the
/// text of each.
fn tests() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(root().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|kind| kind == "rs") {
            add_tests(&path, "", &mut found);
        }
        // The modules of a program.
        let folder = path.with_extension("");
        let is_of_program = path.extension().is_some() && folder.is_dir();
        for module in is_of_program.then(|| fs::read_dir(folder).unwrap()).into_iter().flatten() {
            let module = module.unwrap().path();
            if module.extension().is_some_and(|kind| kind == "rs") {
                let name = module.file_stem().unwrap().to_str().unwrap();
                add_tests(&module, &format!("{name}::"), &mut found);
            }
        }
    }
    found
}

fn add_tests(path: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    let source = fs::read_to_string(path).unwrap();
    for part in source.split("#[test]\n").skip(1) {
        let Some(start) = part.find("fn ") else { continue };
        let name = part[start + 3..].split('(').next().unwrap();
        let body = part.split("\n}\n").next().unwrap();
        found.insert(format!("{prefix}{name}"), body.to_owned());
    }
}

#[test]
fn the_tests_that_the_emulator_cannot_run_exist_and_have_a_reason() {
    let (excluded, tests) = (excluded_on_arm64(), tests());
    assert!(excluded.len() > 10 && tests.len() > 500, "{} {}", excluded.len(), tests.len());
    let names: BTreeSet<_> = excluded.iter().map(|(name, _)| name).collect();
    assert_eq!(names.len(), excluded.len(), "a name is listed twice");
    for (name, reason) in &excluded {
        assert!(reason.starts_with("# "), "{name} has no reason");
        assert!(tests.contains_key(name), "there is no test {name}");
    }
}

/// The option of `tallyd bench` with which the program starts itself, as a test writes it.
const STARTS_ITSELF: &str = "\"--spawn";

/// A program that starts itself would start a file that the kernel cannot run.
#[test]
fn the_tests_of_a_program_that_starts_itself_are_not_run_in_the_emulator() {
    let excluded: BTreeSet<_> = excluded_on_arm64().into_iter().map(|(name, _)| name).collect();
    // It starts nothing, because the arguments are wrong.
    let refused = "wrong_usage_is_reported_before_anything_is_sent";
    let starting = tests().into_iter().filter(|(_, body)| body.contains(STARTS_ITSELF));
    let names: Vec<_> = starting.map(|(name, _)| name).filter(|name| name != refused).collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        assert!(excluded.contains(&name), "tests/arm64.txt lacks {name}");
    }
}
