//! Deserializes from the tree.
//!
//! A value that does not fit is passed to the visitor as what it is, so that the visitor's own
//! error says what it expects. Whoever passes a node on adds it to an error that has none yet.

use std::slice;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error, Expected, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::mismatch::{Mismatch, MismatchReason};
use crate::scalar;
use crate::spanned::SPANNED;
use crate::tree::{NodeContent, YamlNode, YamlScalar};

macro_rules! deserialize_as {
    ($visit:ident: $($method:ident($($argument:ty),*))*) => {$(
        fn $method<V: Visitor<'de>>(self, $(_: $argument,)* visitor: V) -> Outcome<'de, V::Value> {
            self.$visit(visitor)
        }
    )*};
}

type Outcome<'de, T> = Result<T, Mismatch<'de>>;
type Entry = (YamlNode, YamlNode);

impl YamlNode {
    fn is_null(&self) -> bool {
        self.scalar().is_some_and(|scalar| scalar.is_null)
    }

    /// The text of any scalar, as it is written. An expanded value that is empty is empty text.
    fn visit_text<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Outcome<'de, V::Value> {
        match self.scalar() {
            Some(scalar) if !scalar.is_null || scalar.references.is_some() => {
                visitor.visit_borrowed_str(&scalar.text)
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn visit_integer<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Outcome<'de, V::Value> {
        match self.scalar() {
            Some(scalar) if scalar.is_ambiguous() => visitor.visit_borrowed_str(&scalar.text),
            Some(YamlScalar { text, .. }) => match scalar::whole_number(text) {
                Some(number) => visit_whole_number(number, text, visitor),
                None => self.deserialize_any(visitor),
            },
            None => self.deserialize_any(visitor),
        }
    }

    fn visit_number<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Outcome<'de, V::Value> {
        match scalar::number(self.text()) {
            Some(number) => visitor.visit_f64(number),
            None => self.deserialize_any(visitor),
        }
    }

    /// A list; nothing is an empty one.
    fn visit_list<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Outcome<'de, V::Value> {
        let items: &[Self] = match &self.content {
            NodeContent::List(items) => items,
            NodeContent::Scalar(scalar) if scalar.is_null => &[],
            _ => return self.deserialize_any(visitor),
        };
        let expected = (&visitor as &dyn Expected).to_string();
        let mut left = ListItems(items.iter());
        let value = visitor.visit_seq(&mut left)?;
        // A tuple stops early when the list is too long.
        match left.0.len() {
            0 => Ok(value),
            _ => Err(Mismatch::invalid_length(items.len(), &expected.as_str())),
        }
    }

    /// A section; nothing is an empty one.
    fn visit_section<'de, V: Visitor<'de>>(&'de self, visitor: V) -> Outcome<'de, V::Value> {
        let entries: &[Entry] = match &self.content {
            NodeContent::Section(entries) => entries,
            NodeContent::Scalar(scalar) if scalar.is_null => &[],
            NodeContent::Scalar(_) => return self.deserialize_any(visitor),
            // Serde's derive would take the fields in order.
            NodeContent::List(_) => return Err(Mismatch::invalid_type(Unexpected::Seq, &visitor)),
        };
        let mut access = SectionEntries { left: entries.iter(), current: None };
        visitor.visit_map(&mut access).map_err(|mismatch| match access.current {
            // Serde finds a repeated field, perhaps under another name, only after its key.
            Some((key, _)) if matches!(mismatch.reason, MismatchReason::RepeatedKey(_)) => {
                mismatch.at(key)
            }
            _ => mismatch,
        })
    }
}

/// Passes on a number in the type that fits. To lose digits silently would be worse than text.
fn visit_whole_number<'de, V: Visitor<'de>>(
    number: i128,
    text: &'de str,
    visitor: V,
) -> Outcome<'de, V::Value> {
    if let Ok(number) = u64::try_from(number) {
        visitor.visit_u64(number)
    } else if let Ok(number) = i64::try_from(number) {
        visitor.visit_i64(number)
    } else {
        visitor.visit_borrowed_str(text)
    }
}

