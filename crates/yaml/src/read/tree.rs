//! A YAML file as a tree in which every key and value knows its position.

use std::cell::Cell;
use std::collections::HashSet;
use std::ops::Range;

use serde_yaml::{Location, Spanned};

use crate::read::parsed::{self, ParsedContent, ParsedNode, bytes, span};
use crate::read::position::SourceSpan;
use crate::read::scalar::YamlScalar;
use crate::values::secrets::{is_password_section, is_secret_key};

/// A key or a value.
///
/// It has no derived `Debug`, because it may contain secrets.
pub(crate) struct YamlNode {
    /// The span for errors about the value: the value, or its key if the value is missing or a
    /// block below the key.
    pub(crate) span: SourceSpan,
    /// The span for errors about a missing key of a section: the key that introduces the section
    /// or, in a list, the item.
    pub(crate) owner: SourceSpan,
    /// The byte range of the value in the text.
    pub(crate) bytes: Range<usize>,
    /// The value.
    pub(crate) content: NodeContent,
    /// Whether an error about it is known. Later reads pass over it, to find further errors.
    pub(crate) is_skipped: Cell<bool>,
}

pub(crate) enum NodeContent {
    Scalar(YamlScalar),
    List(Vec<YamlNode>),
    Section(Vec<SectionEntry>),
}

/// A key, which is always a scalar, and its value.
pub(crate) type SectionEntry = (YamlNode, YamlNode);

/// Parses the only document of a text. A document without content is an empty section.
pub(crate) fn parse(text: &str) -> Result<YamlNode, serde_yaml::Error> {
    let mut builder = TreeBuilder { text, secrets: HashSet::new() };
    let context = NodeContext { key: None, is_secret: false, used_at: Location::UNKNOWN };
    let root = builder.node(parsed::parse(text)?, context);
    let is_empty = root.scalar().is_some_and(|scalar| scalar.is_null);
    Ok(if is_empty { YamlNode::empty() } else { root })
}

impl YamlNode {
    const fn empty() -> Self {
        Self {
            span: SourceSpan::START,
            owner: SourceSpan::START,
            bytes: 0..0,
            content: NodeContent::Section(Vec::new()),
            is_skipped: Cell::new(false),
        }
    }

    /// Returns the scalar, if the node is one.
    pub(crate) fn scalar(&self) -> Option<&YamlScalar> {
        match &self.content {
            NodeContent::Scalar(scalar) => Some(scalar),
            NodeContent::List(_) | NodeContent::Section(_) => None,
        }
    }

    /// Returns the text of a scalar, such as a key; empty for other nodes.
    pub(crate) fn text(&self) -> &str {
        self.scalar().map_or("", |scalar| &scalar.text)
    }

    /// Returns the children of a list or section: the step of the path to each, such as `[0]` or
    /// `.name`, its key if it has one, and its value.
    pub(crate) fn children(&self) -> Vec<(String, Option<&Self>, &Self)> {
        match &self.content {
            NodeContent::Scalar(_) => Vec::new(),
            NodeContent::List(items) => {
                (0..).zip(items).map(|(index, item)| (format!("[{index}]"), None, item)).collect()
            }
            NodeContent::Section(entries) => {
                let step = |key: &Self| format!(".{}", key.text());
                entries.iter().map(|(key, value)| (step(key), Some(key), value)).collect()
            }
        }
    }

    /// Returns the key `name` of a section with its value.
    pub(crate) fn entry(&self, name: &str) -> Option<&SectionEntry> {
        let NodeContent::Section(entries) = &self.content else { return None };
        entries.iter().find(|(key, _)| key.text() == name)
    }
}

/// Builds nodes from parsed values.
struct TreeBuilder<'a> {
    text: &'a str,
    /// The positions of secrets, in bytes, to recognise an alias of one.
    secrets: HashSet<usize>,
}

