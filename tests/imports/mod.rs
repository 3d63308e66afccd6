//! Extracts from the text of a file the other files of its crate that it imports from.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// A file of a crate.
pub(crate) struct Module {
    /// The path relative to the crate's `src`.
    pub(crate) path: String,
    /// The module path, as names.
    names: Vec<String>,
    /// The code without comments and tests.
    code: String,
}

impl Module {
    /// All files of a crate except those that contain only tests.
    pub(crate) fn all_below(source: &Path) -> Vec<Self> {
        let mut modules = Vec::new();
        find(source, source, &mut modules);
        let of_tests: Vec<Vec<String>> = modules.iter().flat_map(Self::test_modules).collect();
        modules.retain(|module| !of_tests.iter().any(|test| module.names.starts_with(test)));
        modules
    }

    /// The modules that this file declares for tests only.
    fn test_modules(&self) -> Vec<Vec<String>> {
        let declared = self.code.split("#[cfg(test)]\nmod ").skip(1);
        let names = declared.filter_map(|rest| rest.split_once(';')).map(|(name, _)| name);
        let is_name = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || c == '_');
        names
            .filter(is_name)
            .map(|name| self.names.iter().cloned().chain([name.to_owned()]).collect())
            .collect()
    }

    fn new(source: &Path, path: &Path) -> Self {
        let below = path.strip_prefix(source).unwrap();
        let mut names: Vec<String> =
            below.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if ["mod", "lib", "main"].contains(&names.last().unwrap().as_str()) {
            names.pop();
        }
        let code = code_of(&fs::read_to_string(path).unwrap());
        Self { path: below.to_str().unwrap().to_owned(), names, code }
    }
}

fn find(source: &Path, folder: &Path, modules: &mut Vec<Module>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap();
        if stem == "tests" || stem == "testing" {
            continue;
        }
        if path.is_dir() {
            find(source, &path, modules);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            modules.push(Module::new(source, &path));
        }
    }
}

/// The code before the tests at its end, without comments.
fn code_of(text: &str) -> String {
    let tests = [
        "\n#[cfg(test)]\nmod tests {",
        "\n#[cfg(test)]\npub(super) mod tests {",
        "\n#[cfg(test)]\npub(crate) mod tests {",
    ];
    let end = tests.iter().filter_map(|start| text.find(start)).min().unwrap_or(text.len());
    let lines = text[..end].lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The files that `module` imports from.
pub(crate) fn imports(module: &Module, all: &[Module]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for path in paths(&module.code) {
        let Some(names) = absolute(&path, &module.names) else { continue };
        // The longest prefix that is a file; the remaining names are items in it.
        let target = (0..=names.len()).rev().find_map(|length| {
            all.iter().find(|other| other.names == names[..length] && other.names.len() == length)
        });
        found.extend(target.filter(|target| target.path != module.path).map(|to| to.path.clone()));
    }
    found
}

/// Resolves `crate::a`, `self::a` and `super::a` to names relative to the crate's root.
fn absolute(path: &[String], here: &[String]) -> Option<Vec<String>> {
    let supers = path.iter().take_while(|name| *name == "super").count();
    let base = match path.first()?.as_str() {
        "crate" => &[],
        "self" => here,
        "super" => &here[..here.len().checked_sub(supers)?],
        _ => return None,
    };
    Some(base.iter().chain(&path[supers.max(1)..]).cloned().collect())
}

/// All paths in the code that begin with `crate`, `self` or `super`; `{…}` groups are expanded.
fn paths(code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for start in ["crate::", "self::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code[..at].chars().next_back();
            let is_start = before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':');
            if is_start {
                read_tree(&code[at..], Vec::new(), &mut found);
            }
        }
    }
    found
}

/// Reads `a::b::{c, d::e}` and returns the remaining code.
fn read_tree<'c>(
    mut code: &'c str,
    mut names: Vec<String>,
    found: &mut Vec<Vec<String>>,
) -> &'c str {
    loop {
        let length = code.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(code.len());
        if length > 0 {
            names.push(code[..length].to_owned());
            code = &code[length..];
        }
        match code.strip_prefix("::") {
            Some(rest) if rest.starts_with('{') => return read_group(&rest[1..], &names, found),
            Some(rest) if rest.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
                code = rest;
            }
            _ => {
                found.push(names);
                return code;
            }
        }
    }
}

fn read_group<'c>(mut code: &'c str, names: &[String], found: &mut Vec<Vec<String>>) -> &'c str {
    loop {
        code = code.trim_start_matches(|c: char| c.is_whitespace() || c == ',' || c == '*');
        if let Some(rest) = code.strip_prefix('}') {
            return rest;
        }
        let rest = read_tree(code, names.to_vec(), found);
        // `as name` is skipped, and so is unknown text, so that the loop always advances.
        let after = rest.trim_start().strip_prefix("as ").unwrap_or(rest);
        let moved = if after.len() == code.len() { &code[1.min(code.len())..] } else { after };
        if moved.is_empty() {
            return moved;
        }
        code = moved;
    }
}
