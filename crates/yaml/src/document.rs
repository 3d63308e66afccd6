//! Reads a file into a tree with every `${…}` expanded.

use std::collections::HashMap;

use crate::error::ConfigError;
use crate::interpolate::{Env, Expander, Expansion};
use crate::position::SourceSpan;
use crate::quote::quoted;
use crate::scalar::YamlScalar;
use crate::source::{Source, TEXT_BYTES_MAX};
use crate::syntax;
use crate::tree::{self, NodeContent, SectionEntry, YamlNode};

/// Reads the only document of `source` and expands its values.
pub(crate) fn read(source: &Source, env: Env<'_>) -> Result<YamlNode, ConfigError> {
    if source.text().len() > TEXT_BYTES_MAX {
        let message = format!("the file is larger than {} MiB", TEXT_BYTES_MAX >> 20);
        return Err(source.error_at(SourceSpan::START, message));
    }
    let mut root = parse(source)?;
    complete(&mut root, source, &mut Expander::new(env))?;
    Ok(root)
}

/// Reads the only document of `source` without expansion.
pub(crate) fn parse(source: &Source) -> Result<YamlNode, ConfigError> {
    tree::parse(source.text()).map_err(|error| syntax::error(source, &error))
}

/// Checks the keys of a node and its children, and expands their values.
fn complete(
    node: &mut YamlNode,
    source: &Source,
    expander: &mut Expander<'_>,
) -> Result<(), ConfigError> {
    match &mut node.content {
        NodeContent::Scalar(scalar) => {
            expand(scalar, expander).map_err(|reason| source.error_at(node.span, reason))
        }
        NodeContent::List(items) => {
            items.iter_mut().try_for_each(|item| complete(item, source, expander))
        }
        NodeContent::Section(entries) => {
            check_keys(entries, source)?;
            entries.iter_mut().try_for_each(|(_, value)| complete(value, source, expander))
        }
    }
}

fn check_keys(entries: &[SectionEntry], source: &Source) -> Result<(), ConfigError> {
    let mut lines = HashMap::new();
    for (key, _) in entries {
        if key.bytes.is_empty() {
            return Err(source.error_at(key.span, "a key is missing here"));
        }
        if let Some(first) = lines.insert(key.text(), key.span.start.line) {
            let message = format!("{} is given twice in this section", quoted(key.text()));
            let help = format!("it is given first in line {first}");
            return Err(source.error_at(key.span, message).with_help(help));
        }
    }
    Ok(())
}

fn expand(scalar: &mut YamlScalar, expander: &mut Expander<'_>) -> Result<(), String> {
    if let Some(Expansion { text, references }) = expander.expand(&scalar.text)? {
        // An expanded value is missing only if it is empty: a password may be `~`.
        scalar.is_null = scalar.is_plain && text.is_empty();
        (scalar.text, scalar.references) = (text, references);
    }
    Ok(())
}
