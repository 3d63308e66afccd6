//! A YAML file as a tree in which every key and value knows its place.
//!
//! Aliases and merge keys are resolved here, `${…}` is expanded, and everything is bounded: a file
//! of a few lines must not become a tree that fills the memory.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::rc::Rc;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use super::error::ConfigError;
use super::failure::quoted;
use super::interpolate::{Env, Expander};
use super::secrets;
use super::source::{Source, Span};
use super::syntax;

/// The most bytes of one file.
const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// The most sections and lists inside each other.
const DEPTH_MAX: usize = 64;
/// The most keys and values, counting those of an alias each time that it is used.
const NODES_MAX: usize = 100_000;

/// A key or a value.
///
/// It has no derived `Debug`, because it may hold secrets.
pub(super) struct Node {
    /// Where an error about the value points: at the value, or at its key when there is none or it
    /// is a block below the key.
    pub(super) span: Span,
    /// Where an error about something that is missing in a section points: at the key that
    /// introduces the section or, in a list, at the item.
    pub(super) owner: Span,
    /// What it is.
    pub(super) kind: Kind,
}

/// What a node is. Children are shared, so that an alias costs no copy.
#[derive(Clone)]
pub(super) enum Kind {
    Scalar(Scalar),
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<(Key, Rc<Node>)>),
}

/// The key of an entry: always a scalar.
pub(super) type Key = Rc<Node>;

/// The text of a key or of a single value.
#[derive(Clone)]
pub(super) struct Scalar {
    /// The text that counts, after expansion.
    pub(super) text: Rc<str>,
    /// Whether it stands without quotes, so that `true` is a boolean and `~` is nothing.
    pub(super) is_plain: bool,
    /// Whether it stands below a key that is named like a secret.
    pub(super) is_secret: bool,
    /// The `${…}` that it comes from, if any, such as `${VAR}`.
    pub(super) expanded_from: Option<Rc<str>>,
}

/// Reads the only document of `source`. The root is always a mapping if there is no content.
pub(super) fn build(source: &Source, env: Env<'_>) -> Result<Rc<Node>, ConfigError> {
    if source.text().len() > TEXT_BYTES_MAX {
        let message = format!("the file is larger than {} MiB", TEXT_BYTES_MAX >> 20);
        return Err(source.error_at(Span::START, message));
    }
    let mut builder = Builder::new(source, env);
    for event in Parser::new_from_str(source.text()) {
        let (event, span) = event.map_err(|error| syntax::error(source, &error))?;
        builder.take(event, syntax::span(span))?;
    }
    Ok(builder.root.unwrap_or_else(|| Rc::new(empty_root())))
}

fn empty_root() -> Node {
    Node { span: Span::START, owner: Span::START, kind: Kind::Mapping(Vec::new()) }
}

/// Puts events together.
struct Builder<'a> {
    source: &'a Source,
    expander: Expander<'a>,
    /// The collections that are open, outermost first.
    open: Vec<Frame>,
    anchors: HashMap<usize, Anchored>,
    nodes: usize,
    documents: usize,
    root: Option<Rc<Node>>,
}

/// A finished node that aliases may refer to, with what it adds to the bounds.
struct Anchored {
    node: Rc<Node>,
    nodes: usize,
    height: usize,
}

/// A collection that is still open.
struct Frame {
    /// As `Node::span` and `Node::owner`.
    span: Span,
    owner: Span,
    anchor: usize,
    is_secret: bool,
    /// How many nodes there were before it.
    nodes_before: usize,
    /// How many levels of collections its items have.
    height: usize,
    items: Items,
}

enum Items {
    Sequence(Vec<Rc<Node>>),
    Mapping(Entries),
}

/// The entries of a mapping that is still open.
#[derive(Default)]
struct Entries {
    list: Vec<(Key, Rc<Node>)>,
    /// On which line each key stands.
    lines: HashMap<String, usize>,
    /// The key whose value comes next, and whether it is a `<<` without quotes.
    key: Option<(Key, bool)>,
    /// The sections behind `<<`, in order.
    merged: Vec<Rc<Node>>,
}