/// The properties of a node that come from the nodes around it.
#[derive(Clone, Copy)]
struct NodeContext {
    key: Option<SourceSpan>,
    is_secret: bool,
    /// The position at which the enclosing section, list or key is used. Within an alias, this is
    /// the position of the alias for all nodes.
    used_at: Location,
}

impl TreeBuilder<'_> {
    fn node(&mut self, parsed: ParsedNode, context: NodeContext) -> YamlNode {
        let Spanned { value, referenced, defined, .. } = parsed;
        let inner = NodeContext { key: None, used_at: referenced, ..context };
        let content = match value {
            ParsedContent::List(items) => {
                NodeContent::List(items.into_iter().map(|item| self.node(item, inner)).collect())
            }
            ParsedContent::Section(entries) => NodeContent::Section(
                entries.into_iter().map(|(key, value)| self.entry(key, value, inner)).collect(),
            ),
            value => NodeContent::Scalar(self.scalar(value, bytes(defined), context.is_secret)),
        };
        // The operator looks for a value where it is written, and for an alias where that is.
        let is_alias = referenced != defined && referenced != context.used_at;
        self.place(content, if is_alias { referenced } else { defined }, context.key)
    }

    fn entry(
        &mut self,
        key: Spanned<String>,
        value: ParsedNode,
        context: NodeContext,
    ) -> SectionEntry {
        let context = NodeContext {
            key: Some(span(self.text, key.defined)),
            is_secret: context.is_secret
                || is_secret_key(&key.value)
                || (is_password_section(&key.value)
                    && matches!(value.value, ParsedContent::Section(_))),
            used_at: key.referenced,
        };
        // A key counts as quoted: `~` and `true` are names.
        let scalar = YamlScalar { text: key.value, ..YamlScalar::default() };
        let key = self.place(NodeContent::Scalar(scalar), key.defined, None);
        (key, self.node(value, context))
    }

    fn scalar(&mut self, value: ParsedContent, bytes: Range<usize>, is_secret: bool) -> YamlScalar {
        let is_secret = is_secret || self.secrets.contains(&bytes.start);
        if is_secret {
            self.secrets.insert(bytes.start);
        }
        let written = self.written(&bytes);
        let is_quoted = written.starts_with(['"', '\'']);
        let is_null = matches!(value, ParsedContent::Null);
        let (text, is_plain) = match value {
            ParsedContent::Text(text) => (text, !is_quoted),
            // A tag such as `!!int` overrules quotes.
            _ => (written.trim_matches(['"', '\'']).to_owned(), true),
        };
        YamlScalar { text, is_plain, is_null, is_secret, references: None }
    }

    fn place(&self, content: NodeContent, location: Location, key: Option<SourceSpan>) -> YamlNode {
        let (mut bytes, mut span) = (bytes(location), span(self.text, location));
        let owner = key.unwrap_or(span);
        if bytes.is_empty() {
            span = owner;
        } else if self.written(&bytes).starts_with(['[', '{']) {
            bytes.end = self.end_of_brackets(&content, bytes.end);
            span.end = span.start.after(self.written(&bytes));
        }
        YamlNode { span, owner, bytes, content, is_skipped: Cell::new(false) }
    }

    /// Where brackets end. The parser only says where they begin, which is before `start`.
    fn end_of_brackets(&self, content: &NodeContent, start: usize) -> usize {
        let last = match content {
            NodeContent::Scalar(_) => return start,
            NodeContent::List(items) => items.iter().map(|item| item.bytes.end).max(),
            NodeContent::Section(entries) => entries.iter().map(|(_, v)| v.bytes.end).max(),
        };
        // An item that an alias repeats may be written before.
        let last = last.map_or(start, |last| last.max(start));
        let close = self.written(&(last..self.text.len())).find([']', '}']);
        close.map_or(last, |width| last + width + 1)
    }

    fn written(&self, bytes: &Range<usize>) -> &str {
        self.text.get(bytes.clone()).unwrap_or_default()
    }
}
