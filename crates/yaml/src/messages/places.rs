//! Finds the section that an unknown key belongs to.
//!
//! Serde's derive names the keys of a section only in the error for an unknown one. So the sections of
//! a type are found by reading small files, each with an unknown key in one section.

use std::cell::LazyCell;
use std::collections::VecDeque;

use serde::de::DeserializeOwned;

use crate::messages::suggest::nearest;
use crate::read::mismatch::{MismatchReason, Words};
use crate::read::tree;

/// Maximum number of sections that are tried, and of the keys around one.
const TRIES_MAX: usize = 5_000;
const DEPTH_MAX: usize = 8;
/// A key that no type has.
const UNKNOWN_KEY: &str = "?";

/// A section of a type.
#[derive(Debug)]
pub(crate) struct TypeSection {
    path: Vec<SectionStep>,
    /// The keys that it may have.
    keys: Words,
}

/// A key that leads to a section, or to a list of sections.
#[derive(Clone, Copy, Debug)]
struct SectionStep {
    key: &'static str,
    is_list: bool,
}

/// The sections of a type, found when they are needed first.
pub(crate) type LazySections = LazyCell<Vec<TypeSection>>;

/// Finds the sections of a type, the outer ones first.
pub(crate) fn sections<T: DeserializeOwned>() -> Vec<TypeSection> {
    let mut found = Vec::new();
    let mut untried = VecDeque::from([Vec::new()]);
    for _ in 0..TRIES_MAX {
        let Some(path) = untried.pop_front() else { break };
        let Some(section) = section::<T>(path) else { continue };
        if section.path.len() < DEPTH_MAX {
            let inner = |key: &&'static str| {
                let step = SectionStep { key, is_list: false };
                section.path.iter().copied().chain([step]).collect()
            };
            untried.extend(section.keys.iter().map(inner));
        }
        found.push(section);
    }
    found
}

/// Returns the section at a path, whose last key may also lead to a list.
fn section<T: DeserializeOwned>(mut path: Vec<SectionStep>) -> Option<TypeSection> {
    if let Some(keys) = keys::<T>(&path) {
        return Some(TypeSection { path, keys });
    }
    path.last_mut()?.is_list = true;
    let keys = keys::<T>(&path)?;
    Some(TypeSection { path, keys })
}

fn keys<T: DeserializeOwned>(path: &[SectionStep]) -> Option<Words> {
    let innermost = format!("{{\"{UNKNOWN_KEY}\": 0}}");
    let text = path.iter().rfold(innermost, |inner, SectionStep { key, is_list }| match is_list {
        true => format!("{{\"{key}\": [{inner}]}}"),
        false => format!("{{\"{key}\": {inner}}}"),
    });
    let root = tree::parse(&text).ok()?;
    match T::deserialize(&root).err()?.reason {
        MismatchReason::UnknownKey(key, keys) if key == UNKNOWN_KEY => Some(keys),
        _ => None,
    }
}

/// Returns a line of help if the key, which is unknown in the section at `path`, exists in another
/// section. A key with dots also names the sections around it.
pub(crate) fn hint(sections: &[TypeSection], path: &str, key: &str) -> Option<String> {
    let here: Vec<&str> = path.split(['.', '[']).filter(|step| is_key(step)).collect();
    let mut around: Vec<&str> = key.split('.').collect();
    let name = around.pop()?;
    let mut places: Vec<(PlaceRank, &TypeSection, &str)> = Vec::new();
    for section in sections {
        if let Some(key) = section.key(&around, name) {
            places.push((section.rank(&here), section, key));
        }
    }
    let rank = places.iter().map(|(rank, ..)| *rank).min()?;
    places.retain(|(other, ..)| *other == rank);
    // Of many places, none is probable.
    let [(_, section, key)] = places[..] else { return None };
    let place = match section.path.is_empty() {
        true => "at the top level of the file".to_owned(),
        false => format!("in the section `{}`", section.name()),
    };
    Some(match around.is_empty() {
        true => format!("`{key}` belongs {place}"),
        false => format!("write it as `{key}` {place}"),
    })
}

