//! Deserializes types from the tree.
//!
//! A value that does not fit is passed to the visitor in the value's own type, so that the
//! visitor's error names its expectation. The code that passes a node on adds the node to an error
//! without one.

use std::slice;

use serde::de::value::{BorrowedStrDeserializer, MapAccessDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error, Expected, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use basics::scalar_text::SCALAR_TEXT;

use crate::read::mismatch::{Mismatch, MismatchReason};
use crate::read::scalar::{ScalarValue, WantedType};
use crate::read::spanned::SPANNED;
use crate::read::tree::{NodeContent, SectionEntry, YamlNode};

macro_rules! forward {
    ($($method:ident($($argument:ty),*) => $visit:ident($($wanted:ident)?);)*) => {$(
        fn $method<V: Visitor<'de>>(self, $(_: $argument,)* visitor: V) -> NodeResult<'de, V::Value> {
            self.$visit($(WantedType::$wanted,)? visitor)
        }
    )*};
}

/// The result of deserializing a node.
type NodeResult<'de, T> = Result<T, Mismatch<'de>>;

impl YamlNode {
    fn is_null(&self) -> bool {
        self.scalar().is_some_and(|scalar| scalar.is_null)
    }

    fn visit<'de, V: Visitor<'de>>(
        &'de self,
        wanted: WantedType,
        visitor: V,
    ) -> NodeResult<'de, V::Value> {
        let scalar = match &self.content {
            NodeContent::List(_) => return self.visit_list(visitor),
            NodeContent::Section(_) => return self.visit_section(visitor),
            NodeContent::Scalar(scalar) => scalar,
        };
        match scalar.value(wanted) {
            ScalarValue::Null => visitor.visit_unit(),
            ScalarValue::Boolean(value) => visitor.visit_bool(value),
            ScalarValue::Unsigned(value) => visitor.visit_u64(value),
            ScalarValue::Signed(value) => visitor.visit_i64(value),
            ScalarValue::Float(value) => visitor.visit_f64(value),
            ScalarValue::Text(text) => visitor.visit_borrowed_str(text),
        }
    }

    /// Visits a list. A missing value is an empty list.
    fn visit_list<'de, V: Visitor<'de>>(&'de self, visitor: V) -> NodeResult<'de, V::Value> {
        let items: &[Self] = match &self.content {
            NodeContent::List(items) => items,
            NodeContent::Scalar(scalar) if scalar.is_null => &[],
            _ => return self.deserialize_any(visitor),
        };
        let expected = (&visitor as &dyn Expected).to_string();
        let mut left = ListItems(items.iter());
        let value = visitor.visit_seq(&mut left)?;
        // A tuple stops reading early if the list is too long.
        match left.next() {
            None => Ok(value),
            Some(_) => Err(Mismatch::invalid_length(items.len(), &expected.as_str())),
        }
    }

    /// Visits a section. A missing value is an empty section.
    fn visit_section<'de, V: Visitor<'de>>(&'de self, visitor: V) -> NodeResult<'de, V::Value> {
        let entries: &[SectionEntry] = match &self.content {
            NodeContent::Section(entries) => entries,
            NodeContent::Scalar(scalar) if scalar.is_null => &[],
            NodeContent::Scalar(_) => return self.deserialize_any(visitor),
            // Serde's derive would read the fields from the list in their order.
            NodeContent::List(_) => return Err(Mismatch::invalid_type(Unexpected::Seq, &visitor)),
        };
        let mut access = SectionEntries { left: entries.iter(), current: None };
        visitor.visit_map(&mut access).map_err(|mismatch| match access.current {
            // Serde notices a repeated field, perhaps under an alias, only after its key.
            Some((key, _)) if matches!(mismatch.reason, MismatchReason::RepeatedKey(_)) => {
                mismatch.at(key)
            }
            _ => mismatch,
        })
    }
}

impl<'de> Deserializer<'de> for &'de YamlNode {
    type Error = Mismatch<'de>;

    forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct }

    forward! {
        deserialize_any() => visit(Any);
        deserialize_bool() => visit(Boolean);
        deserialize_i8() => visit(Integer);
        deserialize_i16() => visit(Integer);
        deserialize_i32() => visit(Integer);
        deserialize_i64() => visit(Integer);
        deserialize_u8() => visit(Integer);
        deserialize_u16() => visit(Integer);
        deserialize_u32() => visit(Integer);
        deserialize_u64() => visit(Integer);
        deserialize_f32() => visit(Number);
        deserialize_f64() => visit(Number);
        deserialize_char() => visit(Text);
        deserialize_str() => visit(Text);
        deserialize_string() => visit(Text);
        deserialize_identifier() => visit(Text);
        deserialize_seq() => visit_list();
        deserialize_tuple(usize) => visit_list();
        deserialize_map() => visit_section();
        deserialize_struct(&'static str, &'static [&'static str]) => visit_section();
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> NodeResult<'de, V::Value> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> NodeResult<'de, V::Value> {
        if name != SCALAR_TEXT {
            return visitor.visit_newtype_struct(self);
        }
        match self.scalar().filter(|scalar| scalar.is_literal()) {
            Some(literal) => visitor.visit_borrowed_bytes(literal.text.as_bytes()),
            None => self.visit(WantedType::Text, visitor),
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _: usize,
        visitor: V,
    ) -> NodeResult<'de, V::Value> {
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
    ) -> NodeResult<'de, V::Value> {
        match &self.content {
            NodeContent::Scalar(scalar) if !scalar.is_null => {
                // An enum without content may be a plain word, and otherwise is a section with one
                // key.
                visitor.visit_enum(BorrowedStrDeserializer::new(&scalar.text))
            }
            NodeContent::Section(entries) if entries.len() == 1 => {
                let access = SectionEntries { left: entries.iter(), current: None };
                visitor.visit_enum(MapAccessDeserializer::new(access))
            }
            _ => Err(Mismatch::unknown_variant("", variants)),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> NodeResult<'de, V::Value> {
        visitor.visit_unit()
    }
}

/// The remaining items of a list.
struct ListItems<'de>(slice::Iter<'de, YamlNode>);

impl<'de> Iterator for ListItems<'de> {
    type Item = &'de YamlNode;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.find(|item| !item.is_skipped.get())
    }
}

impl<'de> SeqAccess<'de> for ListItems<'de> {
    type Error = Mismatch<'de>;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> NodeResult<'de, Option<S::Value>> {
        let Some(item) = self.next() else { return Ok(None) };
        seed.deserialize(item).map(Some).map_err(|mismatch| mismatch.at(item))
    }
}

/// The remaining entries of a section, and the entry whose key was read last.
struct SectionEntries<'de> {
    left: slice::Iter<'de, SectionEntry>,
    current: Option<&'de SectionEntry>,
}

impl<'de> MapAccess<'de> for SectionEntries<'de> {
    type Error = Mismatch<'de>;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> NodeResult<'de, Option<S::Value>> {
        self.current = self.left.find(|(_, value)| !value.is_skipped.get());
        let Some((key, _)) = self.current else { return Ok(None) };
        seed.deserialize(key).map(Some).map_err(|mismatch| mismatch.at(key))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> NodeResult<'de, S::Value> {
        let Some((_, value)) = self.current else {
            return Err(Mismatch::custom("a value was asked for before its key"));
        };
        seed.deserialize(value).map_err(|mismatch| mismatch.at(value))
    }
}

/// Yields the parts of a `Spanned`: the four numbers of the span, then the value.
struct SpanAndValue<'de> {
    node: &'de YamlNode,
    given: usize,
}

impl<'de> SeqAccess<'de> for SpanAndValue<'de> {
    type Error = Mismatch<'de>;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> NodeResult<'de, Option<S::Value>> {
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
