//! Finds the word that was probably meant.

/// How alike two words must be, by Jaro-Winkler, when they are more than a few letters apart.
const LIKENESS_MIN: f64 = 0.88;

/// The candidate nearest to `word`, if one is near enough to be what was meant: the same but for
/// case, `-` and `_`; a third of its letters or fewer wrong; or a long common beginning.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let wanted = plain(word);
    candidates
        .iter()
        .filter_map(|&candidate| Some((distance(&wanted, &plain(candidate))?, candidate)))
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A word without what people get wrong without noticing.
fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// How far apart two words are, or `None` when too far to be mistaken for each other.
fn distance(wanted: &str, candidate: &str) -> Option<f64> {
    // A word this long is no typing mistake, and the comparison takes quadratic time.
    const WORD_BYTES_MAX: usize = 100;
    if wanted.len() > WORD_BYTES_MAX {
        return None;
    }
    let edits = strsim::damerau_levenshtein(wanted, candidate);
    let letters = wanted.chars().count().max(candidate.chars().count());
    let likeness = strsim::jaro_winkler(wanted, candidate);
    let near = edits * 3 <= letters || likeness >= LIKENESS_MIN;
    // Edits count first; likeness decides between words that are equally many edits away.
    near.then(|| f64::from(u32::try_from(edits).unwrap_or(u32::MAX)) + (1.0 - likeness))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 5] = ["bind_address", "bind_port", "debug_mode", "interval", "log"];

    #[test]
    fn a_typing_mistake_finds_its_word() {
        for (word, meant) in [
            ("bind_prot", "bind_port"),
            ("bindport", "bind_port"),
            ("Bind-Port", "bind_port"),
            ("bind_adress", "bind_address"),
            ("debug", "debug_mode"),
            ("intervall", "interval"),
            ("lgo", "log"),
        ] {
            assert_eq!(nearest(word, &KEYS), Some(meant), "{word}");
        }
    }

    #[test]
    fn a_different_word_suggests_nothing() {
        for word in ["kafka", "x", "", "forwarders", &"bind_port".repeat(1000)] {
            assert_eq!(nearest(word, &KEYS), None, "{word}");
        }
        assert_eq!(nearest("a", &[]), None);
    }
}
