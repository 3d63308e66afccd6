//! A topic: its name, the template that names one for each series, and its number.

use serde::Deserialize;
use serde::de::Deserializer;

use basics::text::TextVisitor;
use model::Series;

/// Maximum length of a topic's name, in bytes, that brokers accept.
const TOPIC_BYTES_MAX: usize = 249;
/// What a placeholder stands for in a series without the tag.
const MISSING: &str = "none";
/// What a placeholder stands for in the fallback topic.
const OTHER: &str = "other";

/// A topic, as an index into the topics of a destination.
pub(super) type TopicId = usize;

/// The name of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic(String);

/// The name of a topic, or a template with placeholders such as `metrics.{tag.environment}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicTemplate {
    text: String,
    pieces: Vec<TopicPiece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum TopicPiece {
    /// Literal text.
    Text(String),
    /// `{name}`: the metric name.
    Name,
    /// `{kind}`: the metric type.
    Kind,
    /// `{tag.KEY}`, `{tag.KEY:-TEXT}`: the tag's value; the text if the series has no such tag.
    Tag { key: String, missing: String },
}

impl Topic {
    /// Parses the name of a topic.
    ///
    /// # Errors
    /// A sentence that describes the allowed values.
    pub fn parse(text: &str) -> Result<Self, String> {
        if is_topic(text) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!(
            "must be a topic of 1 to {TOPIC_BYTES_MAX} letters, digits, `.`, `_` and `-` other than `.` \
             or `..`, not `{text}`"
        ))
    }

    /// Returns the name of the topic.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TopicTemplate {
    /// Parses the name of a topic, or a template.
    ///
    /// # Errors
    /// A sentence that describes the allowed values.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, place_and_rest)) = rest.split_once('{') {
            let Some((place, after)) = place_and_rest.split_once('}') else {
                return Err(format!("a `{{` is not closed in `{text}`"));
            };
            push_text(&mut pieces, before);
            pieces.push(read_place(place)?);
            rest = after;
        }
        push_text(&mut pieces, rest);
        let template = Self { text: text.to_owned(), pieces };
        // Without the braces, the name has to be one that brokers accept.
        Topic::parse(&template.fallback())?;
        Ok(template)
    }

    /// Returns the template as it is in the configuration.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns whether the name depends on the series.
    pub(super) fn has_places(&self) -> bool {
        self.pieces.iter().any(|piece| !matches!(piece, TopicPiece::Text(_)))
    }

    /// Returns whether each name begins with text that no sender chooses.
    pub(super) fn begins_with_text(&self) -> bool {
        matches!(self.pieces.first(), Some(TopicPiece::Text(_)))
    }

    /// Returns the name with `other` for each placeholder.
    pub(super) fn fallback(&self) -> String {
        let text = |piece: &TopicPiece| match piece {
            TopicPiece::Text(text) => text.clone(),
            TopicPiece::Name | TopicPiece::Kind | TopicPiece::Tag { .. } => OTHER.to_owned(),
        };
        self.pieces.iter().map(text).collect()
    }

    /// Writes the name of a series' topic. Characters that a topic cannot have become `_`.
    ///
    /// Returns whether brokers accept the name: it may be too long, or only dots.
    pub(super) fn write(&self, out: &mut String, series: &Series) -> bool {
        out.clear();
        for piece in &self.pieces {
            let value = match piece {
                TopicPiece::Text(text) => text,
                TopicPiece::Name => series.name(),
                TopicPiece::Kind => series.kind().as_str(),
                TopicPiece::Tag { key, missing } => series.tag(key).unwrap_or(missing),
            };
            out.extend(value.chars().map(|char| if is_topic_char(char) { char } else { '_' }));
        }
        is_topic(out)
    }
}

fn push_text(pieces: &mut Vec<TopicPiece>, text: &str) {
    if !text.is_empty() {
        pieces.push(TopicPiece::Text(text.to_owned()));
    }
}

fn read_place(place: &str) -> Result<TopicPiece, String> {
    match place {
        "name" => return Ok(TopicPiece::Name),
        "kind" => return Ok(TopicPiece::Kind),
        _ => {}
    }
    let (key, missing) = place.split_once(":-").unwrap_or((place, MISSING));
    match key.strip_prefix("tag.") {
        Some(key) if !key.is_empty() && missing.chars().all(is_topic_char) => {
            Ok(TopicPiece::Tag { key: key.to_owned(), missing: missing.to_owned() })
        }
        Some(key) if !key.is_empty() => Err(format!(
            "the text for a missing tag has letters, digits, `.`, `_` and `-`, not `{missing}`"
        )),
        _ => Err(format!(
            "a topic has the placeholders {{name}}, {{kind}} and those of tags, such as \
             {{tag.environment}}, not {{{place}}}"
        )),
    }
}

