//! Sanitises names, tags and values for Graphite.
//!
//! Carbon reacts to invalid input by closing the connection (bytes that are not UTF-8, a line over
//! 16 KiB), by a line in its log (blanks, an empty tag) or by a file in the wrong place (`/`,
//! `..`). This module replaces all of that in the text of senders. The encoder refuses overlong
//! paths, because it can count them.

/// The set of characters that stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// Letters and digits of all scripts stay; every character with a meaning becomes `_`.
    Wide,
    /// statsd's rule: blanks become one `_`, `/` becomes `-`, and all characters except ASCII
    /// letters, digits, `_`, `-`, `.` and `=` are removed; in a tag `;` becomes `_`.
    Statsd,
}

/// The replacement of a character.
enum Safe {
    Same,
    Other(char),
    Nothing,
}

/// The position of a text in a path.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TextRole {
    Name,
    TagKey,
    TagValue,
}

impl Alphabet {
    /// Appends a name whose dots separate parts. `start` is the position in `out` at which the path
    /// begins; empty parts are left out.
    pub(super) fn push_name(self, out: &mut Vec<u8>, start: usize, name: &str) {
        self.push(out, name, TextRole::Name, |out, bytes| push_parts(out, start, bytes));
    }

    /// Appends a tag's value as one part of a path; `_` if nothing is left of it.
    pub(super) fn push_part(self, out: &mut Vec<u8>, value: &str) {
        let before = out.len();
        self.push(out, value, TextRole::Name, |out, bytes| {
            out.extend(bytes.iter().map(|byte| if *byte == b'.' { b'_' } else { *byte }));
        });
        if out.len() == before {
            out.push(b'_');
        }
    }

    /// Appends a tag's key.
    pub(super) fn push_key(self, out: &mut Vec<u8>, key: &str) {
        let start = out.len();
        self.push(out, key, TextRole::TagKey, Vec::extend_from_slice);
        // Graphite stores the path itself under `name`. A `_` in front of it, and in front of keys
        // that already have this form, keeps two keys from becoming equal.
        if is_reserved(&out[start..]) {
            out.insert(start, b'_');
        }
    }

    /// Appends a tag's value.
    pub(super) fn push_value(self, out: &mut Vec<u8>, value: &str) {
        self.push(out, value, TextRole::TagValue, Vec::extend_from_slice);
    }

    /// Returns whether a key stays unchanged.
    pub(super) fn keeps_key(self, key: &str) -> bool {
        let plain = self.plain(TextRole::TagKey);
        !is_reserved(key.as_bytes()) && key.bytes().all(|byte| plain[usize::from(byte)])
    }

    /// Appends `text`: unchanged stretches and replaced characters. `append` writes each.
    fn push(
        self,
        out: &mut Vec<u8>,
        text: &str,
        place: TextRole,
        append: impl Fn(&mut Vec<u8>, &[u8]),
    ) {
        let bytes = text.as_bytes();
        let plain = self.plain(place);
        let Some(first) = bytes.iter().position(|byte| !plain[usize::from(*byte)]) else {
            return append(out, bytes);
        };
        append(out, &bytes[..first]);
        let mut blank_before = false;
        for character in text[first..].chars() {
            let blank = is_blank(character);
            match self.safe(character, place) {
                Safe::Same => append(out, character.encode_utf8(&mut [0; 4]).as_bytes()),
                // statsd replaces a row of blanks by one `_`.
                Safe::Other(_) if blank && blank_before && self == Self::Statsd => {}
                Safe::Other(other) => append(out, other.encode_utf8(&mut [0; 4]).as_bytes()),
                Safe::Nothing => {}
            }
            blank_before = blank;
        }
    }

