//! Values as JSON.

use binrpc::{Fault, Member, Value};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// A value, as JSON shows it. It goes as deep as the value does, which the decoder bounds.
///
/// BINRPC has one form for what JSON has two for. Members without names are a list. Members that all
/// have one name and are structs are one too, of objects with one member each, as in Kamailio's own
/// JSON-RPC; also where there is but one, so that the form does not depend on how many there are. All
/// else is an object, unless a name occurs twice.
pub(super) struct Json<'a>(pub(super) &'a Value);

/// A fault, in the manner of JSON-RPC.
pub(super) struct JsonFault<'a>(pub(super) &'a Fault);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Int(int) => serializer.serialize_i32(*int),
            Value::Text(text) => serializer.serialize_str(&text.to_str()),
            Value::Double(double) if double.0 % 1_000 == 0 => {
                serializer.serialize_i64(double.0 / 1_000)
            }
            Value::Double(double) => serializer.serialize_f64(double.to_f64()),
            Value::Bytes(bytes) => serializer.serialize_str(&String::from_utf8_lossy(bytes)),
            Value::Array(values) => serializer.collect_seq(values.iter().map(Json)),
            Value::Struct(members) if is_object(members) => object(members, serializer),
            Value::Struct(members) => list(members, serializer),
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
        matches!(members, [Member { value: Value::Struct(inner), .. }] if !inner.is_empty());
    !is_repeated && !is_list_of_one
}

fn object<S: Serializer>(members: &[Member], serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(members.len()))?;
    for Member { name, value } in members {
        map.serialize_entry(
            &name.as_ref().map_or_else(Default::default, |n| n.to_str()),
            &Json(value),
        )?;
    }
    map.end()
}

fn list<S: Serializer>(members: &[Member], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(members.len()))?;
    for member in members {
        match &member.name {
            Some(_) => list.serialize_element(&Named(member))?,
            None => list.serialize_element(&Json(&member.value))?,
        }
    }
    list.end()
}

/// An object of one member.
struct Named<'a>(&'a Member);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        object(std::slice::from_ref(self.0), serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &Value) -> String {
        serde_json::to_string(&Json(value)).unwrap()
    }

    fn of(members: &[(&str, Value)]) -> Value {
        Value::Struct(
            members.iter().map(|(name, value)| Member::named(name, value.clone())).collect(),
        )
    }

    #[test]
    fn names_that_differ_make_an_object_in_their_order() {
        let inner = of(&[("x", Value::Int(-1))]);
        let value = of(&[
            ("b", "t".into()),
            ("a", Value::Double(binrpc::Thousandths(1_500))),
            ("c", inner),
        ]);
        assert_eq!(shown(&value), r#"{"b":"t","a":1.5,"c":{"x":-1}}"#);
        assert_eq!(shown(&of(&[])), "{}");
    }

    #[test]
    fn one_name_for_all_makes_a_list_however_many_there_are() {
        let set = || ("SET", of(&[("ID", Value::Int(1))]));
        assert_eq!(shown(&of(&[set()])), r#"[{"SET":{"ID":1}}]"#);
        assert_eq!(shown(&of(&[set(), set()])), r#"[{"SET":{"ID":1}},{"SET":{"ID":1}}]"#);
    }

    #[test]
    fn no_names_make_a_list() {
        let value =
            Value::Struct(vec![Member::bare("a".into()), Member::bare(of(&[("b", 1.into())]))]);
        assert_eq!(shown(&value), r#"["a",{"b":1}]"#);
    }
}
