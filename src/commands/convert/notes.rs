//! The comments for settings that are not simply another key in tallyd.

/// The settings that need a decision or the reader's attention.
#[derive(Debug, Default)]
pub(super) struct Notes {
    lost: Vec<Note>,
    differs: Vec<Note>,
    unknown: Vec<String>,
    secrets: Vec<Note>,
}

/// A setting of the source, and a sentence about it.
#[derive(Debug, PartialEq)]
struct Note {
    setting: String,
    words: String,
}

/// Maximum length of a line of comments, in characters.
const WIDTH: usize = 100;

impl Notes {
    /// A setting that has no equivalent: the reason, and what to do.
    pub(super) fn lost(&mut self, setting: impl Into<String>, words: impl Into<String>) {
        add(&mut self.lost, setting.into(), words.into());
    }

    /// A setting, or its default, whose effect differs.
    pub(super) fn differs(&mut self, setting: impl Into<String>, words: impl Into<String>) {
        add(&mut self.differs, setting.into(), words.into());
    }

    /// A setting that the source's program does not have in a version that we know.
    pub(super) fn unknown(&mut self, setting: impl Into<String>) {
        self.unknown.push(setting.into());
    }

    /// A secret that was replaced by a reference.
    pub(super) fn secret(&mut self, setting: impl Into<String>, words: impl Into<String>) {
        add(&mut self.secrets, setting.into(), words.into());
    }

    /// Sentences about the secrets, for standard error.
    pub(super) fn secrets(&self) -> impl Iterator<Item = String> {
        self.secrets.iter().map(|note| format!("{}: {}", note.setting, note.words))
    }

    /// How many settings have no equivalent or are unknown, and how many differ.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.lost.len() + self.unknown.len(), self.differs.len())
    }

    /// The comments at the head of the file, each line with its `#`.
    pub(super) fn comments(&self) -> String {
        let mut text = String::new();
        let mut group = |title: &str, notes: &mut dyn Iterator<Item = String>| {
            let mut notes = notes.peekable();
            if notes.peek().is_some() {
                text += &format!("#\n# {title}\n");
                notes.for_each(|note| text += &wrapped(&note, "# - ", "#   "));
            }
        };
        let each = |note: &Note| format!("{}: {}", note.setting, note.words);
        group("Settings without an equivalent:", &mut self.lost.iter().map(each));
        group("Settings that differ, or whose default does:", &mut self.differs.iter().map(each));
        group("Unknown settings, which were ignored:", &mut self.unknown.iter().cloned());
        group("Secrets that were not copied:", &mut self.secrets.iter().map(each));
        text
    }
}

/// Adds a note unless it is there: several sections of a source may give rise to the same one.
fn add(notes: &mut Vec<Note>, setting: String, words: String) {
    let note = Note { setting, words };
    if !notes.contains(&note) {
        notes.push(note);
    }
}

/// A text in lines of at most [`WIDTH`] characters, unless a word is longer. Control characters, with
/// which a setting's name could end the comment, are escaped.
pub(super) fn wrapped(text: &str, first: &str, next: &str) -> String {
    let safe = |c: char| {
        if c.is_control() || is_special(c) { c.escape_default().to_string() } else { c.into() }
    };
    let text: String = text.chars().map(safe).collect();
    let (mut lines, mut line) = (String::new(), first.to_owned());
    let mut is_empty = true;
    for word in text.split(' ') {
        if !is_empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            lines += &line;
            lines.push('\n');
            next.clone_into(&mut line);
            is_empty = true;
        }
        if !is_empty {
            line.push(' ');
        }
        line += word;
        is_empty = false;
    }
    lines + line.trim_end() + "\n"
}

/// Characters that are no control characters, but that YAML takes for a line break or does not allow.
pub(super) fn is_special(c: char) -> bool {
    matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_wrapped_and_stay_comments() {
        let mut notes = Notes::default();
        notes.lost("a\nb: c", "word ".repeat(30));
        notes.unknown("x");
        let text = notes.comments();
        assert!(text.lines().all(|line| line.starts_with('#') && line.chars().count() <= WIDTH));
        assert!(text.contains("# - a\\nb: c: word"), "{text}");
        assert_eq!(text.lines().count(), 7, "{text}");
    }
}
