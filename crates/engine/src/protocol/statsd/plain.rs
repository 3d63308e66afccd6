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
