//! A configuration of another program as a tree, and sections that know which settings were read.

use std::fmt;

use basics::scalar_text::SCALAR_TEXT;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use thiserror::Error as ThisError;

use super::notes::Notes;

/// Why a configuration cannot be converted: a sentence that says what to do.
#[derive(Debug, ThisError)]
#[error("{0}")]
pub(super) struct ConvertError(pub(super) String);

/// A value of the source. Sections keep the order of their settings.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Setting {
    /// A null, which stands for an absent setting.
    Empty,
    /// A number or a boolean, as it is written.
    Literal(String),
    /// Any other scalar.
    Text(String),
    /// A list.
    List(Vec<Setting>),
    /// A section; of settings with the same name, the last one.
    Section(Vec<(String, Setting)>),
}

impl Setting {
    /// Whether it is empty, false or a time of 0.
    fn is_off(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Literal(text) | Self::Text(text) => ["", "false", "0s"].contains(&text.as_str()),
            Self::List(items) => items.is_empty(),
            Self::Section(entries) => entries.is_empty(),
        }
    }
}

impl<'de> Deserialize<'de> for Setting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The reader of YAML files then passes literals as they are written.
        deserializer.deserialize_newtype_struct(SCALAR_TEXT, SettingVisitor)
    }
}

struct SettingVisitor;

impl<'de> Visitor<'de> for SettingVisitor {
    type Value = Setting;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a setting")
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<Setting, D::Error> {
        inner.deserialize_any(self)
    }

    fn visit_unit<E: Error>(self) -> Result<Setting, E> {
        Ok(Setting::Empty)
    }

