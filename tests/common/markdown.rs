//! The documents, and the fenced blocks and links in them.

#![allow(clippy::unwrap_used, reason = "a test ends where something is wrong")]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// One document.
pub struct Document {
    /// Its path from the root of the repository.
    pub path: PathBuf,
    pub text: String,
}

/// A fenced block.
pub struct Block {
    /// What stands behind the opening fence: the language, then marks for the tests.
    pub marks: Vec<String>,
    pub text: String,
    place: String,
}

impl Block {
    pub fn is(&self, language: &str, mark: &str) -> bool {
        self.language() == language && self.marks.iter().skip(1).any(|given| given == mark)
    }

    pub fn language(&self) -> &str {
        self.marks.first().map_or("", String::as_str)
    }

    /// The value of a mark such as `format=json`.
    pub fn option(&self, name: &str) -> Option<&str> {
        self.marks.iter().find_map(|mark| mark.strip_prefix(name)?.strip_prefix('='))
    }
}

/// Where the block stands.
impl fmt::Display for Block {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.place)
    }
}

/// Every document: those of the root, those in `docs/`, `examples/` and their folders, and that of the
/// client.
pub fn documents() -> Vec<Document> {
    let mut paths = pages(Path::new(""));
    paths.extend(pages(Path::new("clients/python")));
    paths.extend(pages_below(Path::new("docs")));
    paths.extend(pages_below(Path::new("examples")));
    paths.sort();
    assert!(paths.len() > 10, "{paths:?}");
    paths.into_iter().map(|path| document(path.to_str().unwrap())).collect()
}

/// The paths of the documents in a folder.
fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(crate::root().join(folder)).unwrap();
    let names = entries.map(|entry| folder.join(entry.unwrap().file_name()));
    names.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// The same with those in the folders of it.
fn pages_below(folder: &Path) -> Vec<PathBuf> {
    let mut paths = pages(folder);
    for entry in fs::read_dir(crate::root().join(folder)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            paths.extend(pages_below(&folder.join(entry.file_name())));
        }
    }
    paths
}

/// One document by its path from the root.
pub fn document(path: &str) -> Document {
    let text = fs::read_to_string(crate::root().join(path)).unwrap();
    Document { path: path.into(), text }
}

/// Every fenced block of every document.
pub fn all_blocks() -> Vec<Block> {
    documents().iter().flat_map(Document::blocks).collect()
}

impl Document {
    /// Its fenced blocks, in order. One in a list loses the list's indentation.
    pub fn blocks(&self) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut open: Option<(usize, Block)> = None;
        for (number, line) in self.text.lines().enumerate() {
            let indent = line.len() - line.trim_start().len();
            match (line.trim_start().strip_prefix("```"), &mut open) {
                (Some(info), None) => {
                    let marks = info.split_whitespace().map(str::to_owned).collect();
                    let place = format!("{}:{}", self.path.display(), number + 1);
                    open = Some((indent, Block { marks, text: String::new(), place }));
                }
                (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
                (None, Some((indent, block))) => {
                    block.text.push_str(line.get(*indent..).unwrap_or_default());
                    block.text.push('\n');
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block is never closed", self.path.display());
        blocks
    }

    /// The lines that are in no fenced block.
    pub fn prose(&self) -> impl Iterator<Item = &str> {
        let mut inside = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            inside ^= is_fence;
            !inside && !is_fence
        })
    }

    /// Where its links lead to.
    pub fn links(&self) -> Vec<&str> {
        let ends = self.prose().flat_map(|line| line.split("](").skip(1));
        ends.filter_map(|rest| Some(rest.split_once(')')?.0)).collect()
    }

    /// Its headings as links name them.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter(|line| line.starts_with('#'));
        headings.map(|heading| anchor(heading.trim_start_matches('#').trim())).collect()
    }

    /// The rows of its tables: the cells, trimmed.
    pub fn rows(&self) -> impl Iterator<Item = Vec<&str>> {
        self.prose().filter_map(|line| {
            let cells = line.strip_prefix("| ")?.strip_suffix('|')?;
            Some(cells.split(" | ").map(str::trim).collect())
        })
    }
}

fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}