    fn safe(self, character: char, place: TextRole) -> Safe {
        if character.is_ascii() {
            return self.ascii(character as u8, place);
        }
        match self {
            Self::Statsd if is_blank(character) => Safe::Other('_'),
            Self::Statsd => Safe::Nothing,
            // Carbon splits lines at every character that Unicode calls whitespace.
            Self::Wide if character.is_whitespace() || character.is_control() => Safe::Other('_'),
            // Graphite's manual allows only ASCII in keys.
            Self::Wide if place == TextRole::TagKey => Safe::Other('_'),
            Self::Wide => Safe::Same,
        }
    }

    /// Returns the bytes that stay unchanged. Most texts need nothing but one lookup per byte.
    fn plain(self, place: TextRole) -> &'static [bool; 256] {
        static WIDE: [[bool; 256]; 3] = Alphabet::Wide.tables();
        static STATSD: [[bool; 256]; 3] = Alphabet::Statsd.tables();
        match self {
            Self::Wide => &WIDE[place as usize],
            Self::Statsd => &STATSD[place as usize],
        }
    }

    const fn tables(self) -> [[bool; 256]; 3] {
        let mut tables = [[false; 256]; 3];
        let mut byte = 0;
        while byte < 128 {
            tables[0][byte] = matches!(self.ascii(byte as u8, TextRole::Name), Safe::Same);
            tables[1][byte] = matches!(self.ascii(byte as u8, TextRole::TagKey), Safe::Same);
            tables[2][byte] = matches!(self.ascii(byte as u8, TextRole::TagValue), Safe::Same);
            byte += 1;
        }
        tables
    }

    const fn ascii(self, byte: u8, place: TextRole) -> Safe {
        match (self, byte) {
            (_, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.') => Safe::Same,
            (_, b'=') if matches!(place, TextRole::TagKey) => Safe::Other('_'),
            (_, b'=') => Safe::Same,
            (Self::Statsd, b'/') => Safe::Other('-'),
            (Self::Statsd, b' ' | b'\t'..=b'\r') => Safe::Other('_'),
            // Graphite's separator of tags: statsd replaces it in a tag and keeps it in a name, where
            // it may begin tags, which `split_tags` has split off.
            (Self::Statsd, b';') if !matches!(place, TextRole::Name) => Safe::Other('_'),
            (Self::Statsd, _) => Safe::Nothing,
            (Self::Wide, b':' | b'+' | b'@' | b'%' | b'#') => Safe::Same,
            // A name becomes a path of folders and occurs in patterns and function calls of
            // queries. A tag's value does neither, and may be a URL.
            (Self::Wide, b'/' | b'?' | b'&' | b'*' | b'$' | b',' | b'(' | b')' | b'[' | b']')
                if matches!(place, TextRole::TagValue) =>
            {
                Safe::Same
            }
            (Self::Wide, b'/') => Safe::Other('-'),
            (Self::Wide, _) => Safe::Other('_'),
        }
    }
}

/// Returns whether a key is `name` with any number of `_` in front.
fn is_reserved(key: &[u8]) -> bool {
    key.strip_suffix(b"name").is_some_and(|before| before.iter().all(|byte| *byte == b'_'))
}

/// Returns whether JavaScript's `\s` matches, on which statsd's rule is based.
fn is_blank(character: char) -> bool {
    character == '\u{feff}' || (character.is_whitespace() && character != '\u{85}')
}

/// Appends parts and the dots between them, without dots around empty parts.
fn push_parts(out: &mut Vec<u8>, start: usize, bytes: &[u8]) {
    let is_behind_part = out.len() > start && out.last() != Some(&b'.');
    let begins_well = is_behind_part || !bytes.starts_with(b".");
    if begins_well && !bytes.windows(2).any(|pair| pair == b"..") {
        return out.extend_from_slice(bytes);
    }
    for byte in bytes {
        if *byte != b'.' || (out.len() > start && out.last() != Some(&b'.')) {
            out.push(*byte);
        }
    }
}

