//! Pickled lists of points, protocol 2, for carbon's pickle receiver.
//!
//! A frame is a length in four bytes, big-endian, and a pickled list `[(path, (timestamp, value)),
//! …]`. The encoder writes items; sending combines as many of them as fit into frames.

use super::limits::FRAME_BYTES_MAX;

/// The start of a list: protocol 2, an empty list, a mark.
const HEAD: &[u8] = b"\x80\x02](";
/// The end of a list: append all items after the mark, stop.
const TAIL: &[u8] = b"e.";
const LENGTH_BYTES: usize = 4;

const UNICODE: u8 = b'X';
const INT: u8 = b'J';
const LONG: &[u8] = b"\x8a\x08";
const FLOAT: u8 = b'G';
const PAIR: u8 = 0x86;

/// Appends an item; `path` appends its path.
pub(super) fn write_item(
    out: &mut Vec<u8>,
    path: impl FnOnce(&mut Vec<u8>),
    timestamp: u64,
    value: f64,
) {
    // The length of the path is filled in once `path` has written it.
    out.extend_from_slice(&[UNICODE, 0, 0, 0, 0]);
    let start = out.len();
    path(out);
    let bytes = (out.len() - start) as u32;
    out[start - 4..start].copy_from_slice(&bytes.to_le_bytes());
    // The short form holds 31 bits, until the year 2038.
    match i32::try_from(timestamp) {
        Ok(timestamp) => {
            out.push(INT);
            out.extend_from_slice(&timestamp.to_le_bytes());
        }
        Err(_) => {
            out.extend_from_slice(LONG);
            out.extend_from_slice(&timestamp.to_le_bytes());
        }
    }
    out.push(FLOAT);
    // Pickle has big-endian floats but little-endian integers.
    out.extend_from_slice(&value.to_be_bytes());
    out.extend_from_slice(&[PAIR, PAIR]);
}

/// Combines the items of payloads into frames.
pub(super) struct Frames<'a> {
    out: &'a mut Vec<u8>,
    /// The position at which the open frame begins.
    start: Option<usize>,
}

impl<'a> Frames<'a> {
    /// Creates a writer that appends to `out`.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, start: None }
    }

    /// Adds the items of a payload. A frame may end between any two of them.
    pub(super) fn add(&mut self, mut items: &[u8]) {
        while !items.is_empty() {
            let (item, rest) = items.split_at(item_bytes(items));
            if let Some(start) = self.start
                && self.out.len() + item.len() + TAIL.len() > start + FRAME_BYTES_MAX
            {
                self.finish();
            }
            if self.start.is_none() {
                // The frame's length is filled in when the frame ends.
                self.start = Some(self.out.len());
                self.out.extend_from_slice(&[0; LENGTH_BYTES]);
                self.out.extend_from_slice(HEAD);
            }
            self.out.extend_from_slice(item);
            items = rest;
        }
    }

    /// Ends the open frame.
    pub(super) fn finish(&mut self) {
        let Some(start) = self.start.take() else { return };
        self.out.extend_from_slice(TAIL);
        let bytes = (self.out.len() - start - LENGTH_BYTES) as u32;
        self.out[start..start + LENGTH_BYTES].copy_from_slice(&bytes.to_be_bytes());
    }
}

/// Writes the items of a payload as the tuples that carbon receives, one a line. Returns `None` if
/// they are not from [`write_item`].
pub(super) fn readable(mut items: &[u8]) -> Option<String> {
    let mut text = String::new();
    while !items.is_empty() {
        let (item, rest) = items.split_at(item_bytes(items));
        let (&path_bytes, path_and_rest) = item.get(1..)?.split_first_chunk::<4>()?;
        let path_end = usize::try_from(u32::from_le_bytes(path_bytes)).ok()?;
        let (path, numbers) = path_and_rest.split_at_checked(path_end)?;
        let (timestamp, value) = match numbers.strip_prefix(LONG) {
            Some(long) => {
                let (&timestamp, value) = long.split_first_chunk::<8>()?;
                (u64::from_le_bytes(timestamp), value)
            }
            None => {
                let (&timestamp, value) = numbers.get(1..)?.split_first_chunk::<4>()?;
                (u32::from_le_bytes(timestamp).into(), value)
            }
        };
        let value = f64::from_be_bytes(*value.get(1..)?.first_chunk::<8>()?);
        let path = String::from_utf8_lossy(path);
        text.push_str(&format!("(\"{path}\", ({timestamp}, {value}))\n"));
        items = rest;
    }
    Some(text)
}

