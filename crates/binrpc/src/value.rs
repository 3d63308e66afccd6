//! What a record holds.

use std::borrow::Cow;
use std::fmt;

/// A record's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A whole number. The protocol has 32 bits and does not say whether the first one is a sign:
    /// see [`Value::number`].
    Int(i32),
    /// Text, in whatever encoding Kamailio has it.
    Text(Text),
    /// A number with three decimals.
    Double(Thousandths),
    /// Named values. Names may occur several times and their order matters, so it is a list. What
    /// Kamailio's sources call an array is a struct whose members have no names.
    Struct(Vec<Member>),
    /// Values without names. Kamailio does not send it.
    Array(Vec<Value>),
    /// Bytes. Kamailio does not send it.
    Bytes(Vec<u8>),
}

/// A value in a struct.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its name, if it has one.
    pub name: Option<Text>,
    /// The value.
    pub value: Value,
}

/// Text as it came: mostly ASCII, but SIP headers find their way into it too.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Box<[u8]>);

/// A number as the protocol carries it, times 1000.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thousandths(pub i64);

impl Value {
    /// The members of a struct; of anything else none.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        match self {
            Self::Struct(members) => members,
            _ => &[],
        }
    }

    /// The first member of this name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.members().iter().find(|member| member.is_named(name)).map(|member| &member.value)
    }

    /// All members of this name, in their order.
    pub fn members_named<'v>(&'v self, name: &str) -> impl Iterator<Item = &'v Value> {
        self.members()
            .iter()
            .filter(move |member| member.is_named(name))
            .map(|member| &member.value)
    }

    /// The text, without its blanks at the ends.
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

    /// The number, from whatever form this version of Kamailio gives it: an int, a double or decimal
    /// text.
    ///
    /// An int is read as unsigned: what Kamailio measures is a size or a count, and those above
    /// 2^31 look like negative numbers. Text above 2^63 is read as negative: it was one before
    /// Kamailio printed it without its sign.
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
    pub fn named(name: &str, value: Value) -> Self {
        Self { name: Some(Text::from(name)), value }
    }

    /// A member without a name.
    #[must_use]
    pub fn bare(value: Value) -> Self {
        Self { name: None, value }
    }

    /// Whether it has this name.
    #[must_use]
    pub fn is_named(&self, name: &str) -> bool {
        self.name.as_ref().is_some_and(|own| own.as_bytes() == name.as_bytes())
    }
}

impl Text {
    /// The bytes, without the zero byte that ends them on the wire.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text; what is no UTF-8 in it is replaced.
    #[must_use]
    pub fn to_str(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<&[u8]> for Text {
    fn from(text: &[u8]) -> Self {
        Self(text.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<i32> for Value {
    fn from(int: i32) -> Self {
        Self::Int(int)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.to_str(), formatter)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_str())
    }
}

impl Thousandths {
    /// The number that has these decimals; whole numbers are exact up to 2^53 thousandths.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// The nearest that the protocol can carry; further decimals are cut, as Kamailio does.
    #[must_use]
    pub fn from_f64(number: f64) -> Self {
        // A cast saturates, and what is no number becomes 0.
        Self((number * 1000.0) as i64)
    }
}

fn number_of(text: &str) -> Option<f64> {
    // More exact than as a double, and with the sign that Kamailio lost.
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
    fn a_number_is_read_from_every_form() {
        for (value, number) in [
            (Value::Int(7), Some(7.0)),
            (Value::Int(-1), Some(4_294_967_295.0)),
            (Value::Double(Thousandths(2_500)), Some(2.5)),
            (Value::from("467000000000"), Some(467e9)),
            (Value::from(" 12 "), Some(12.0)),
            (Value::from("0.75"), Some(0.75)),
            (Value::from("-3"), Some(-3.0)),
            (Value::from("18446744073709551149"), Some(-467.0)),
            (Value::from("<null string>"), None),
            (Value::from("1(permanent)"), None),
            (Value::from("inf"), None),
            (Value::from("nan"), None),
            (Value::from("1e999"), None),
            (Value::from(""), None),
            (Value::from("e"), None),
            (Value::Struct(vec![]), None),
        ] {
            assert_eq!(value.number(), number, "{value:?}");
        }
    }

    #[test]
    fn of_members_with_one_name_all_are_found_in_order() {
        let value = Value::Struct(vec![
            Member::named("a", Value::Int(1)),
            Member::bare(Value::Int(2)),
            Member::named("b", Value::Int(3)),
            Member::named("a", Value::Int(4)),
        ]);
        assert_eq!(value.member("a"), Some(&Value::Int(1)));
        let all: Vec<_> = value.members_named("a").collect();
        assert_eq!(all, [&Value::Int(1), &Value::Int(4)]);
        assert_eq!(value.member("c"), None);
        assert_eq!(Value::Int(1).member("a"), None);
    }
}
