//! The beginning of most lines: a plain name, a simple number and a type.

use std::borrow::Cow;

use super::super::split::simple_number;
use super::name::plain_name;
use super::text::LineText;
use super::values::{StatsdKind, ValueRun};

/// The beginning of a plain line.
pub(super) struct PlainLine<'a> {
    pub(super) name: Cow<'a, str>,
    pub(super) run: ValueRun<'a>,
    /// The place of the bar after the type, or of the line's end.
    pub(super) bar: usize,
}

impl<'a> PlainLine<'a> {
    /// `None` if the line begins in any other way.
    // Always: the result would go through memory.
    #[inline(always)]
    pub(super) fn read(line: LineText<'a>) -> Option<Self> {
        let bytes = line.bytes();
        let (name, colon) = plain_name(line)?;
        // Without a sign, which has a meaning in a gauge.
        let (number, number_end) = simple_number(bytes, colon + 1, false)?;
        if bytes.get(number_end) != Some(&b'|') {
            return None;
        }
        let start = number_end + 1;
        let bar = match bytes.get(start + 1) {
            None | Some(b'|') => start + 1,
            Some(_) => start + 2,
        };
        let kind = StatsdKind::of(line.part(start..bar))?;
        // The members of a set are text.
        kind.value(number)?;
        if !matches!(bytes.get(bar), None | Some(b'|')) {
            return None;
        }
        let values = line.between(colon + 1..number_end);
        let run = ValueRun { values, number: Some(number), kind, weight: 1.0 };
        Some(Self { name, run, bar })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::SampleValue;
    use super::*;
    use crate::sys::ascii::CutText;

    #[test]
    fn a_plain_line_is_read_up_to_the_bar_after_its_type() {
        for (line, expected) in [
            ("a:1|c", Some(("a", "1", SampleValue::Counter(1.0), 5))),
            ("a:1|g|#k:v", Some(("a", "1", SampleValue::GaugeSet(1.0), 5))),
            ("né:12.5|ms|@0.5", Some(("né", "12.5", SampleValue::Timer(12.5), 11))),
            ("a:12345678.5|h|", Some(("a", "12345678.5", SampleValue::Timer(12_345_678.5), 14))),
            // A value that is not a simple number.
            ("a:-1|c", None),
            ("a:+1|g", None),
            ("a:1:2|c", None),
            ("a:1e3|c", None),
            ("a:x|s", None),
            ("a:1|s", None),
            // Another type, or none.
            ("a:1|x", None),
            ("a:1|", None),
            ("a:1", None),
            ("a:1|msx", None),
            // Further values instead of a bar.
            ("a:1|c:2|ms", None),
            ("a:1|ms:2|c", None),
            // A name with tags.
            ("a,k=v:1|c", None),
            (":1|c", None),
        ] {
            let at = 7;
            let read = PlainLine::read(LineText { text: CutText::of_text(line), at });
            let parts = read.as_ref().map(|PlainLine { name, run, bar }| {
                assert_eq!((run.values.at, run.weight()), (at + name.len() + 1, 1.0), "{line}");
                (&**name, run.values.text, run.single_value().unwrap(), *bar)
            });
            assert_eq!(parts, expected, "{line}");
        }
    }
}