/// Whether a part of a path is a key, and not the index of a list.
fn is_key(step: &str) -> bool {
    !step.is_empty() && !step.ends_with(']')
}

/// How far a section is from another one; the least is the most probable place of a misplaced key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PlaceRank {
    /// Below it, by this number of levels.
    Below(usize),
    /// Above it, by this number of levels.
    Above(usize),
    Elsewhere,
}

impl TypeSection {
    /// Returns the key of this section that is meant by `name`, if `around` are the keys that lead to
    /// the section, or the last of these.
    fn key(&self, around: &[&str], name: &str) -> Option<&'static str> {
        let skipped = self.path.len().checked_sub(around.len())?;
        let leads_here =
            self.path[skipped..].iter().zip(around).all(|(step, key)| step.key == *key);
        let exact = self.keys.iter().find(|key| **key == name).copied();
        let near = || nearest(name, self.keys).filter(|_| !around.is_empty());
        exact.or_else(near).filter(|_| leads_here)
    }

    fn rank(&self, here: &[&str]) -> PlaceRank {
        let is_common = self.path.iter().zip(here).all(|(step, key)| step.key == *key);
        match self.path.len().checked_sub(here.len()) {
            _ if !is_common => PlaceRank::Elsewhere,
            Some(levels) => PlaceRank::Below(levels),
            None => PlaceRank::Above(here.len() - self.path.len()),
        }
    }

    fn name(&self) -> String {
        let step = |step: &SectionStep| match step.is_list {
            true => format!("{}[]", step.key),
            false => step.key.to_owned(),
        };
        self.path.iter().map(step).collect::<Vec<_>>().join(".")
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(dead_code, reason = "only the keys matter")]
    struct Root {
        interval: u32,
        listeners: Vec<Listener>,
        graphite: Graphite,
        influxdb: Select,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "only the keys matter")]
    struct Listener {
        protocol: String,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(dead_code, reason = "only the keys matter")]
    struct Graphite {
        graphite_address: String,
        etsy: Etsy,
        select: Select,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(dead_code, reason = "only the keys matter")]
    struct Etsy {
        percent_threshold: u32,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[allow(dead_code, reason = "only the keys matter")]
    struct Select {
        include: String,
    }

    #[test]
    fn a_key_of_another_section_is_found() {
        let sections = sections::<Root>();
        for (path, key, expected) in [
            (
                ".graphite[1]",
                "percent_threshold",
                "`percent_threshold` belongs in the section `graphite.etsy`",
            ),
            ("", "percent_threshold", "`percent_threshold` belongs in the section `graphite.etsy`"),
            (
                ".influxdb",
                "percent_threshold",
                "`percent_threshold` belongs in the section `graphite.etsy`",
            ),
            (".graphite.etsy", "interval", "`interval` belongs at the top level of the file"),
            (".graphite", "include", "`include` belongs in the section `graphite.select`"),
            ("", "protocol", "`protocol` belongs in the section `listeners[]`"),
            (
                "",
                "graphite.etsy.percent_threshold",
                "write it as `percent_threshold` in the section `graphite.etsy`",
            ),
            (
                "",
                "etsy.percent_treshold",
                "write it as `percent_threshold` in the section `graphite.etsy`",
            ),
            ("", "graphite.address", "write it as `graphite_address` in the section `graphite`"),
        ] {
            assert_eq!(hint(&sections, path, key).as_deref(), Some(expected), "{path} {key}");
        }
        // In two sections at the same distance, and in none.
        for (path, key) in
            [(".listeners[0]", "include"), ("", "other"), ("", "other.interval"), ("", "")]
        {
            assert_eq!(hint(&sections, path, key), None, "{path} {key}");
        }
    }
}
