//! Reads the tags of a message.

use std::borrow::Cow;
use std::ops::Range;

use super::super::{MessageLimits, RejectReason, Rejection, TagValue, Tags};
use super::cursor::{Cursor, RawJson, reject};

/// The tags of a message, in the order of the message.
pub(super) struct TagList<'a, 't> {
    tags: &'t mut Tags<'a>,
    most: usize,
    /// The tags that the latest `tags` member added. Another `tags` member replaces them.
    from_member: Range<usize>,
}

impl<'a, 't> TagList<'a, 't> {
    /// Empties the list.
    pub(super) fn new(tags: &'t mut Tags<'a>, limits: &MessageLimits) -> Self {
        tags.clear();
        Self { tags, most: limits.max_tags, from_member: 0..0 }
    }

    /// Reads the value of a `tags` member: an object with tags, or the value of a tag with this name.
    pub(super) fn read_member(
        &mut self,
        cursor: &mut Cursor<'a>,
        key: Cow<'a, str>,
        offset: usize,
    ) -> Result<(), Rejection> {
        if cursor.peek() != Some(b'{') {
            let value = read_value(cursor)?;
            return self.push_member(key, value, offset);
        }
        self.begin_member();
        if !cursor.begins_empty_object() {
            loop {
                let (key, offset) = cursor.key()?;
                self.read(cursor, key, offset)?;
                if cursor.ends_object()? {
                    break;
                }
            }
        }
        self.end_member();
        Ok(())
    }

    /// Reads the value of a tag. `offset` is the position of its key.
    pub(super) fn read(
        &mut self,
        cursor: &mut Cursor<'a>,
        key: Cow<'a, str>,
        offset: usize,
    ) -> Result<(), Rejection> {
        let value = read_value(cursor)?;
        self.push(key, value, offset)
    }

    /// Adds the value of a `tags` member that is not an object.
    #[cold]
    pub(super) fn push_member(
        &mut self,
        key: Cow<'a, str>,
        value: TagValue<'a>,
        offset: usize,
    ) -> Result<(), Rejection> {
        self.begin_member();
        self.push(key, value, offset)?;
        self.end_member();
        Ok(())
    }

    /// Adds a tag. `offset` is the position of its key.
    #[inline]
    pub(super) fn push(
        &mut self,
        key: Cow<'a, str>,
        value: TagValue<'a>,
        offset: usize,
    ) -> Result<(), Rejection> {
        if key.is_empty() {
            return Err(reject(RejectReason::BadTag, offset, "a name for the tag"));
        }
        // Equal keys are merged later, so each of them counts here.
        if self.tags.len() == self.most {
            return Err(reject(RejectReason::TooManyTags, offset, "fewer tags (limits.max_tags)"));
        }
        self.tags.push((key, value));
        Ok(())
    }

    /// Removes the tags of an earlier `tags` member.
    fn begin_member(&mut self) {
        self.tags.drain(self.from_member.clone());
        self.from_member = self.tags.len()..self.tags.len();
    }

    fn end_member(&mut self) {
        self.from_member.end = self.tags.len();
    }
}

fn read_value<'a>(cursor: &mut Cursor<'a>) -> Result<TagValue<'a>, Rejection> {
    if let Some(b'{' | b'[') = cursor.peek() {
        let expected = "a string, number, boolean or null as a tag's value";
        return Err(reject(RejectReason::NestedTag, cursor.at, expected));
    }
    Ok(cursor.value()?.raw.into())
}

impl<'a> From<RawJson<'a>> for TagValue<'a> {
    #[inline]
    fn from(value: RawJson<'a>) -> Self {
        match value {
            RawJson::String(text) => Self::Text(text),
            RawJson::Number(text) => Self::Literal(text),
            RawJson::Bool(true) => Self::Literal("true"),
            RawJson::Bool(false) => Self::Literal("false"),
            // A null has an empty value for now, which may override an earlier tag with the same key.
            // `normalize_tags` then removes it. Nested values are rejected before.
            RawJson::Null | RawJson::Nested => "".into(),
        }
    }
}
