//! The tallyd.yaml that is written: sections and values, and their text.
//!
//! No crate that we know writes a comment before a key, so the text is written here.

use std::fmt::Write;

use super::notes::{is_special, wrapped};

/// A section: keys in the order in which they are written.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Block(Vec<Entry>);

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    comment: Option<String>,
    key: String,
    value: Value,
}

/// A value of the file.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A number, a boolean or one of tallyd's words, written as it is.
    Word(String),
    /// Any other text, in quotes if YAML needs them. Its `${…}` are references.
    Text(String),
    List(Vec<Value>),
    Block(Block),
}

impl Value {
    // By value, so that it can be passed to `map`.
    #[expect(clippy::needless_pass_by_value)]
    pub(super) fn word(text: impl ToString) -> Self {
        Self::Word(text.to_string())
    }

    /// A text that means itself: a `${` in it is no reference.
    pub(super) fn text(text: &str) -> Self {
        Self::Text(literal(text))
    }

    pub(super) fn texts<T: AsRef<str>>(texts: &[T]) -> Self {
        Self::List(texts.iter().map(|text| Self::text(text.as_ref())).collect())
    }

    pub(super) fn words<T: ToString>(words: impl IntoIterator<Item = T>) -> Self {
        Self::List(words.into_iter().map(Self::word).collect())
    }
}

impl From<Block> for Value {
    fn from(block: Block) -> Self {
        Self::Block(block)
    }
}

/// Escapes every `${`, so that tallyd reads it as text.
pub(super) fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

impl Block {
    /// Sets a key, which keeps its place if it exists.
    pub(super) fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        self.put(None, key.into(), value.into())
    }

    /// Sets a key with a comment before it.
    pub(super) fn set_with(
        &mut self,
        comment: impl Into<String>,
        key: impl Into<String>,
        value: impl Into<Value>,
    ) -> &mut Self {
        self.put(Some(comment.into()), key.into(), value.into())
    }

    /// Sets a key to the value of an option of the source, if it has the option.
    pub(super) fn set_some(&mut self, key: &str, value: Option<impl Into<Value>>) -> &mut Self {
        match value {
            Some(value) => self.set(key, value),
            None => self,
        }
    }

    fn put(&mut self, comment: Option<String>, key: String, value: Value) -> &mut Self {
        let entry = Entry { comment, key, value };
        match self.0.iter_mut().find(|other| other.key == entry.key) {
            Some(other) => *other = entry,
            None => self.0.push(entry),
        }
        self
    }

    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|entry| entry.key == key).map(|entry| &entry.value)
    }

    /// The section at a key, which is created if it is missing.
    pub(super) fn block(&mut self, key: &str) -> &mut Block {
        let at = self.0.iter().position(|entry| entry.key == key).unwrap_or_else(|| {
            self.set(key, Block::default());
            self.0.len() - 1
        });
        let value = &mut self.0[at].value;
        if !matches!(value, Value::Block(_)) {
            *value = Value::Block(Block::default());
        }
        let Value::Block(block) = value else { unreachable!("it was made a block") };
        block
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the keys of another section; those that exist keep their values.
    pub(super) fn append(&mut self, other: &Block) {
        let is_new = |entry: &&Entry| self.get(&entry.key).is_none();
        let new: Vec<Entry> = other.0.iter().filter(is_new).cloned().collect();
        self.0.extend(new);
    }

    /// The text of the file.
    pub(super) fn write(&self) -> String {
        let mut text = String::new();
        self.write_at(0, &mut text);
        text
    }

    fn write_at(&self, depth: usize, text: &mut String) {
        for Entry { comment, key, value } in &self.0 {
            let indent = "  ".repeat(depth);
            if let Some(comment) = comment {
                let mark = format!("{indent}# ");
                *text += &wrapped(comment, &mark, &mark);
            }
            let _infallible = write!(text, "{indent}{}:", scalar(key));
            value.write_after_key(depth, text);
        }
    }
}

impl Value {
    fn write_after_key(&self, depth: usize, text: &mut String) {
        match self {
            Self::Block(block) if !block.is_empty() => {
                text.push('\n');
                block.write_at(depth + 1, text);
            }
            Self::List(items) if items.iter().any(|item| matches!(item, Self::Block(_))) => {
                text.push('\n');
                items.iter().for_each(|item| item.write_as_item(depth + 1, text));
            }
            other => {
                let _infallible = writeln!(text, " {}", other.flow());
            }
        }
    }

