//! `template`: the positions of tags in a path.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};

use super::name::{Alphabet, is_path};
use model::Series;

/// The placeholder for a tag that a series does not have.
const MISSING: &str = "none";

/// A path with placeholders for the name and for tags, such as `{environment}.{host}.{name}`.
///
/// A part is present whether or not the series has the tag. If it were left out, two series with
/// different tags could share a path, and queries would find a tag on different levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<TemplatePiece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePiece {
    /// Literal text.
    Text(String),
    /// `{name}`: the metric name with all its parts.
    Name,
    /// `{key}`, `{key:-text}`: the tag's value as one part; the text if the series has no such tag.
    Tag { key: String, missing: String },
    /// `{tags}`: the values of all tags that are not named elsewhere, one part each, sorted by key.
    OtherTags,
}

impl Default for Template {
    /// `{tags}.{name}`.
    fn default() -> Self {
        Self {
            pieces: vec![
                TemplatePiece::OtherTags,
                TemplatePiece::Text(".".to_owned()),
                TemplatePiece::Name,
            ],
        }
    }
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// The reason why the template is invalid, as a sentence.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let (before, behind) = rest.split_at(open);
            let Some((place, after)) = behind[1..].split_once('}') else {
                return Err(format!("a `{{` is not closed in `{text}`"));
            };
            push_text(&mut pieces, before, text)?;
            pieces.push(read_place(place)?);
            rest = after;
        }
        push_text(&mut pieces, rest, text)?;
        if pieces.iter().filter(|piece| matches!(piece, TemplatePiece::Name)).count() != 1 {
            return Err(format!(
                "a template needs {{name}} once, as in {{environment}}.{{host}}.{{name}}, not \
                 `{text}`"
            ));
        }
        Ok(Self { pieces })
    }

    /// Appends the path of a series; `start` is its position in `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>, start: usize, series: &Series, safe: Alphabet) {
        for piece in &self.pieces {
            match piece {
                TemplatePiece::Text(text) => safe.push_name(out, start, text),
                TemplatePiece::Name => safe.push_name(out, start, series.name()),
                TemplatePiece::Tag { key, missing } => {
                    safe.push_part(out, series.tag(key).unwrap_or(missing));
                }
                TemplatePiece::OtherTags => {
                    for (_, value) in series.tags().filter(|(key, _)| !self.names(key)) {
                        // Written before each value: `push_name` drops the dot at the start of a
                        // path.
                        safe.push_name(out, start, ".");
                        safe.push_part(out, value);
                    }
                }
            }
        }
    }

    fn names(&self, key: &str) -> bool {
        self.pieces
            .iter()
            .any(|piece| matches!(piece, TemplatePiece::Tag { key: named, .. } if named == key))
    }
}

fn push_text(pieces: &mut Vec<TemplatePiece>, text: &str, template: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    // The text between two placeholders begins or ends with their dots.
    if text != "." && !is_path(text.trim_start_matches('.').trim_end_matches('.')) {
        return Err(format!(
            "a template has letters, digits, `_`, `-` and dots between its placeholders, not `{text}` in \
             `{template}`"
        ));
    }
    pieces.push(TemplatePiece::Text(text.to_owned()));
    Ok(())
}

fn read_place(place: &str) -> Result<TemplatePiece, String> {
    let (key, missing) = place.split_once(":-").unwrap_or((place, MISSING));
    match key {
        "" => Err("a placeholder of a template names a tag, as in {host}, or is {name}".to_owned()),
        "name" => Ok(TemplatePiece::Name),
        "tags" => Ok(TemplatePiece::OtherTags),
        _ if missing.contains('.') || !is_path(missing) => Err(format!(
            "the placeholder of a missing tag must be one part of a path, such as `none`, not `{missing}`"
        )),
        _ => Ok(TemplatePiece::Tag { key: key.to_owned(), missing: missing.to_owned() }),
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TemplateVisitor;
        impl Visitor<'_> for TemplateVisitor {
            type Value = Template;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a template such as {environment}.{host}.{name}")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Template, E> {
                Template::parse(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(TemplateVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::super::name::finish_path;
    use super::*;
    use model::MetricKind;

    fn path(template: &Template, tags: &[(&str, &str)]) -> String {
        let series = Series::new(MetricKind::Counter, "user.logins", tags);
        let mut out = Vec::new();
        template.write(&mut out, 0, &series, Alphabet::Wide);
        finish_path(&mut out, 0);
        String::from_utf8(out).unwrap()
    }

    fn parsed(text: &str, tags: &[(&str, &str)]) -> String {
        path(&Template::parse(text).unwrap(), tags)
    }

    #[test]
    fn tags_go_where_their_names_stand() {
        let tags = [("environment", "stage"), ("host", "web1.example.net"), ("role", "a b")];
        for (template, expected) in [
            ("{environment}.{host}.{name}", "stage.web1_example_net.user.logins"),
            ("{name}", "user.logins"),
            (
                "servers.{host}_{role}.{name}.total",
                "servers.web1_example_net_a_b.user.logins.total",
            ),
            ("{host}.{tags}.{name}", "web1_example_net.stage.a_b.user.logins"),
            ("{name}.{tags}", "user.logins.stage.web1_example_net.a_b"),
        ] {
            assert_eq!(parsed(template, &tags), expected);
        }
        assert_eq!(path(&Template::default(), &tags), "stage.web1_example_net.a_b.user.logins");
    }

    #[test]
    fn the_place_of_a_missing_tag_stays() {
        assert_eq!(parsed("{a}.{b}.{name}", &[("a", "x")]), "x.none.user.logins");
        assert_eq!(parsed("{a}.{b}.{name}", &[("b", "x")]), "none.x.user.logins");
        assert_eq!(parsed("{a:-any}.{name}", &[]), "any.user.logins");
        assert_eq!(parsed("{tags}.{name}", &[]), "user.logins");
        assert_eq!(parsed("{name}.{tags}", &[]), "user.logins");
    }

    #[test]
    fn a_template_that_cannot_be_a_path_is_refused() {
        for wrong in [
            "",
            "x",
            "{host}",
            "{name}.{name}",
            "{host",
            "{}.{name}",
            "a b.{name}",
            "a;b.{name}",
            "{host:-a.b}.{name}",
            "{host:-}.{name}",
            "a..b.{name}",
        ] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