fn is_topic(text: &str) -> bool {
    let right_size = (1..=TOPIC_BYTES_MAX).contains(&text.len());
    right_size && text.chars().all(is_topic_char) && !matches!(text, "." | "..")
}

fn is_topic_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-')
}

impl<'de> Deserialize<'de> for Topic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor::new("the name of a topic", Self::parse))
    }
}

impl<'de> Deserialize<'de> for TopicTemplate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor::new("the name of a topic", Self::parse))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use model::MetricKind;

    fn topic_of(template: &str, name: &str, tags: &[(&str, &str)]) -> (String, bool) {
        let mut out = "of another series".to_owned();
        let series = Series::new(MetricKind::Counter, name, tags);
        let is_valid = TopicTemplate::parse(template).unwrap().write(&mut out, &series);
        (out, is_valid)
    }

    #[test]
    fn a_template_that_begins_with_a_placeholder_lets_senders_choose_the_whole_name() {
        for (text, begins) in [("m.{tag.e}", true), ("m", true), ("{tag.e}.m", false)] {
            assert_eq!(TopicTemplate::parse(text).unwrap().begins_with_text(), begins, "{text}");
        }
    }

    #[test]
    fn topics_are_named_as_brokers_allow_it() {
        for name in ["metrics", "a.b_c-D9", &"x".repeat(249)] {
            assert_eq!(Topic::parse(name).unwrap().as_str(), name);
            assert_eq!(topic_of(name, "m", &[]), (name.to_owned(), true));
            assert!(!TopicTemplate::parse(name).unwrap().has_places());
        }
        for wrong in ["", ".", "..", "a/b", "a b", "ä", &"x".repeat(250)] {
            assert!(Topic::parse(wrong).is_err(), "{wrong}");
            assert!(TopicTemplate::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn placeholders_stand_for_the_name_the_kind_and_tags() {
        let tags = [("environment", "stage"), ("tag.x", "y")];
        let of = |template| topic_of(template, "user.logins", &tags).0;
        assert_eq!(of("metrics.{tag.environment}"), "metrics.stage");
        assert_eq!(of("{kind}-{name}"), "counter-user.logins");
        assert_eq!(of("{tag.tag.x}{tag.environment}"), "ystage");
        assert_eq!(of("m.{tag.role}"), "m.none");
        assert_eq!(of("m.{tag.role:-all}.{tag.rack:-}"), "m.all.");
    }

    #[test]
    fn a_wrong_placeholder_is_refused_with_the_allowed_ones() {
        for wrong in ["m.{environment}", "{tag.}", "{tag}", "{}", "{name:-x}", "{{name}}"] {
            let error = TopicTemplate::parse(wrong).unwrap_err();
            assert!(error.contains("such as {tag.environment}"), "{wrong}: {error}");
        }
        assert!(TopicTemplate::parse("m.{name").unwrap_err().contains("is not closed"));
        assert!(TopicTemplate::parse("{tag.x:-a/b}").unwrap_err().contains("not `a/b`"));
        assert!(TopicTemplate::parse("a b.{name}").unwrap_err().contains("must be a topic"));
    }

    #[test]
    fn characters_that_a_topic_cannot_have_become_underscores() {
        let of = |value: &str| topic_of("m.{tag.e}", "m", &[("e", value)]);
        assert_eq!(of("a b/ü\n"), ("m.a_b___".to_owned(), true));
        assert!(of(&"x".repeat(247)).1);
        assert!(!of(&"x".repeat(248)).1, "250 bytes");
        assert!(!topic_of("{name}", "..", &[]).1);
    }

    #[test]
    fn the_fallback_has_other_for_each_placeholder() {
        let fallback = |text| TopicTemplate::parse(text).unwrap().fallback();
        assert_eq!(fallback("m.{tag.e:-all}.{kind}-{name}"), "m.other.other-other");
    }

    proptest! {
        #[test]
        fn a_name_that_is_accepted_is_a_topic(name in any::<String>(), value in any::<String>()) {
            prop_assume!(!name.is_empty() && !value.is_empty());
            let (topic, is_valid) = topic_of("{name}{tag.e}", &name, &[("e", &value)]);
            prop_assert_eq!(Topic::parse(&topic).is_ok(), is_valid);
        }
    }
}
