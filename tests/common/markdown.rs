//! The documents with their fenced blocks, links, headings and tables.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// One document.
pub struct Document {
    /// The path relative to the root of the repository.
    pub path: PathBuf,
    pub text: String,
}

/// A fenced block.
pub struct Block {
    /// The words after the opening fence: the language, then marks for the tests.
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

/// Writes the file and line of the block.
impl fmt::Display for Block {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.place)
    }
}

/// All documents: those in the root, in `docs/` and `examples/` with their subfolders, and that of the
/// Python client.
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

/// The paths of the documents in a folder and its subfolders.
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

/// Reads one document by its path relative to the root.
pub fn document(path: &str) -> Document {
    let text = fs::read_to_string(crate::root().join(path)).unwrap();
    Document { path: path.into(), text }
}

/// All fenced blocks of all documents.
pub fn all_blocks() -> Vec<Block> {
    documents().iter().flat_map(Document::blocks).collect()
}

impl Document {
    /// The fenced blocks in order, without the indentation of a surrounding list.
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

    /// The lines outside fenced blocks.
    pub fn prose(&self) -> impl Iterator<Item = &str> {
        let mut inside = false;
        self.text.lines().filter(move |line| {
            let is_fence = line.trim_start().starts_with("```");
            inside ^= is_fence;
            !inside && !is_fence
        })
    }

    /// The targets of the links.
    pub fn links(&self) -> Vec<&str> {
        let ends = self.prose().flat_map(|line| line.split("](").skip(1));
        ends.filter_map(|rest| Some(rest.split_once(')')?.0)).collect()
    }

    /// The anchors of the headings.
    pub fn anchors(&self) -> Vec<String> {
        let headings = self.prose().filter(|line| line.starts_with('#'));
        headings.map(|heading| anchor(heading.trim_start_matches('#').trim())).collect()
    }

    /// The rows of all tables, as trimmed cells.
    pub fn rows(&self) -> impl Iterator<Item = Vec<&str>> {
        self.prose().filter_map(|line| {
            let cells = line.strip_prefix("| ")?.strip_suffix('|')?;
            Some(cells.split(" |").map(str::trim).collect())
        })
    }
}

fn anchor(heading: &str) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
    heading.to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}
