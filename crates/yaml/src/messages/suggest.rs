//! Suggests the word that was probably meant.

/// Minimum similarity (Jaro-Winkler) of two words that differ in more than a few letters.
const LIKENESS_MIN: f64 = 0.88;

/// Returns the candidate nearest to `word`, if one is similar enough: equal except for case, `-`
/// and `_`; with at most a third of its letters wrong; with a long common beginning; or without the
/// first parts of the candidate, as in `broker` for `kafka_broker`.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let wanted = plain(word);
    candidates
        .iter()
        .filter_map(|&candidate| {
            let whole = distance(&wanted, &plain(candidate));
            Some((whole.or_else(|| distance_of_end(&wanted, candidate))?, candidate))
        })
        .min_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Returns a word without the differences that people overlook: case, `-` and `_`.
fn plain(word: &str) -> String {
    word.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

/// Returns the distance of a word from the end of a candidate that consists of several parts, or
/// `None` if no end is almost equal.
fn distance_of_end(wanted: &str, candidate: &str) -> Option<f64> {
    // A short word differs from too many others in a single letter.
    const LETTERS_MIN: usize = 6;
    let edits_max = usize::from(wanted.len() >= LETTERS_MIN);
    let ends = candidate.match_indices('_').map(|(at, _)| plain(&candidate[at + 1..]));
    let edits = ends.filter(|end| end.len() + 1 >= wanted.len()).filter_map(|end| {
        Some(strsim::damerau_levenshtein(wanted, &end)).filter(|edits| *edits <= edits_max)
    });
    // Farther than a typing mistake in the whole word.
    edits.min().map(|edits| f64::from(u32::try_from(edits).unwrap_or(u32::MAX)) + 1.0)
}

/// Returns the distance of two words, or `None` if they are too different to be confused.
fn distance(wanted: &str, candidate: &str) -> Option<f64> {
    // So long a word is no typing mistake, and the comparison takes quadratic time.
    const WORD_BYTES_MAX: usize = 100;
    if wanted.len() > WORD_BYTES_MAX {
        return None;
    }
    let edits = strsim::damerau_levenshtein(wanted, candidate);
    let letters = wanted.chars().count().max(candidate.chars().count());
    let likeness = strsim::jaro_winkler(wanted, candidate);
    let near = edits * 3 <= letters || likeness >= LIKENESS_MIN;
    // Edits count first; the similarity decides between words with equally many edits.
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
            ("port", "bind_port"),
            ("adress", "bind_address"),
        ] {
            assert_eq!(nearest(word, &KEYS), Some(meant), "{word}");
        }
    }

    #[test]
    fn a_different_word_suggests_nothing() {
        for word in ["kafka", "x", "", "forwarders", "pork", &"bind_port".repeat(1000)] {
            assert_eq!(nearest(word, &KEYS), None, "{word}");
        }
        assert_eq!(nearest("a", &[]), None);
    }
}
