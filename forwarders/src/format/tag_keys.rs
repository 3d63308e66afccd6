//! Keeps the keys of tags different from each other when a format replaces characters in them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A tag as a format writes it, before escapes.
#[derive(Debug)]
pub(crate) struct SafeTag {
    pub(crate) key: Vec<u8>,
    pub(crate) value: Vec<u8>,
    /// Whether the key differs from the series' own.
    pub(crate) is_changed: bool,
}

/// Gives each tag another key and sorts the tags by it. The tags must be in the order of their
/// series.
///
/// A key that needed no change stays; a changed key that is taken gets `_2`, `_3` and so on.
/// Otherwise a reader would refuse the series, or keep only one of the tags.
pub(crate) fn tell_apart(tags: &mut [SafeTag]) {
    tags.sort_by_key(|tag| tag.is_changed);
    // For each key, the last number that was tried. A search resumes there, so that a sender cannot
    // make it quadratic.
    let mut taken = HashMap::<Vec<u8>, usize>::with_capacity(tags.len());
    for tag in &mut *tags {
        let base = match taken.entry(tag.key.clone()) {
            Entry::Vacant(vacant) => {
                vacant.insert(1);
                continue;
            }
            Entry::Occupied(occupied) => occupied.key().clone(),
        };
        let mut number = taken[&base];
        while taken.contains_key(&tag.key) {
            number += 1;
            tag.key.truncate(base.len());
            tag.key.extend_from_slice(format!("_{number}").as_bytes());
        }
        taken.insert(tag.key.clone(), 1);
        taken.insert(base, number);
    }
    tags.sort_unstable_by(|a, b| a.key.cmp(&b.key));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn told_apart(keys: &[(&str, bool)]) -> Vec<String> {
        let tag = |(key, is_changed): &(&str, bool)| SafeTag {
            key: key.as_bytes().to_vec(),
            value: Vec::new(),
            is_changed: *is_changed,
        };
        let mut tags: Vec<_> = keys.iter().map(tag).collect();
        tell_apart(&mut tags);
        tags.into_iter().map(|tag| String::from_utf8(tag.key).unwrap()).collect()
    }

    #[test]
    fn a_changed_key_that_is_taken_gets_a_number() {
        assert_eq!(told_apart(&[("b", true), ("a", false)]), ["a", "b"]);
        assert_eq!(told_apart(&[("a", true), ("a", false), ("a", true)]), ["a", "a_2", "a_3"]);
        assert_eq!(told_apart(&[("a", true), ("a", true), ("a_2", false)]), ["a", "a_2", "a_3"]);
    }

    proptest! {
        #[test]
        fn no_two_keys_are_equal(keys in prop::collection::vec("[a_2]{0,3}", 0..40)) {
            let keys: Vec<_> = keys.iter().map(|key| (key.as_str(), true)).collect();
            let told = told_apart(&keys);
            prop_assert!(told.is_sorted_by(|a, b| a < b), "{:?}", told);
            prop_assert_eq!(told.len(), keys.len());
        }
    }
}
