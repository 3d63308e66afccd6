//! The values of records.

use std::borrow::Cow;
use std::fmt;

/// The value of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BinrpcValue {
    /// A whole number of 32 bits. The protocol does not define whether it is signed: see
    /// [`BinrpcValue::number`].
    Int(i32),
    /// Text in any encoding.
    Text(BinrpcText),
    /// A number with three decimals.
    Double(Thousandths),
    /// Named values, as a list because names may repeat and their order matters. What Kamailio's
    /// sources call an array is a struct whose members have no names.
    Struct(Vec<Member>),
    /// Values without names. Kamailio does not send arrays.
    Array(Vec<BinrpcValue>),
    /// Bytes. Kamailio does not send them.
    Bytes(Vec<u8>),
}

/// A member of a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, if it has one.
    pub name: Option<BinrpcText>,
    /// The value.
    pub value: BinrpcValue,
}

/// Text as received: mostly ASCII, but it may contain parts of SIP headers.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BinrpcText(Box<[u8]>);

/// A number with three decimals, which the protocol carries multiplied by 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thousandths(pub i64);

impl BinrpcValue {
    /// The members of a struct; empty for any other value.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        match self {
            Self::Struct(members) => members,
            _ => &[],
        }
    }

    /// The first member with this name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&BinrpcValue> {
        self.members().iter().find(|member| member.is_named(name)).map(|member| &member.value)
    }

    /// All members with this name, in order.
    pub fn members_named<'v>(&'v self, name: &str) -> impl Iterator<Item = &'v BinrpcValue> {
        self.members()
            .iter()
            .filter(move |member| member.is_named(name))
            .map(|member| &member.value)
    }

    /// The text, trimmed; `None` for any other value.
    #[must_use]
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => Some(match text.to_str() {
                Cow::Borrowed(text) => Cow::Borrowed(text.trim()),
                Cow::Owned(text) => Cow::Owned(text.trim().to_owned()),
            }),
            _ => None,
        }
    }

    /// The number in an int, a double or decimal text: versions of Kamailio differ in which they use.
    ///
    /// An int is read as unsigned: Kamailio measures sizes and counts, and those above 2^31 would
    /// look like negative numbers. Text above 2^63 is read as negative, because Kamailio prints
    /// negative numbers as unsigned 64-bit numbers.
    #[must_use]
    pub fn number(&self) -> Option<f64> {
        match self {
            Self::Int(int) => Some(f64::from(*int as u32)),
            Self::Double(double) => Some(double.to_f64()),
            Self::Text(text) => number_of(text.to_str().trim()),
            _ => None,
        }
    }
}

impl Member {
    /// A member with a name.
    #[must_use]
    pub fn named(name: &str, value: BinrpcValue) -> Self {
        Self { name: Some(BinrpcText::from(name)), value }
    }

    /// A member without a name.
    #[must_use]
    pub fn unnamed(value: BinrpcValue) -> Self {
        Self { name: None, value }
    }

    /// Whether the member has this name.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name.as_ref().is_some_and(|own| own.as_bytes() == name.as_bytes())
    }
}

impl BinrpcText {
    /// The bytes, without the zero byte that terminates them on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text, with U+FFFD in place of bytes that are not UTF-8.
    #[must_use]
    pub fn to_str(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&str> for BinrpcText {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<&[u8]> for BinrpcText {
    fn from(text: &[u8]) -> Self {
        Self(text.into())
    }
}

impl From<&str> for BinrpcValue {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<i32> for BinrpcValue {
    fn from(int: i32) -> Self {
        Self::Int(int)
    }
}

impl fmt::Debug for BinrpcText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_str(), formatter)
    }
}

impl fmt::Display for BinrpcText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_str())
    }
}

impl Thousandths {
    /// Converts to a float, exactly up to 2^53 thousandths.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Converts from a float; truncates further decimals, as Kamailio does.
    #[must_use]
    pub fn from_f64(number: f64) -> Self {
        // The cast saturates and turns NaN into 0.
        Self((number * 1000.0) as i64)
    }
}

fn number_of(text: &str) -> Option<f64> {
    // As an integer first: exact beyond 2^53, and the sign that Kamailio lost can be restored.
    if let Ok(unsigned) = text.parse::<u64>() {
        return Some(if unsigned > i64::MAX as u64 {
            unsigned as i64 as f64
        } else {
            unsigned as f64
        });
    }
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit() || b".-+eE".contains(&byte))
        && text.bytes().any(|byte| byte.is_ascii_digit());
    if !is_decimal {
        return None;
    }
    text.parse::<f64>().ok().filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_read_from_every_representation() {
        for (value, number) in [
            (BinrpcValue::Int(7), Some(7.0)),
            (BinrpcValue::Int(-1), Some(4_294_967_295.0)),
            (BinrpcValue::Double(Thousandths(2_500)), Some(2.5)),
            (BinrpcValue::from("467000000000"), Some(467e9)),
            (BinrpcValue::from(" 12 "), Some(12.0)),
            (BinrpcValue::from("0.75"), Some(0.75)),
            (BinrpcValue::from("-3"), Some(-3.0)),
            (BinrpcValue::from("18446744073709551149"), Some(-467.0)),
            (BinrpcValue::from("<null string>"), None),
            (BinrpcValue::from("1(permanent)"), None),
            (BinrpcValue::from("inf"), None),
            (BinrpcValue::from("nan"), None),
            (BinrpcValue::from("1e999"), None),
            (BinrpcValue::from(""), None),
            (BinrpcValue::from("e"), None),
            (BinrpcValue::Struct(vec![]), None),
        ] {
            assert_eq!(value.number(), number, "{value:?}");
        }
    }

    #[test]
    fn members_with_the_same_name_are_found_in_order() {
        let value = BinrpcValue::Struct(vec![
            Member::named("a", BinrpcValue::Int(1)),
            Member::unnamed(BinrpcValue::Int(2)),
            Member::named("b", BinrpcValue::Int(3)),
            Member::named("a", BinrpcValue::Int(4)),
        ]);
        assert_eq!(value.member("a"), Some(&BinrpcValue::Int(1)));
        let all: Vec<_> = value.members_named("a").collect();
        assert_eq!(all, [&BinrpcValue::Int(1), &BinrpcValue::Int(4)]);
        assert_eq!(value.member("c"), None);
        assert_eq!(BinrpcValue::Int(1).member("a"), None);
    }
}