/// Returns the length, in bytes, of the first item that [`write_item`] wrote.
fn item_bytes(items: &[u8]) -> usize {
    // Read from the item itself, so that payloads need no list of their items' lengths.
    let path =
        items.get(1..5).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes);
    let behind = 5 + path as usize;
    let timestamp = if items.get(behind) == Some(&INT) { 5 } else { LONG.len() + 8 };
    (behind + timestamp + 9 + 2).min(items.len())
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The content of an item: path, timestamp, value.
    pub(in super::super) type Item = (String, u64, f64);

    /// Reads frames like an unpickler that knows only the operations in use.
    pub(in super::super) fn unpickle(mut bytes: &[u8]) -> Vec<Item> {
        let mut items = Vec::new();
        while !bytes.is_empty() {
            let length = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            assert!(length <= FRAME_BYTES_MAX, "{length}");
            items.extend(load(&bytes[4..4 + length]));
            bytes = &bytes[4 + length..];
        }
        items
    }

    #[derive(Clone, Debug)]
    enum Object {
        List(Vec<Object>),
        Mark,
        Text(String),
        Int(i64),
        Float(f64),
        Pair(Box<(Object, Object)>),
    }

    fn load(program: &[u8]) -> Vec<Item> {
        let mut stack: Vec<Object> = Vec::new();
        let mut place = 0;
        let mut take = |count: usize| {
            place += count;
            &program[place - count..place]
        };
        assert_eq!(take(2), b"\x80\x02");
        loop {
            match take(1)[0] {
                b']' => stack.push(Object::List(Vec::new())),
                b'(' => stack.push(Object::Mark),
                b'X' => {
                    let length = u32::from_le_bytes(take(4).try_into().unwrap());
                    let text = String::from_utf8(take(length as usize).to_vec()).unwrap();
                    stack.push(Object::Text(text));
                }
                b'J' => {
                    let number = i32::from_le_bytes(take(4).try_into().unwrap());
                    stack.push(Object::Int(number.into()));
                }
                0x8a => {
                    assert_eq!(take(1), [8]);
                    stack.push(Object::Int(i64::from_le_bytes(take(8).try_into().unwrap())));
                }
                b'G' => {
                    let number = f64::from_be_bytes(take(8).try_into().unwrap());
                    stack.push(Object::Float(number));
                }
                0x86 => {
                    let second = stack.pop().unwrap();
                    let first = stack.pop().unwrap();
                    stack.push(Object::Pair(Box::new((first, second))));
                }
                b'e' => {
                    let mark = stack.iter().rposition(|o| matches!(o, Object::Mark)).unwrap();
                    let items = stack.split_off(mark + 1);
                    stack.pop();
                    let Some(Object::List(list)) = stack.last_mut() else { panic!("no list") };
                    list.extend(items);
                }
                b'.' => break,
                other => panic!("operation {other:#x}"),
            }
        }
        assert_eq!(place, program.len(), "data after the end");
        let Some(Object::List(items)) = stack.pop() else { panic!("no list") };
        assert!(stack.is_empty());
        items.into_iter().map(item).collect()
    }

    fn item(object: Object) -> Item {
        let Object::Pair(outer) = object else { panic!("{object:?}") };
        let (Object::Text(path), Object::Pair(inner)) = *outer else { panic!("no path") };
        let (Object::Int(timestamp), Object::Float(value)) = *inner else { panic!("no point") };
        (path, timestamp as u64, value)
    }

    #[test]
    fn a_frame_equals_the_pickle_of_python() {
        let (mut items, mut out) = (Vec::new(), Vec::new());
        write_item(&mut items, |out| out.extend_from_slice(b"a.b"), 1234, 5678.0);
        let mut frames = Frames::new(&mut out);
        frames.add(&items);
        frames.finish();
        assert_eq!(
            out,
            b"\x00\x00\x00\x1e\x80\x02](X\x03\x00\x00\x00a.bJ\xd2\x04\x00\x00G\x40\xb6\x2e\x00\x00\x00\x00\x00\x86\x86e."
        );
    }

    proptest! {
        #[test]
        fn pickled_points_are_loaded_completely(
            items in prop::collection::vec((0_usize..4000, 0_u64..1 << 40, prop::num::f64::NORMAL), 0..60),
        ) {
            let items: Vec<Item> = items
                .into_iter()
                .map(|(length, timestamp, value)| ("ü".repeat(length / 2), timestamp, value))
                .collect();
            let mut out = Vec::new();
            let mut frames = Frames::new(&mut out);
            for payload in items.chunks(7) {
                let mut bytes = Vec::new();
                for (path, timestamp, value) in payload {
                    let path = |out: &mut Vec<u8>| out.extend_from_slice(path.as_bytes());
                    write_item(&mut bytes, path, *timestamp, *value);
                }
                frames.add(&bytes);
            }
            frames.finish();
            prop_assert_eq!(unpickle(&out), items);
        }
    }
}