    /// A list item: its first line begins with a dash in place of its indentation.
    fn write_as_item(&self, depth: usize, text: &mut String) {
        let indent = "  ".repeat(depth);
        match self {
            Self::Block(block) if !block.is_empty() => {
                let mut inner = String::new();
                block.write_at(depth + 1, &mut inner);
                let mut is_marked = false;
                for line in inner.lines() {
                    let rest = line.strip_prefix(&format!("{indent}  ")).unwrap_or(line);
                    let is_first = !is_marked && !rest.starts_with('#');
                    is_marked |= is_first;
                    let mark = match (is_first, is_marked) {
                        (true, _) => "- ",
                        // A comment before the first key belongs before the dash.
                        (false, false) => "",
                        (false, true) => "  ",
                    };
                    let _infallible = writeln!(text, "{indent}{mark}{rest}");
                }
            }
            other => {
                let _infallible = writeln!(text, "{indent}- {}", other.flow());
            }
        }
    }

    /// The value on one line.
    fn flow(&self) -> String {
        match self {
            Self::Word(word) => word.clone(),
            Self::Text(value) => scalar(value),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(Self::flow).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Block(block) => {
                let pair =
                    |entry: &Entry| format!("{}: {}", scalar(&entry.key), entry.value.flow());
                let pairs: Vec<String> = block.0.iter().map(pair).collect();
                if pairs.is_empty() {
                    "{}".to_owned()
                } else {
                    format!("{{ {} }}", pairs.join(", "))
                }
            }
        }
    }
}

/// A text as YAML: without quotes only if no version of YAML reads anything else in it.
fn scalar(text: &str) -> String {
    let is_plain = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte));
    let lower = text.to_ascii_lowercase();
    let is_word = ["true", "false", "yes", "no", "on", "off", "null", "y", "n"];
    if is_plain && !is_word.contains(&lower.as_str()) {
        return text.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted += "\\n",
            '\t' => quoted += "\\t",
            c if c.is_control() || is_special(c) => {
                let _infallible = write!(quoted, "\\u{:04x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

#[cfg(test)]
mod tests {
    use super::super::setting::Setting;
    use super::*;
    use proptest::prelude::*;

    /// What tallyd reads from the written text.
    fn read(text: &str) -> Setting {
        let source = yaml::Source::new("written", text);
        yaml::parse(&source, &|_| None).unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    fn expected(value: &Value) -> Setting {
        match value {
            Value::Word(word) => Setting::Literal(word.clone()),
            Value::Text(text) => Setting::Text(text.replace("$${", "${")),
            Value::List(items) => Setting::List(items.iter().map(expected).collect()),
            Value::Block(block) => {
                let entry = |entry: &Entry| (entry.key.clone(), expected(&entry.value));
                Setting::Section(block.0.iter().map(entry).collect())
            }
        }
    }

    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z${}:#'\",\\[\\]{}&*!|>%@` -]{0,8}",
            any::<String>(),
            "y|no|Null|1|1e3|~|0x1"
        ]
        // A text may not contain a NUL, which YAML does not allow.
        .prop_map(|text| text.replace('\0', ""))
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            texts().prop_map(|text| Value::text(&text)),
            any::<u32>().prop_map(Value::word),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                blocks(inner).prop_map(Value::Block),
            ]
        })
    }

    fn blocks(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Block> {
        let entry = (prop::option::of(texts()), "[a-z].{0,6}|[0-9]", inner);
        prop::collection::vec(entry, 0..5).prop_map(|entries| {
            let mut block = Block::default();
            for (comment, key, value) in entries {
                block.put(comment, key.replace('\0', "").replace("${", ""), value);
            }
            block
        })
    }

    proptest! {
        #[test]
        fn tallyd_reads_the_values_that_were_written(block in blocks(values())) {
            let text = block.write();
            let read = if block.is_empty() { Setting::Section(Vec::new()) } else { read(&text) };
            prop_assert_eq!(read, expected(&Value::Block(block)), "{}", text);
        }
    }

    #[test]
    fn a_file_has_comments_before_its_keys_and_lists_of_sections() {
        let mut one = Block::default();
        one.set_with("why", "address", Value::text("[::]:8125")).set("threads", Value::word(2));
        let mut block = Block::default();
        block.set("listeners", Value::List(vec![one.into()]));
        block.block("agent").block("tags").set("on", Value::text("a b"));
        block.block("aggregation").set("percentiles", Value::words([50.0, 99.9]));
        let text = block.write();
        assert_eq!(
            text,
            "listeners:\n  # why\n  - address: \"[::]:8125\"\n    threads: 2\nagent:\n  tags:\n    \
             \"on\": \"a b\"\naggregation:\n  percentiles: [50, 99.9]\n"
        );
    }
}