    fn visit_none<E: Error>(self) -> Result<Setting, E> {
        Ok(Setting::Empty)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Setting, D::Error> {
        Setting::deserialize(inner)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Setting, E> {
        Ok(Setting::Literal(value.to_string()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Setting, E> {
        Ok(Setting::Literal(value.to_string()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Setting, E> {
        Ok(Setting::Literal(value.to_string()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Setting, E> {
        Ok(Setting::Literal(value.to_string()))
    }

    fn visit_bytes<E: Error>(self, literal: &[u8]) -> Result<Setting, E> {
        std::str::from_utf8(literal)
            .map(|text| Setting::Literal(text.to_owned()))
            .map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Setting, E> {
        Ok(Setting::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Setting, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            items.push(item);
        }
        Ok(Setting::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Setting, A::Error> {
        let mut entries: Vec<(String, Setting)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Setting>()? {
            entries.retain(|(earlier, _)| *earlier != key);
            entries.push((key, value));
        }
        Ok(Setting::Section(entries))
    }
}

/// A section whose settings are taken one by one. [`Section::finish`] reports the remaining ones, so
/// that no setting is lost without a note.
#[derive(Debug)]
pub(super) struct Section {
    path: String,
    entries: Vec<(String, Setting)>,
}

type Taken<T> = Result<Option<T>, ConvertError>;

impl Section {
    /// The section at `path`; empty at the root.
    ///
    /// # Errors
    /// If the setting is none.
    pub(super) fn new(path: impl Into<String>, setting: Setting) -> Result<Self, ConvertError> {
        let path = path.into();
        match setting {
            Setting::Section(entries) => Ok(Self { path, entries }),
            Setting::Empty => Ok(Self { path, entries: Vec::new() }),
            _ if path.is_empty() => {
                Err(ConvertError("the configuration must consist of named settings".to_owned()))
            }
            _ => Err(ConvertError(format!("`{path}` must be a section"))),
        }
    }

    /// The complete name of a setting.
    pub(super) fn name_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The names of the settings that were not taken.
    pub(super) fn keys(&self) -> Vec<String> {
        self.entries.iter().map(|(key, _)| key.clone()).collect()
    }

    /// Removes a setting and returns it; `None` if it is absent.
    pub(super) fn take(&mut self, key: &str) -> Option<Setting> {
        let at = self.entries.iter().position(|(name, _)| name == key)?;
        let (_, setting) = self.entries.remove(at);
        (setting != Setting::Empty).then_some(setting)
    }

    /// A text, which stays in the section.
    pub(super) fn peek(&self, key: &str) -> Option<&str> {
        self.entries.iter().find_map(|(name, setting)| match setting {
            Setting::Text(text) if name == key => Some(text.as_str()),
            _ => None,
        })
    }

    fn wrong<T>(&self, key: &str, wanted: &str) -> Taken<T> {
        Err(ConvertError(format!("`{}` must be {wanted}", self.name_of(key))))
    }

    /// Takes a text, or a number as text.
    pub(super) fn text(&mut self, key: &str) -> Taken<String> {
        match self.take(key) {
            None => Ok(None),
            Some(Setting::Text(text) | Setting::Literal(text)) => Ok(Some(text)),
            Some(_) => self.wrong(key, "a text"),
        }
    }

    /// Takes a number, also in quotes.
    pub(super) fn number(&mut self, key: &str) -> Taken<f64> {
        match self.text(key)?.map(|text| text.trim().parse::<f64>()) {
            None => Ok(None),
            Some(Ok(number)) if number.is_finite() => Ok(Some(number)),
            Some(_) => self.wrong(key, "a number"),
        }
    }

    /// Takes a boolean.
    pub(super) fn flag(&mut self, key: &str) -> Taken<bool> {
        match self.text(key)?.as_deref() {
            None => Ok(None),
            Some("true" | "True" | "TRUE" | "yes" | "on" | "1") => Ok(Some(true)),
            Some("false" | "False" | "FALSE" | "no" | "off" | "0" | "") => Ok(Some(false)),
            Some(_) => self.wrong(key, "true or false"),
        }
    }

    /// Takes a list of texts, or one text.
    pub(super) fn texts(&mut self, key: &str) -> Taken<Vec<String>> {
        let items = match self.take(key) {
            None => return Ok(None),
            Some(Setting::List(items)) => items,
            Some(other) => vec![other],
        };
        let mut texts = Vec::new();
        for item in items {
            match item {
                Setting::Text(text) | Setting::Literal(text) => texts.push(text),
                _ => return self.wrong(key, "a list of texts or numbers"),
            }
        }
        Ok(Some(texts))
    }

    /// Takes a section.
    pub(super) fn section(&mut self, key: &str) -> Taken<Section> {
        let path = self.name_of(key);
        self.take(key).map(|setting| Section::new(path, setting)).transpose()
    }

    /// Takes a list of sections, or one section.
    pub(super) fn sections(&mut self, key: &str) -> Taken<Vec<Section>> {
        let path = self.name_of(key);
        match self.take(key) {
            None => Ok(None),
            Some(Setting::List(items)) => {
                let named = (0..).zip(items).map(|(at, item)| (format!("{path}[{at}]"), item));
                named
                    .map(|(path, item)| Section::new(path, item))
                    .collect::<Result<_, _>>()
                    .map(Some)
            }
            Some(one) => Ok(Some(vec![Section::new(path, one)?])),
        }
    }

    /// Takes all pairs of names and texts, such as tags.
    pub(super) fn pairs(mut self) -> Result<Vec<(String, String)>, ConvertError> {
        let mut pairs = Vec::new();
        for key in self.keys() {
            if let Some(text) = self.text(&key)? {
                pairs.push((key, text));
            }
        }
        Ok(pairs)
    }

    /// Takes the settings of a table, and notes each as one without an equivalent, with the reason. One that
    /// is switched off needs none.
    pub(super) fn without_equivalent(&mut self, table: &[(&str, &str)], notes: &mut Notes) {
        for (key, reason) in table {
            if self.take(key).is_some_and(|setting| !setting.is_off()) {
                notes.lost(self.name_of(key), *reason);
            }
        }
    }

    /// Names each remaining setting as unknown.
    pub(super) fn finish(self, notes: &mut Notes) {
        for (key, setting) in &self.entries {
            if *setting != Setting::Empty {
                notes.unknown(self.name_of(key));
            }
        }
    }
}
