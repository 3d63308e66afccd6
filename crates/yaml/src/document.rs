//! Reads a file into a tree with every `${…}` expanded.

use std::collections::HashMap;

use crate::messages::error::ConfigError;
use crate::messages::errors::ERRORS_MAX;
use crate::messages::source::{Source, TEXT_BYTES_MAX};
use crate::messages::syntax;
use crate::read::position::SourceSpan;
use crate::read::scalar::YamlScalar;
use crate::read::tree::{self, NodeContent, SectionEntry, YamlNode};
use crate::values::interpolate::{Env, Expander, Expansion};
use crate::values::quote::quoted;

/// Reads the only document of `source` and expands its values. Keys and values with an error are
/// skipped, and their errors added to `errors`.
pub(crate) fn read(
    source: &Source,
    env: Env<'_>,
    errors: &mut Vec<ConfigError>,
) -> Result<YamlNode, ConfigError> {
    if source.text().len() > TEXT_BYTES_MAX {
        let message = format!("the file is larger than {} MiB", TEXT_BYTES_MAX >> 20);
        return Err(source.error_at(SourceSpan::START, message));
    }
    let mut root = parse(source)?;
    let mut expander = Expander::new(env);
    if let NodeContent::Section(entries) = &mut root.content {
        check_keys(entries, source, errors);
        for (key, value) in entries {
            let expander = (!source.is_literal(key.text())).then_some(&mut expander);
            complete(value, source, expander, errors);
        }
    } else {
        complete(&mut root, source, Some(&mut expander), errors);
    }
    Ok(root)
}

/// Reads the only document of `source` without expansion.
pub(crate) fn parse(source: &Source) -> Result<YamlNode, ConfigError> {
    tree::parse(source.text()).map_err(|error| syntax::error(source, &error))
}

/// Checks the keys of a node and its children, and expands their values if there is an expander.
fn complete(
    node: &mut YamlNode,
    source: &Source,
    mut expander: Option<&mut Expander<'_>>,
    errors: &mut Vec<ConfigError>,
) {
    match &mut node.content {
        NodeContent::Scalar(scalar) => {
            if let Some(Err(reason)) = expander.map(|expander| expand(scalar, expander)) {
                skip(node, source.error_at(node.span, reason), errors);
            }
        }
        NodeContent::List(items) => {
            for item in items {
                complete(item, source, expander.as_deref_mut(), errors);
            }
        }
        NodeContent::Section(entries) => {
            check_keys(entries, source, errors);
            for (_, value) in entries {
                complete(value, source, expander.as_deref_mut(), errors);
            }
        }
    }
}

fn check_keys(entries: &[SectionEntry], source: &Source, errors: &mut Vec<ConfigError>) {
    let mut lines = HashMap::new();
    for (key, value) in entries {
        if key.bytes.is_empty() {
            skip(value, source.error_at(key.span, "a key is missing here"), errors);
        } else if let Some(first) = lines.insert(key.text(), key.span.start.line) {
            let message = format!("{} is given twice in this section", quoted(key.text()));
            let help = format!("it is given first in line {first}");
            skip(value, source.error_at(key.span, message).with_help(help), errors);
        }
    }
}

fn skip(node: &YamlNode, error: ConfigError, errors: &mut Vec<ConfigError>) {
    node.is_skipped.set(true);
    // A file can have as many errors as values; only the first ones are shown.
    if errors.len() <= ERRORS_MAX {
        errors.push(error);
    }
}

fn expand(scalar: &mut YamlScalar, expander: &mut Expander<'_>) -> Result<(), String> {
    if let Some(Expansion { text, references }) = expander.expand(&scalar.text)? {
        // An expanded value is missing only if it is empty: a password may be `~`.
        scalar.is_null = scalar.is_plain && text.is_empty();
        (scalar.text, scalar.references) = (text, references);
    }
    Ok(())
}