/// Ends the path that begins at `start`: removes a trailing dot and replaces an empty path by `_`.
pub(super) fn finish_path(out: &mut Vec<u8>, start: usize) {
    if out.len() > start && out.last() == Some(&b'.') {
        out.pop();
    }
    if out.len() == start {
        out.push(b'_');
    }
}

/// Returns whether a text of the configuration is a valid path without changes, such as
/// `stats.counters`.
pub(super) fn is_path(text: &str) -> bool {
    let mut out = Vec::new();
    Alphabet::Wide.push_name(&mut out, 0, text);
    finish_path(&mut out, 0);
    out == text.as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(alphabet: Alphabet, text: &str) -> String {
        let mut out = b"before.".to_vec();
        let start = out.len();
        alphabet.push_name(&mut out, start, text);
        finish_path(&mut out, start);
        String::from_utf8(out).unwrap()[start..].to_owned()
    }

    #[test]
    fn names_keep_characters_without_a_meaning() {
        for (text, safe) in [
            ("user.login-1_a:b+c@d%e#f=g", "user.login-1_a:b+c@d%e#f=g"),
            ("Zürich.日本.😀", "Zürich.日本.😀"),
            ("two words\u{a0}and\u{2003}more", "two_words_and_more"),
            ("a\nb\tc\0d\u{85}e\u{2028}f", "a_b_c_d_e_f"),
            ("../../etc/passwd", "-.-etc-passwd"),
            ("a;b~c!d^e*f?g[h]i{j}k(l)m,n\"o'p|q\\r", "a_b_c_d_e_f_g_h_i_j_k_l_m_n_o_p_q_r"),
            ("..a..b..", "a.b"),
            ("...", "_"),
            (" ", "_"),
        ] {
            assert_eq!(name(Alphabet::Wide, text), safe, "{text}");
        }
    }

    #[test]
    fn names_for_statsd_are_as_statsd_makes_them() {
        for (text, safe) in [
            ("foo/bar baz", "foo-bar_baz"),
            ("gl+ork", "glork"),
            ("né", "n"),
            ("a \t\n b", "a_b"),
            ("a +b", "a_b"),
            ("a+ b", "a_b"),
            ("a=b", "a=b"),
            ("ü", "_"),
            ("a\u{feff}\u{a0}b\u{85}c", "a_bc"),
        ] {
            assert_eq!(name(Alphabet::Statsd, text), safe, "{text}");
        }
    }

    #[test]
    fn tags_keep_characters_without_a_meaning() {
        let key = |text| {
            let mut out = Vec::new();
            Alphabet::Wide.push_key(&mut out, text);
            String::from_utf8(out).unwrap()
        };
        for (text, safe) in [
            ("host", "host"),
            ("a=b;c!d^e f", "a_b_c_d_e_f"),
            ("schlüssel", "schl_ssel"),
            ("name", "_name"),
            ("_name", "__name"),
        ] {
            assert_eq!(key(text), safe);
            assert_eq!(Alphabet::Wide.keeps_key(text), text == safe, "{text}");
        }
        let mut value = Vec::new();
        Alphabet::Wide.push_value(&mut value, "~/a?b=c&d[e];f!g^h\"} Zürich");
        assert_eq!(String::from_utf8(value).unwrap(), "_/a?b=c&d[e]_f_g_h___Zürich");
    }

    #[test]
    fn a_tag_is_one_part_of_a_path() {
        let mut part = Vec::new();
        Alphabet::Wide.push_part(&mut part, "web1.example.net");
        part.push(b'|');
        Alphabet::Statsd.push_part(&mut part, "ü");
        assert_eq!(part, b"web1_example_net|_");
    }

    #[test]
    fn a_path_has_only_valid_non_empty_parts() {
        assert!(is_path("stats.counters") && is_path("a"));
        for wrong in ["", ".", "a.", ".a", "a..b", "a b", "a;b", "a/b"] {
            assert!(!is_path(wrong), "{wrong}");
        }
    }
}
