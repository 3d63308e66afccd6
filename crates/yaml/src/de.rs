//! Deserializes from the tree. Every failure leaves here with its place and its path.

use std::iter::Enumerate;
use std::rc::Rc;
use std::slice;

use serde::de::value::UsizeDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer,
    MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::failure::{Failure, Problem, Step, Words, wish};
use super::scalar::{self, Core};
use super::secrets;
use super::source::Span;
use super::spanned::SPANNED;
use super::tree::{Key, Kind, Node, Scalar};

/// Reads a whole tree.
pub(super) fn read<T: DeserializeOwned>(root: &Node) -> Result<T, Failure> {
    let reader = Reader { node: root, is_secret: false };
    T::deserialize(reader).map_err(|failure| reader.place(failure))
}

impl Scalar {
    /// Whether it stands for "nothing". What came out of a `${…}` does so only when it is empty:
    /// a password may well be `~`.
    pub(super) fn is_null(&self) -> bool {
        match self.expanded_from {
            Some(_) => self.is_plain && self.text.is_empty(),
            None => self.is_plain && scalar::is_null(&self.text),
        }
    }
}

/// Reads one node.
#[derive(Clone, Copy)]
struct Reader<'de> {
    node: &'de Node,
    /// Whether it stands below a key that is named like a secret.
    is_secret: bool,
}

impl<'de> Reader<'de> {
    fn of_value(self, key: &Node, node: &'de Node) -> Self {
        Self { node, is_secret: self.is_secret || secrets::is_secret_key(key.text()) }
    }

    /// Says where a failure happened, if nobody further in did.
    fn place(self, failure: Failure) -> Failure {
        failure.at(self.node, self.is_secret)
    }

    fn placed<T>(self, result: Result<T, Failure>) -> Result<T, Failure> {
        result.map_err(|failure| self.place(failure))
    }

    fn is_null(self) -> bool {
        matches!(&self.node.kind, Kind::Scalar(scalar) if scalar.is_null())
    }

    /// The scalar, when there is one that is not nothing.
    fn scalar(self) -> Option<&'de Scalar> {
        match &self.node.kind {
            Kind::Scalar(scalar) if !scalar.is_null() => Some(scalar),
            _ => None,
        }
    }

    /// The text of any scalar, as it is written. An expanded value that is empty is empty text.
    fn text(self, expected: &dyn Expected) -> Result<&'de str, Failure> {
        match &self.node.kind {
            Kind::Scalar(scalar) if !scalar.is_null() || scalar.expanded_from.is_some() => {
                Ok(&scalar.text)
            }
            _ => Err(self.place(Failure::mismatch(wish(expected)))),
        }
    }

    fn boolean(self) -> Result<bool, Failure> {
        const EXPECTED: &str = "true or false";
        let word = self.scalar().and_then(|scalar| Some((scalar, scalar::boolean(&scalar.text)?)));
        match word {
            Some((scalar, value)) if scalar.is_plain || scalar.expanded_from.is_some() => Ok(value),
            Some(_) => {
                let hint = "a boolean stands without quotes";
                Err(self.place(Failure::mismatch_with_hint(EXPECTED, hint)))
            }
            None => Err(self.place(Failure::mismatch_with_hint(
                EXPECTED,
                "allowed: true, false, yes, no, on, off",
            ))),
        }
    }

    fn whole_number(self, min: i128, max: i128) -> Result<i128, Failure> {
        let expected = || format!("a whole number from {min} to {max}");
        let number = self.scalar().and_then(|scalar| scalar::whole_number(&scalar.text));
        match (number, self.scalar()) {
            (Some(number), Some(scalar)) if is_ambiguous(scalar) => {
                let digits = scalar.text.trim_start_matches(['+', '-', '0']);
                let hint = format!(
                    "a leading 0 used to mean base eight: write {number} or 0o{digits} to be clear"
                );
                // The hint would repeat a secret.
                let is_shown = !self.is_secret && !scalar.is_secret;
                let hint = if is_shown { hint } else { "write it without the leading 0".into() };
                Err(self.place(Failure::mismatch_with_hint(&expected(), hint)))
            }
            (Some(number), _) if (min..=max).contains(&number) => Ok(number),
            _ => Err(self.place(Failure::mismatch(expected()))),
        }
    }

    fn signed(self, min: i64, max: i64) -> Result<i64, Failure> {
        let number = self.whole_number(min.into(), max.into())?;
        i64::try_from(number).map_err(|_| self.place(Failure::mismatch("a whole number")))
    }

    fn unsigned(self, max: u64) -> Result<u64, Failure> {
        let number = self.whole_number(0, max.into())?;
        u64::try_from(number).map_err(|_| self.place(Failure::mismatch("a whole number")))
    }

    fn number(self) -> Result<f64, Failure> {
        let number = self.scalar().and_then(|scalar| scalar::number(&scalar.text));
        number.ok_or_else(|| self.place(Failure::mismatch("a number")))
    }

    fn visit_sequence<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let items: &[_] = match &self.node.kind {
            Kind::Sequence(items) => items,
            _ if self.is_null() => &[],
            _ => return Err(self.place(Failure::mismatch("a list"))),
        };
        let expected = wish(&visitor as &dyn Expected);
        let mut access = Items { reader: self, left: items.iter().enumerate() };
        let value = self.placed(visitor.visit_seq(&mut access))?;
        // A tuple stops early when the list is too long.
        if access.left.len() > 0 {
            return Err(self.place(Failure::new(Problem::Length { expected, found: items.len() })));
        }
        Ok(value)
    }

    fn visit_mapping<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let entries: &[_] = match &self.node.kind {
            Kind::Mapping(entries) => entries,
            _ if self.is_null() => &[],
            _ => return Err(self.place(Failure::mismatch("a section"))),
        };
        let mut access = Entries { reader: self, left: entries.iter(), current: None };
        let result = visitor.visit_map(&mut access);
        result.map_err(|failure| {
            let failure = match access.current {
                Some((key, _)) => failure.at_key(key),
                None => failure,
            };
            self.place(failure)
        })
    }
}

