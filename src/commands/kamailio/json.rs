//! Converts replies and faults to JSON.

use binrpc::{BinrpcValue, Fault, Member};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// Serializes a value. Recurses as deep as the value is nested, which the decoder bounds.
///
/// BINRPC uses structs for lists and for objects. A struct becomes a list if a member has no name, or
/// if a name repeats. A struct whose only member is a non-empty struct becomes a list as well, so that
/// the form of a list does not depend on its length. A named element of a list becomes an object with
/// one member, as in Kamailio's own JSON-RPC. Any other struct becomes an object.
pub(super) struct JsonValue<'a>(pub(super) &'a BinrpcValue);

/// Serializes a fault as an error of JSON-RPC.
pub(super) struct JsonFault<'a>(pub(super) &'a Fault);

impl Serialize for JsonValue<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            BinrpcValue::Int(int) => serializer.serialize_i32(*int),
            BinrpcValue::Text(text) => serializer.serialize_str(&text.to_str()),
            BinrpcValue::Double(double) if double.0 % 1_000 == 0 => {
                serializer.serialize_i64(double.0 / 1_000)
            }
            BinrpcValue::Double(double) => serializer.serialize_f64(double.to_f64()),
            BinrpcValue::Bytes(bytes) => serializer.serialize_str(&String::from_utf8_lossy(bytes)),
            BinrpcValue::Array(values) => serializer.collect_seq(values.iter().map(JsonValue)),
            BinrpcValue::Struct(members) if is_object(members) => object(members, serializer),
            BinrpcValue::Struct(members) => list(members, serializer),
        }
    }
}

impl Serialize for JsonFault<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        let error = serde_json::json!({
            "code": self.0.code,
            "message": self.0.reason.to_str().trim_end(),
        });
        map.serialize_entry("error", &error)?;
        map.end()
    }
}

fn is_object(members: &[Member]) -> bool {
    let mut names: Vec<_> = members.iter().filter_map(|member| member.name.as_ref()).collect();
    if names.len() < members.len() {
        return false;
    }
    names.sort_unstable();
    let is_repeated = names.windows(2).any(|pair| pair[0] == pair[1]);
    let is_list_of_one =
        matches!(members, [Member { value: BinrpcValue::Struct(inner), .. }] if !inner.is_empty());
    !is_repeated && !is_list_of_one
}

fn object<S: Serializer>(members: &[Member], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(members.len()))?;
    for Member { name, value } in members {
        map.serialize_entry(
            &name.as_ref().map_or_else(Default::default, |n| n.to_str()),
            &JsonValue(value),
        )?;
    }
    map.end()
}

fn list<S: Serializer>(members: &[Member], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(members.len()))?;
    for member in members {
        match &member.name {
            Some(_) => list.serialize_element(&NamedMember(member))?,
            None => list.serialize_element(&JsonValue(&member.value))?,
        }
    }
    list.end()
}

/// Serializes a member as an object with one member.
struct NamedMember<'a>(&'a Member);

impl Serialize for NamedMember<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object(std::slice::from_ref(self.0), serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &BinrpcValue) -> String {
        serde_json::to_string(&JsonValue(value)).unwrap()
    }

    fn of(members: &[(&str, BinrpcValue)]) -> BinrpcValue {
        BinrpcValue::Struct(
            members.iter().map(|(name, value)| Member::named(name, value.clone())).collect(),
        )
    }

    #[test]
    fn distinct_names_make_an_object_in_the_same_order() {
        let inner = of(&[("x", BinrpcValue::Int(-1))]);
        let value = of(&[
            ("b", "t".into()),
            ("a", BinrpcValue::Double(binrpc::Thousandths(1_500))),
            ("c", inner),
        ]);
        assert_eq!(shown(&value), r#"{"b":"t","a":1.5,"c":{"x":-1}}"#);
        assert_eq!(shown(&of(&[])), "{}");
    }

    #[test]
    fn a_repeated_name_makes_a_list_even_of_one_element() {
        let set = || ("SET", of(&[("ID", BinrpcValue::Int(1))]));
        assert_eq!(shown(&of(&[set()])), r#"[{"SET":{"ID":1}}]"#);
        assert_eq!(shown(&of(&[set(), set()])), r#"[{"SET":{"ID":1}},{"SET":{"ID":1}}]"#);
    }

    #[test]
    fn members_without_names_make_a_list() {
        let value = BinrpcValue::Struct(vec![
            Member::unnamed("a".into()),
            Member::unnamed(of(&[("b", 1.into())])),
        ]);
        assert_eq!(shown(&value), r#"["a",{"b":1}]"#);
    }
}
