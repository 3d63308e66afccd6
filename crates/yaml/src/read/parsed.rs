//! Parses a file with serde-saphyr: resolves aliases and merge keys, and limits the size.

use std::ops::Range;
use std::{fmt, iter};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_yaml::{DuplicateKeyPolicy, Location, NonFiniteFloatPolicy, Spanned};

use crate::read::position::{Position, SourceSpan};

/// Maximum nesting depth of sections and lists.
pub(crate) const DEPTH_MAX: usize = 64;
/// Maximum number of keys and values. The content of an alias counts each time it is used.
pub(crate) const NODES_MAX: usize = 200_000;

/// Maximum size of all keys and values, in bytes, counted in the same way.
const SCALAR_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A value with its position.
pub(crate) type ParsedNode = Spanned<ParsedContent>;

/// A value in the form in which the visitor of an untyped value receives it.
pub(crate) enum ParsedContent {
    Null,
    /// A number or a boolean, whose text is only in the source: `1.10` is not `1.1`.
    Typed,
    Text(String),
    List(Vec<ParsedNode>),
    Section(Vec<(Spanned<String>, ParsedNode)>),
}

/// Parses the only document of a text.
pub(crate) fn parse(text: &str) -> Result<ParsedNode, serde_yaml::Error> {
    let options = serde_yaml::options! {
        budget: serde_yaml::budget! {
            max_depth: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_total_scalar_bytes: SCALAR_BYTES_MAX,
            enforce_alias_anchor_ratio: false,
        },
        // tallyd's error about a repeated key also names the line of the first.
        duplicate_keys: DuplicateKeyPolicy::PassThrough,
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        null_as_string: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    serde_yaml::from_str_with_options(text, options)
}

/// Returns the byte range of a location.
pub(crate) fn bytes(location: Location) -> Range<usize> {
    let number = |number: Option<u64>| usize::try_from(number.unwrap_or(0)).unwrap_or(0);
    let start = number(location.span().byte_offset());
    start..start + number(location.span().byte_len())
}

/// Returns the span of a location in `text`.
pub(crate) fn span(text: &str, location: Location) -> SourceSpan {
    let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
    let start = Position { line: number(location.line()), column: number(location.column()) };
    SourceSpan { start, end: start.after(text.get(bytes(location)).unwrap_or_default()) }
}

impl<'de> Deserialize<'de> for ParsedContent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

macro_rules! visit_typed {
    ($($method:ident($type:ty))*) => {$(
        fn $method<E: Error>(self, _: $type) -> Result<ParsedContent, E> {
            Ok(ParsedContent::Typed)
        }
    )*};
}

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = ParsedContent;

    visit_typed! { visit_bool(bool) visit_i64(i64) visit_u64(u64) visit_f64(f64) }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: Error>(self) -> Result<ParsedContent, E> {
        Ok(ParsedContent::Null)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ParsedContent, E> {
        Ok(ParsedContent::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<ParsedContent, A::Error> {
        let items = iter::from_fn(|| list.next_element().transpose());
        items.collect::<Result<_, _>>().map(ParsedContent::List)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut section: A) -> Result<ParsedContent, A::Error> {
        let entries = iter::from_fn(|| section.next_entry().transpose());
        entries.collect::<Result<_, _>>().map(ParsedContent::Section)
    }
}