/// Whether YAML 1.1, and so the program that read these files before, took it for another number.
fn is_ambiguous(scalar: &Scalar) -> bool {
    scalar.is_plain && scalar.expanded_from.is_none() && scalar::is_old_octal(&scalar.text)
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let scalar = match &self.node.kind {
            Kind::Sequence(_) => return self.visit_sequence(visitor),
            Kind::Mapping(_) => return self.visit_mapping(visitor),
            Kind::Scalar(scalar) => scalar,
        };
        let core = match Core::resolve(&scalar.text) {
            Core::Null if scalar.is_null() => Core::Null,
            core if scalar.is_plain && core != Core::Null => core,
            _ => Core::Text(&scalar.text),
        };
        self.placed(match core {
            Core::Null => visitor.visit_unit(),
            Core::Bool(value) => visitor.visit_bool(value),
            Core::Unsigned(value) => visitor.visit_u64(value),
            Core::Signed(value) => visitor.visit_i64(value),
            Core::Float(value) => visitor.visit_f64(value),
            Core::Text(text) => visitor.visit_borrowed_str(text),
        })
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_bool(self.boolean()?))
    }

    fn deserialize_i8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_i64(self.signed(i8::MIN.into(), i8::MAX.into())?))
    }

    fn deserialize_i16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_i64(self.signed(i16::MIN.into(), i16::MAX.into())?))
    }

    fn deserialize_i32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_i64(self.signed(i32::MIN.into(), i32::MAX.into())?))
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_i64(self.signed(i64::MIN, i64::MAX)?))
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_u64(self.unsigned(u8::MAX.into())?))
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_u64(self.unsigned(u16::MAX.into())?))
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_u64(self.unsigned(u32::MAX.into())?))
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_u64(self.unsigned(u64::MAX)?))
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_f64(self.number()?))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_f64(self.number()?))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let text = self.text(&visitor)?;
        self.placed(visitor.visit_borrowed_str(text))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let text = self.text(&visitor)?;
        self.placed(visitor.visit_borrowed_bytes(text.as_bytes()))
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.is_null() {
            return self.placed(visitor.visit_none());
        }
        self.placed(visitor.visit_some(self))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        if self.is_null() {
            return self.placed(visitor.visit_unit());
        }
        Err(self.place(Failure::mismatch("empty")))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.visit_sequence(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.visit_sequence(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.visit_sequence(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.visit_mapping(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        _fields: Words,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        if name == SPANNED {
            return self.placed(visitor.visit_seq(WithSpan::new(self)));
        }
        self.visit_mapping(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: Words,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let variant = match &self.node.kind {
            Kind::Scalar(scalar) if !scalar.is_null() => Variant { name: self, value: None },
            Kind::Mapping(entries) if entries.len() == 1 => {
                let (key, value) = &entries[0];
                let name = Reader { node: key, is_secret: false };
                Variant { name, value: Some((key, self.of_value(key, value))) }
            }
            _ => {
                let problem = Problem::UnknownWord { word: String::new(), allowed: variants };
                return Err(self.place(Failure::new(problem)));
            }
        };
        self.placed(visitor.visit_enum(variant))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_unit())
    }
}

/// The items of a list that are left.
struct Items<'de> {
    reader: Reader<'de>,
    left: Enumerate<slice::Iter<'de, Rc<Node>>>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Failure;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Failure> {
        let Some((index, node)) = self.left.next() else { return Ok(None) };
        let reader = Reader { node, ..self.reader };
        // A type may fail after it was read, outside of any method of the reader.
        let result = seed.deserialize(reader).map_err(|failure| reader.place(failure));
        result.map(Some).map_err(|failure| failure.within(Step::Index(index)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

/// The entries of a section that are left, and the one whose key was read last.
struct Entries<'de> {
    reader: Reader<'de>,
    left: slice::Iter<'de, (Key, Rc<Node>)>,
    current: Option<(&'de Node, &'de Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Failure;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Failure> {
        let Some((key, value)) = self.left.next() else { return Ok(None) };
        self.current = Some((key, value));
        let reader = Reader { node: key, is_secret: false };
        seed.deserialize(reader).map(Some).map_err(|failure| {
            let failure = reader.place(failure);
            if failure.names_its_key() { failure } else { failure.within(step_to(key)) }
        })
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Failure> {
        let Some((key, value)) = self.current else {
            return Err(serde::de::Error::custom("a value was asked for before its key"));
        };
        let reader = self.reader.of_value(key, value);
        // A type may fail after it was read, outside of any method of the reader.
        seed.deserialize(reader).map_err(|failure| reader.place(failure).within(step_to(key)))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left.len())
    }
}

fn step_to(key: &Node) -> Step {
    Step::Key(key.text().to_owned())
}

/// An enum: a word alone, or a section of one key.
struct Variant<'de> {
    name: Reader<'de>,
    value: Option<(&'de Node, Reader<'de>)>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = Failure;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Failure> {
        let variant = self.name.placed(seed.deserialize(self.name))?;
        Ok((variant, self))
    }
}

impl<'de> Variant<'de> {
    /// Reads what stands below the variant's key.
    fn content<T>(
        self,
        read: impl FnOnce(Reader<'de>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Some((key, reader)) = self.value else {
            let hint = "this word needs settings of its own below it";
            let failure = Failure::mismatch_with_hint("a section with one key", hint);
            return Err(self.name.place(failure));
        };
        read(reader).map_err(|failure| reader.place(failure).within(step_to(key)))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = Failure;

    fn unit_variant(self) -> Result<(), Failure> {
        if self.value.is_none() {
            return Ok(());
        }
        self.content(serde::Deserialize::deserialize)
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Failure> {
        self.content(|reader| seed.deserialize(reader))
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.content(|reader| reader.visit_sequence(visitor))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: Words,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.content(|reader| reader.visit_mapping(visitor))
    }
}

/// What a `Spanned` takes: the four numbers of its place, then the value itself.
struct WithSpan<'de> {
    reader: Reader<'de>,
    numbers: std::vec::IntoIter<usize>,
    is_done: bool,
}

impl<'de> WithSpan<'de> {
    fn new(reader: Reader<'de>) -> Self {
        let Span { start, end } = reader.node.span;
        let numbers = vec![start.line, start.column, end.line, end.column].into_iter();
        Self { reader, numbers, is_done: false }
    }
}

impl<'de> SeqAccess<'de> for WithSpan<'de> {
    type Error = Failure;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Failure> {
        if let Some(number) = self.numbers.next() {
            let number: UsizeDeserializer<Failure> = number.into_deserializer();
            return seed.deserialize(number).map(Some);
        }
        if std::mem::replace(&mut self.is_done, true) {
            return Ok(None);
        }
        self.reader.placed(seed.deserialize(self.reader)).map(Some)
    }
}
