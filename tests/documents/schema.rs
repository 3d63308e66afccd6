//! The subset of JSON Schema that docs/status.schema.json uses.

use std::collections::BTreeSet;

use serde_json::Value;

/// The violations of a schema by a value, each with its path. An unknown keyword is a violation too,
/// because it would not be checked.
pub(crate) fn complaints(schema: &Value, value: &Value) -> Vec<String> {
    let mut found = Vec::new();
    check("", schema, value, &mut found);
    found
}

fn check(path: &str, schema: &Value, value: &Value, found: &mut Vec<String>) {
    let mut complain = |words: String| found.push(format!("{path}: {words}"));
    for (word, wanted) in schema.as_object().unwrap() {
        match word.as_str() {
            "$schema"
            | "title"
            | "description"
            | "properties"
            | "items"
            | "additionalProperties" => {}
            "type" if !has_type(wanted, value) => complain(format!("{value} is not {wanted}")),
            "type" => {}
            "minimum" if value.as_f64() < wanted.as_f64() && value.is_number() => {
                complain(format!("{value} is below {wanted}"));
            }
            "minimum" => {}
            "format" if *wanted == "date-time" => {
                let text = value.as_str().unwrap_or("2026-01-31T12:00:00.000Z");
                if text.len() != 24 || !text.ends_with('Z') || text.as_bytes()[10] != b'T' {
                    complain(format!("{text} is not a time"));
                }
            }
            "required" => {
                for name in wanted.as_array().unwrap() {
                    if value.is_object() && value.get(name.as_str().unwrap()).is_none() {
                        complain(format!("{name} is missing"));
                    }
                }
            }
            _ => complain(format!("the keyword `{word}` is not supported")),
        }
    }
    for (name, value) in value.as_object().into_iter().flatten() {
        let inner = schema["properties"].get(name).or_else(|| schema.get("additionalProperties"));
        match inner {
            Some(inner) => check(&format!("{path}.{name}"), inner, value, found),
            None => found.push(format!("{path}.{name}: is not in the schema")),
        }
    }
    for value in value.as_array().into_iter().flatten() {
        check(&format!("{path}[]"), &schema["items"], value, found);
    }
}

fn has_type(wanted: &Value, value: &Value) -> bool {
    if let Some(several) = wanted.as_array() {
        return several.iter().any(|one| has_type(one, value));
    }
    match wanted.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// The paths of all members that a schema describes; `shape` returns those of a value.
pub(crate) fn members(schema: &Value) -> BTreeSet<String> {
    fn walk(path: &str, schema: &Value, paths: &mut BTreeSet<String>) {
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            paths.insert(path.clone());
            walk(&path, inner, paths);
        }
        if let Some(inner) =
            schema.get("additionalProperties").filter(|it| it.get("properties").is_some())
        {
            let path = format!("{path}.*");
            paths.insert(path.clone());
            walk(&path, inner, paths);
        }
        if let Some(items) = schema.get("items") {
            walk(&format!("{path}[]"), items, paths);
        }
    }
    let mut paths = BTreeSet::new();
    walk("", schema, &mut paths);
    paths
}