impl<'a> Builder<'a> {
    fn new(source: &'a Source, env: Env<'a>) -> Self {
        Self {
            source,
            expander: Expander::new(env),
            open: Vec::new(),
            anchors: HashMap::new(),
            nodes: 0,
            documents: 0,
            root: None,
        }
    }

    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), ConfigError> {
        match event {
            Event::DocumentStart(_) => self.start_document(span),
            Event::Scalar(text, style, anchor, tag) => {
                let is_plain = self.is_plain(style, tag.as_deref(), span)?;
                if self.expects_key() {
                    return self.take_key(&text, style == ScalarStyle::Plain, span);
                }
                self.take_scalar(&text, is_plain, anchor, span)
            }
            Event::Alias(anchor) => self.take_alias(anchor, span),
            Event::SequenceStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), &["seq"], span)?;
                let is_flow = tag.is_none() && anchor == 0 && span.start != span.end;
                self.open(Items::Sequence(Vec::new()), anchor, is_flow, span)
            }
            Event::MappingStart(anchor, tag) => {
                self.check_tag(tag.as_deref(), &["map"], span)?;
                let is_flow = tag.is_none() && anchor == 0 && span.start != span.end;
                self.open(Items::Mapping(Entries::default()), anchor, is_flow, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(span),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn start_document(&mut self, span: Span) -> Result<(), ConfigError> {
        self.documents += 1;
        if self.documents > 1 {
            let message = "a second document begins here, but the file must hold only one";
            return Err(self.source.error_at(span, message));
        }
        Ok(())
    }

    /// Whether a key, and not a value, comes next.
    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(Frame { items: Items::Mapping(entries), .. })
            if entries.key.is_none())
    }

    fn take_key(&mut self, text: &str, is_plain: bool, span: Span) -> Result<(), ConfigError> {
        self.count(1, span)?;
        let source = self.source;
        let Some(Frame { items: Items::Mapping(entries), .. }) = self.open.last_mut() else {
            return Ok(());
        };
        if is_plain && text.is_empty() {
            return Err(source.error_at(span, "a key is missing here"));
        }
        match entries.lines.entry(text.to_owned()) {
            Entry::Occupied(first) => {
                let message = format!("{} is given twice in this section", quoted(text));
                let help = format!("it is given first in line {}", first.get());
                return Err(source.error_at(span, message).with_help(help));
            }
            Entry::Vacant(place) => place.insert(span.start.line),
        };
        // A key counts as quoted: it is never nothing. `${…}` in it has no meaning.
        let scalar =
            Scalar { text: text.into(), is_plain: false, is_secret: false, expanded_from: None };
        let key = Rc::new(Node { span, owner: span, kind: Kind::Scalar(scalar) });
        entries.key = Some((key, is_plain && text == "<<"));
        Ok(())
    }

    fn take_scalar(
        &mut self,
        text: &str,
        is_plain: bool,
        anchor: usize,
        span: Span,
    ) -> Result<(), ConfigError> {
        self.count(1, span)?;
        let owner = self.key_span().unwrap_or(span);
        let is_empty = is_plain && text.is_empty();
        let span = if is_empty { owner } else { span };
        let expansion =
            self.expander.expand(text).map_err(|why| self.source.error_at(span, why))?;
        let (text, expanded_from) = match expansion {
            Some(expansion) => (expansion.text.into(), expansion.from.map(Rc::from)),
            None => (Rc::from(text), None),
        };
        let scalar = Scalar { text, is_plain, is_secret: self.is_secret_here(), expanded_from };
        if self.open.is_empty() && is_empty {
            self.root = Some(Rc::new(empty_root()));
            return Ok(());
        }
        let node = Rc::new(Node { span, owner, kind: Kind::Scalar(scalar) });
        self.finish(node, anchor, 1, 0);
        Ok(())
    }

    fn take_alias(&mut self, anchor: usize, span: Span) -> Result<(), ConfigError> {
        if self.expects_key() {
            return Err(self.source.error_at(span, "a key must be a word, not an alias"));
        }
        let Some(Anchored { node, nodes, height }) = self.anchors.get(&anchor) else {
            return Err(self.source.error_at(span, "this alias refers to the value it stands in"));
        };
        let (nodes, height) = (*nodes, *height);
        // What is wrong with the value as a whole is wrong where it is used.
        let owner = self.key_span().unwrap_or(span);
        let node = Rc::new(Node { span, owner, kind: node.kind.clone() });
        self.check_depth(self.open.len() + height, span)?;
        self.count(nodes, span)?;
        self.finish(node, 0, nodes, height);
        Ok(())
    }

    fn open(
        &mut self,
        items: Items,
        anchor: usize,
        is_flow: bool,
        span: Span,
    ) -> Result<(), ConfigError> {
        if self.expects_key() {
            return Err(self
                .source
                .error_at(span, "a key must be a word, not a section or a list"));
        }
        self.check_depth(self.open.len() + 1, span)?;
        let nodes_before = self.nodes;
        self.count(1, span)?;
        let owner = self.key_span().unwrap_or(Span::at(span.start));
        let span = if is_flow { span } else { owner };
        let is_secret = self.is_secret_here();
        self.open.push(Frame { span, owner, anchor, is_secret, nodes_before, height: 1, items });
        Ok(())
    }

    fn close(&mut self, end: Span) -> Result<(), ConfigError> {
        let Some(frame) = self.open.pop() else { return Ok(()) };
        let kind = match frame.items {
            Items::Sequence(items) => Kind::Sequence(items),
            Items::Mapping(entries) => Kind::Mapping(self.merge(entries)?),
        };
        // The parser's end of a bracket includes the blanks behind it.
        let mut span = frame.span;
        if span != frame.owner && span.start.line == end.start.line {
            span.end = end.start;
            span.end.column += 1;
        }
        let node = Rc::new(Node { span, owner: frame.owner, kind });
        self.finish(node, frame.anchor, self.nodes - frame.nodes_before, frame.height);
        Ok(())
    }

    /// Adds the entries of the sections behind `<<`. The section's own keys win, then the first.
    fn merge(&self, mut entries: Entries) -> Result<Vec<(Key, Rc<Node>)>, ConfigError> {
        for section in &entries.merged {
            let parts = match &section.kind {
                Kind::Sequence(parts) => parts.as_slice(),
                _ => std::slice::from_ref(section),
            };
            for part in parts {
                let Kind::Mapping(more) = &part.kind else {
                    let message = "`<<` must be a section or a list of sections";
                    return Err(self.source.error_at(part.span, message));
                };
                for (key, value) in more {
                    if let Entry::Vacant(place) = entries.lines.entry(key.text().to_owned()) {
                        place.insert(key.span.start.line);
                        entries.list.push((Rc::clone(key), Rc::clone(value)));
                    }
                }
            }
        }
        Ok(entries.list)
    }

    /// Puts a finished node where it belongs.
    fn finish(&mut self, node: Rc<Node>, anchor: usize, nodes: usize, height: usize) {
        if anchor > 0 {
            self.anchors.insert(anchor, Anchored { node: Rc::clone(&node), nodes, height });
        }
        let Some(frame) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        frame.height = frame.height.max(height + 1);
        match &mut frame.items {
            Items::Sequence(items) => items.push(node),
            Items::Mapping(entries) => match entries.key.take() {
                Some((_, true)) => entries.merged.push(node),
                Some((key, false)) => entries.list.push((key, node)),
                None => {}
            },
        }
    }

    /// Where the key of the value stands that begins now, if it has one.
    fn key_span(&self) -> Option<Span> {
        match &self.open.last()?.items {
            Items::Mapping(entries) => entries.key.as_ref().map(|(key, _)| key.span),
            Items::Sequence(_) => None,
        }
    }

    /// Whether the value that begins now belongs to a secret's key.
    fn is_secret_here(&self) -> bool {
        let Some(frame) = self.open.last() else { return false };
        let key = match &frame.items {
            Items::Mapping(entries) => entries.key.as_ref(),
            Items::Sequence(_) => None,
        };
        frame.is_secret || key.is_some_and(|(key, _)| secrets::is_secret_key(key.text()))
    }

    fn count(&mut self, nodes: usize, span: Span) -> Result<(), ConfigError> {
        self.nodes += nodes;
        if self.nodes > NODES_MAX {
            let message = format!("the file holds more than {NODES_MAX} keys and values");
            return Err(self.source.error_at(span, message));
        }
        Ok(())
    }

    fn check_depth(&self, depth: usize, span: Span) -> Result<(), ConfigError> {
        if depth > DEPTH_MAX {
            let message =
                format!("sections and lists stand more than {DEPTH_MAX} inside each other");
            return Err(self.source.error_at(span, message));
        }
        Ok(())
    }

    /// Whether a scalar counts as plain. A tag overrules its quotes, or the lack of them.
    fn is_plain(
        &self,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Result<bool, ConfigError> {
        self.check_tag(tag, &["str", "int", "float", "bool", "null"], span)?;
        match tag.map(|tag| tag.suffix.as_str()) {
            None => Ok(style == ScalarStyle::Plain),
            Some("" | "!" | "str") => Ok(false),
            Some(_) => Ok(true),
        }
    }

    /// Refuses tags that mean something only to another program.
    fn check_tag(
        &self,
        tag: Option<&Tag>,
        allowed: &[&str],
        span: Span,
    ) -> Result<(), ConfigError> {
        let Some(tag) = tag else { return Ok(()) };
        let is_known = tag.is_yaml_core_schema() && allowed.contains(&tag.suffix.as_str());
        let is_untyped = matches!(tag.suffix.as_str(), "" | "!") && tag.handle.len() < 2;
        if is_known || is_untyped {
            return Ok(());
        }
        let shown = if tag.is_yaml_core_schema() {
            format!("!!{}", tag.suffix)
        } else {
            format!("{}{}", tag.handle, tag.suffix)
        };
        let message = format!("the tag {} is not supported here", quoted(&shown));
        let mut end = span.start;
        end.column += shown.chars().count();
        Err(self.source.error_at(Span { start: span.start, end }, message))
    }
}

impl Node {
    /// The text of a scalar, such as a key. Empty for anything else.
    pub(super) fn text(&self) -> &str {
        match &self.kind {
            Kind::Scalar(scalar) => &scalar.text,
            Kind::Sequence(_) | Kind::Mapping(_) => "",
        }
    }
}
