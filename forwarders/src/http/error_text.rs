//! The error in the body of a reply: the members in which servers and gateways put it.

use serde_json::Value;

/// Words for `status` that report a failure.
const FAILURES: [&str; 4] = ["error", "fail", "failed", "failure"];

/// The reason that a JSON body gives, for a reply whose status reports an error. `None` if the body
/// is no JSON; empty if it gives no reason.
pub(super) fn reason(body: &[u8]) -> Option<String> {
    let value: Value = serde_json::from_slice(body).ok()?;
    let text = |key| value.get(key).and_then(Value::as_str).map(str::to_owned);
    Some(error(&value).or_else(|| text("message")).unwrap_or_default())
}

/// The error that a JSON value reports, even if the status of its reply is a success.
pub(super) fn error(value: &Value) -> Option<String> {
    let Value::Object(members) = value else { return None };
    let named = ["error", "errors", "err"].iter().find_map(|key| shown(members.get(*key)?));
    named.or_else(|| of_results(value)).or_else(|| of_status(value))
}

/// The error in the results of InfluxDB 1: `{"results": [{"error": …}]}`.
fn of_results(value: &Value) -> Option<String> {
    value.get("results")?.as_array()?.iter().find_map(error)
}

/// The error of a body whose status, code or success is a failure, in the words of its message.
fn of_status(value: &Value) -> Option<String> {
    let is_failure = |member: &Value| match member {
        Value::String(word) => FAILURES.iter().any(|failure| word.eq_ignore_ascii_case(failure)),
        Value::Number(code) => code.as_u64().is_some_and(|code| (400..600).contains(&code)),
        _ => false,
    };
    let message = value.get("message").and_then(Value::as_str);
    let has_failed = ["status", "code"].iter().filter_map(|key| value.get(*key)).any(is_failure)
        || ["success", "ok"].iter().any(|key| value.get(*key) == Some(&Value::Bool(false)))
        // InfluxDB 2 names each error with a word and explains it.
        || (message.is_some() && value.get("code").is_some_and(Value::is_string));
    has_failed.then(|| message.map_or_else(|| value.to_string(), str::to_owned))
}

/// The text of a member that holds an error; `None` if it holds none.
fn shown(member: &Value) -> Option<String> {
    match member {
        Value::Null | Value::Bool(false) => None,
        Value::String(text) => Some(text.clone()).filter(|text| !text.is_empty()),
        Value::Number(number) => (number.as_f64() != Some(0.0)).then(|| number.to_string()),
        Value::Array(all) => all.iter().find_map(shown),
        Value::Object(members) if members.is_empty() => None,
        Value::Object(members) => {
            let text = members.get("message").and_then(Value::as_str);
            Some(text.map_or_else(|| member.to_string(), str::to_owned))
        }
        Value::Bool(true) => Some("true".to_owned()),
    }
}
