//! Reads the text of a source and parses it, with errors that name the place.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use basics::bounded_read::read_bounded;

use super::document::literal;
use super::setting::{ConvertError, Setting};

/// Maximum size of a file, as for tallyd's own.
const BYTES_MAX: usize = 4 * 1024 * 1024;

/// Deepest nesting of a JavaScript object.
const DEPTH_MAX: usize = 64;

/// A file of the source.
pub(super) struct SourceText {
    /// The path, or `standard input`.
    pub(super) name: String,
    /// The content.
    pub(super) text: String,
}

impl SourceText {
    /// Reads a file; `-` is standard input.
    ///
    /// # Errors
    /// If it cannot be read, or is not text of up to 4 MiB.
    pub(super) fn read(path: &Path) -> Result<Self, ConvertError> {
        let is_stdin = path == Path::new("-");
        let name = if is_stdin { "standard input".into() } else { path.display().to_string() };
        let bytes = if is_stdin { read_stdin() } else { read_bounded(path, BYTES_MAX) };
        let text = bytes.and_then(|bytes| {
            String::from_utf8(bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        });
        match text {
            Ok(text) => Ok(Self { name, text: text.trim_start_matches('\u{feff}').to_owned() }),
            Err(error) => Err(ConvertError(format!("{name}: cannot be read: {error}"))),
        }
    }

    /// Reads the files; of a folder, those with this extension, sorted by name.
    ///
    /// # Errors
    /// As [`read`](Self::read), or if a folder has no such file.
    pub(super) fn read_all(paths: &[PathBuf], extension: &str) -> Result<Vec<Self>, ConvertError> {
        let mut all = Vec::new();
        for path in paths {
            if path.is_dir() {
                let files = files_in(path, extension)
                    .map_err(|error| ConvertError(format!("{}: {error}", path.display())))?;
                if files.is_empty() {
                    let path = path.display();
                    return Err(ConvertError(format!(
                        "{path}: contains no *.{extension}; name a file"
                    )));
                }
                all.extend(
                    files.iter().map(|file| Self::read(file)).collect::<Result<Vec<_>, _>>()?,
                );
            } else {
                all.push(Self::read(path)?);
            }
        }
        Ok(all)
    }

    fn error(&self, (line, column): (usize, usize), words: impl std::fmt::Display) -> ConvertError {
        ConvertError(format!("{}:{line}:{column}: {words}", self.name))
    }

    /// Parses a JavaScript object, such as statsd's configuration.
    ///
    /// # Errors
    /// If it contains anything but values: the place, and a command that prints the values.
    pub(super) fn javascript(&self) -> Result<Setting, ConvertError> {
        // statsd evaluates `config = ` and this text, so that a semicolon may follow.
        let text = self.text.trim_end().trim_end_matches(';');
        if let Some(line) = too_deep(text) {
            return Err(self.error((line, 1), "is nested too deeply"));
        }
        json5::from_str(text).map_err(|error: json5::Error| {
            let at = error.position().map_or((1, 1), |at| (at.line + 1, at.column + 1));
            let error = error.code().map_or(error.to_string(), |code| code.to_string());
            let name = if self.name == "standard input" { "config.js" } else { &self.name };
            let words = format!(
                "is no plain value: {error}. This command does not run code, such as require(…), variables or \
                 calculations. Let node do so:\n  node -e 'console.log(JSON.stringify(eval(\"c=\" + \
                 require(\"fs\").readFileSync(\"{name}\"))))' | tallyd convert statsd -"
            );
            self.error(at, words)
        })
    }

    /// Parses TOML.
    ///
    /// # Errors
    /// If it is invalid, with the place.
    pub(super) fn toml(&self) -> Result<Setting, ConvertError> {
        toml::from_str(&self.text).map_err(|error| {
            let before = &self.text[..error.span().map_or(0, |span| span.start).min(self.text.len())];
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().map_or(0, |line| line.chars().count()) + 1;
            let words = format!(
                "is not valid TOML: {}; a variable that is no text, such as `interval = $X`, needs its value",
                error.message()
            );
            self.error((line, column), words)
        })
    }

    /// Parses YAML. A `${` has no meaning in it.
    ///
    /// # Errors
    /// If it is invalid, with the place.
    pub(super) fn yaml(&self) -> Result<Setting, ConvertError> {
        let source = yaml::Source::new(self.name.clone(), literal(&self.text));
        yaml::parse(&source, &|_| None).map_err(|error| ConvertError(error.to_string()))
    }
}

/// The line at which brackets are nested more deeply than any configuration: the parser calls itself for each
/// level. Brackets in texts count too, which no real file notices.
fn too_deep(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    for (line, content) in (1..).zip(text.lines()) {
        for c in content.chars() {
            match c {
                '{' | '[' => depth += 1,
                '}' | ']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEPTH_MAX {
                return Some(line);
            }
        }
    }
    None
}

fn read_stdin() -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    io::stdin().lock().take(BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > BYTES_MAX {
        let words = format!("larger than {} MiB", BYTES_MAX >> 20);
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, words));
    }
    Ok(bytes)
}

fn files_in(folder: &Path, extension: &str) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() && path.extension().is_some_and(|of| of == extension) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