impl<'de> Deserializer<'de> for &'de YamlNode {
    type Error = Mismatch<'de>;

    forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct }

    deserialize_as! { visit_integer:
        deserialize_i8() deserialize_i16() deserialize_i32() deserialize_i64()
        deserialize_u8() deserialize_u16() deserialize_u32() deserialize_u64()
    }
    deserialize_as! { visit_number: deserialize_f32() deserialize_f64() }
    deserialize_as! { visit_text:
        deserialize_char() deserialize_str() deserialize_string() deserialize_identifier()
    }
    deserialize_as! { visit_list: deserialize_seq() deserialize_tuple(usize) }
    deserialize_as! { visit_section:
        deserialize_map() deserialize_struct(&'static str, &'static [&'static str])
    }

    /// Types a plain scalar by the core schema of YAML 1.2. `yes` and `on` are text: only a reader
    /// that asks for a boolean gets one of those.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Outcome<'de, V::Value> {
        let scalar = match &self.content {
            NodeContent::List(_) => return self.visit_list(visitor),
            NodeContent::Section(_) => return self.visit_section(visitor),
            NodeContent::Scalar(scalar) => scalar,
        };
        let text = scalar.text.as_str();
        let is_fraction = text.contains(['.', 'e', 'E']);
        if scalar.is_null {
            visitor.visit_unit()
        } else if !scalar.is_plain {
            visitor.visit_borrowed_str(text)
        } else if let "true" | "True" | "TRUE" | "false" | "False" | "FALSE" = text {
            visitor.visit_bool(scalar::boolean(text) == Some(true))
        } else if let Some(number) = scalar::whole_number(text) {
            visit_whole_number(number, text, visitor)
        } else if let Some(number) = scalar::number(text).filter(|_| is_fraction) {
            visitor.visit_f64(number)
        } else {
            visitor.visit_borrowed_str(text)
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Outcome<'de, V::Value> {
        // Quotes make text, but not around a `${…}`.
        let is_typed = |scalar: &&YamlScalar| scalar.is_plain || scalar.references.is_some();
        let scalar = self.scalar().filter(is_typed);
        match scalar.and_then(|scalar| scalar::boolean(&scalar.text)) {
            Some(value) => visitor.visit_bool(value),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Outcome<'de, V::Value> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Outcome<'de, V::Value> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> Outcome<'de, V::Value> {
        if name == SPANNED {
            return visitor.visit_seq(SpanAndValue { node: self, given: 0 });
        }
        self.visit_list(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Outcome<'de, V::Value> {
        match &self.content {
            NodeContent::Scalar(scalar) if !scalar.is_null => {
                visitor.visit_enum(BorrowedStrDeserializer::new(&scalar.text))
            }
            NodeContent::Section(entries) if entries.len() == 1 => {
                let access = SectionEntries { left: entries.iter(), current: None };
                visitor.visit_enum(MapAccessDeserializer::new(access))
            }
            _ => Err(Mismatch::unknown_variant("", variants)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Outcome<'de, V::Value> {
        visitor.visit_unit()
    }
}

/// The items of a list that are left.
struct ListItems<'de>(slice::Iter<'de, YamlNode>);

impl<'de> SeqAccess<'de> for ListItems<'de> {
    type Error = Mismatch<'de>;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Outcome<'de, Option<S::Value>> {
        let Some(item) = self.0.next() else { return Ok(None) };
        seed.deserialize(item).map(Some).map_err(|mismatch| mismatch.at(item))
    }
}

/// The entries of a section that are left, and the one whose key was read last.
struct SectionEntries<'de> {
    left: slice::Iter<'de, Entry>,
    current: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for SectionEntries<'de> {
    type Error = Mismatch<'de>;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Outcome<'de, Option<S::Value>> {
        self.current = self.left.next();
        let Some((key, _)) = self.current else { return Ok(None) };
        seed.deserialize(key).map(Some).map_err(|mismatch| mismatch.at(key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Outcome<'de, S::Value> {
        let Some((_, value)) = self.current else {
            return Err(Mismatch::custom("a value was asked for before its key"));
        };
        seed.deserialize(value).map_err(|mismatch| mismatch.at(value))
    }
}

/// The parts of a `Spanned`: the four numbers of the span, then the value.
struct SpanAndValue<'de> {
    node: &'de YamlNode,
    given: usize,
}

impl<'de> SeqAccess<'de> for SpanAndValue<'de> {
    type Error = Mismatch<'de>;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Outcome<'de, Option<S::Value>> {
        self.given += 1;
        match self.given {
            1 => {
                let [start, end] = [self.node.span.start, self.node.span.end];
                let numbers = [start.line, start.column, end.line, end.column];
                seed.deserialize(SeqDeserializer::new(numbers.into_iter())).map(Some)
            }
            2 => seed.deserialize(self.node).map(Some),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{Source, parse};

    #[test]
    fn plain_scalars_are_typed_by_the_core_schema() {
        for (text, expected) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("null", Value::Null),
            ("True", json!(true)),
            ("false", json!(false)),
            ("yes", json!("yes")),
            ("5090", json!(5090)),
            ("-7", json!(-7)),
            ("0x1F", json!(31)),
            ("0o17", json!(15)),
            ("1.10", json!(1.1)),
            ("-.5e3", json!(-500.0)),
            ("0123e4", json!(1_230_000.0)),
            (".inf", json!(".inf")),
            ("inf", json!("inf")),
            ("1e999", json!("1e999")),
            ("99999999999999999999999", json!("99999999999999999999999")),
            ("1.2.3", json!("1.2.3")),
            ("0x", json!("0x")),
            ("0x+5", json!("0x+5")),
            ("+-5", json!("+-5")),
            ("1_000", json!("1_000")),
            (".", json!(".")),
        ] {
            let source = Source::new("f", format!("key: {text}"));
            let value: Value = parse(&source, &|_| None).unwrap();
            assert_eq!(value["key"], expected, "{text}");
        }
    }
}
