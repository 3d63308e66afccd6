//! Interprets the reply to a write request for each of its lines.

use serde::Deserialize;

use crate::http::{HttpReply, RequestOutcome, StatusClass, StatusCode, dropped, is_about_content};

/// InfluxDB 1 reports a line that it cannot parse with this text, followed by the line.
const UNPARSED: &str = "unable to parse '";

/// InfluxDB Enterprise says this for lines that it has queued for a node that is away. A repeat
/// would make that queue longer.
const QUEUED_THERE: &str = "hinted handoff queue not empty";

/// Returns the outcome of a request with these lines.
pub(super) fn of(reply: &HttpReply, lines: &[&[u8]]) -> RequestOutcome {
    let reason = reply.reason();
    match reply.class() {
        StatusClass::InvalidData if is_about_the_target(&reason) => RequestOutcome::Operator,
        StatusClass::InvalidData => of_content(reply, &reason, lines),
        class @ (StatusClass::Transient | StatusClass::Operator) => {
            of_failure(reply, &reason, lines).unwrap_or_else(|| class.into())
        }
        class => class.into(),
    }
}

/// Returns the outcome of a request that failed, if the words contradict the status.
fn of_failure(reply: &HttpReply, reason: &str, lines: &[&[u8]]) -> Option<RequestOutcome> {
    if is_about_access(reply.status) || reply.is_temporary() {
        return None;
    }
    if is_about_the_target(reason) {
        Some(RequestOutcome::Operator)
    } else if reason.contains("max request size") {
        // InfluxDB 3 rejects a request that is too large with the status of a server failure.
        Some(RequestOutcome::TooLarge)
    } else if reason.contains(QUEUED_THERE) {
        Some(RequestOutcome::Delivered)
    } else {
        // InfluxDB 2 reports points beyond the retention policy with 500, older versions of
        // InfluxDB Cloud report a partial write with 201.
        is_about_content(reason).then(|| reply.refusal_by_words(of_content(reply, reason, lines)))
    }
}

/// Returns whether a status is about who writes, where or how often: then the words are not about
/// lines.
fn is_about_access(status: StatusCode) -> bool {
    matches!(status.as_u16(), 300..=399 | 401 | 403..=405 | 407 | 408 | 425 | 429)
}

/// Returns whether a retention policy is missing, which InfluxDB 1 reports with the status of a
/// temporary failure.
pub(super) fn is_about_the_policy(reason: &str) -> bool {
    reason.contains("retention policy not found")
}

/// Returns whether the place to which all lines go is missing: the retention policy, the database or
/// the credentials for it. Proxies and compatible servers report that with any status.
fn is_about_the_target(reason: &str) -> bool {
    let words = ["database not found", "database is required", "authentication credentials"];
    !reason.contains("partial write")
        && (is_about_the_policy(reason) || words.iter().any(|words| reason.contains(words)))
}

fn of_content(reply: &HttpReply, reason: &str, lines: &[&[u8]]) -> RequestOutcome {
    let is_partial = reason.contains("partial write");
    let mut named = named_by_number(&reply.body, lines.len());
    if !named.is_empty() {
        // The missing part of a truncated list may name more lines.
        return if is_partial && names_all(&reply.body) {
            RequestOutcome::Partial { refused: named.len(), named }
        } else {
            RequestOutcome::Named(named)
        };
    }
    named = named_by_text(reason, lines);
    if is_partial {
        if named.is_empty() {
            named = named_by_conflict(reason, lines);
        }
        // A partial write has dropped at least one line, and a count from the server must not
        // exceed the request.
        let refused = dropped(reason).unwrap_or(0).max(named.len()).clamp(1, lines.len().max(1));
        RequestOutcome::Partial { refused, named }
    } else if named.is_empty() {
        RequestOutcome::Unnamed
    } else {
        RequestOutcome::Named(named)
    }
}

/// `{"error": …, "data": …}` of InfluxDB 3, with all refused lines or the first one.
#[derive(Deserialize)]
struct LineErrors {
    data: OneOrAll,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrAll {
    All(Vec<LineError>),
    One(LineError),
}

/// A refused line; `line_number` counts from 1.
#[derive(Deserialize)]
struct LineError {
    line_number: usize,
}

/// `{"code": …, "line": …, "message": …}` of InfluxDB Cloud, with the first refused line.
#[derive(Deserialize)]
struct FirstLine {
    line: usize,
}

/// Returns the indexes of the lines that the body names by their numbers.
fn named_by_number(body: &[u8], lines: usize) -> Vec<usize> {
    let numbers: Vec<usize> = match serde_json::from_slice(body) {
        Ok(LineErrors { data: OneOrAll::All(errors) }) => {
            errors.into_iter().map(|error| error.line_number).collect()
        }
        Ok(LineErrors { data: OneOrAll::One(error) }) => vec![error.line_number],
        Err(_) => match serde_json::from_slice(body) {
            Ok(FirstLine { line }) => vec![line],
            Err(_) => numbers_in_cut_list(body),
        },
    };
    let mut places: Vec<usize> =
        numbers.into_iter().filter_map(|number| number.checked_sub(1)).collect();
    // The numbers come from the server: one beyond the request must not index its lines.
    places.retain(|place| *place < lines);
    places.sort_unstable();
    places.dedup();
    places
}

/// Returns the line numbers in a truncated list of errors.
fn numbers_in_cut_list(body: &[u8]) -> Vec<usize> {
    let text = String::from_utf8_lossy(body);
    let Some((_, mut list)) = text.split_once("\"data\":[") else { return Vec::new() };
    let mut numbers = Vec::new();
    loop {
        let mut errors = serde_json::Deserializer::from_str(list).into_iter::<LineError>();
        let Some(Ok(error)) = errors.next() else { return numbers };
        numbers.push(error.line_number);
        list = list[errors.byte_offset()..].trim_start_matches([',', ' ', '\n']);
    }
}

/// Returns whether the body has the complete list of line errors.
fn names_all(body: &[u8]) -> bool {
    matches!(serde_json::from_slice(body), Ok(LineErrors { data: OneOrAll::All(_) }))
}

/// Returns the indexes of the lines that the reason quotes.
fn named_by_text(reason: &str, lines: &[&[u8]]) -> Vec<usize> {
    let mut places = Vec::new();
    for (at, _) in reason.match_indices(UNPARSED) {
        let quoted = &reason.as_bytes()[at + UNPARSED.len()..];
        let is_quoted = |line: &&[u8]| {
            let line = line.trim_ascii_end();
            quoted.strip_prefix(line).is_some_and(|rest| rest.starts_with(b"'"))
        };
        places.extend(lines.iter().position(is_quoted));
    }
    places.sort_unstable();
    places.dedup();
    places
}

/// Returns the lines of the measurement in which InfluxDB 1 has a field of another type, if their
/// number equals the number of dropped lines. Otherwise it is unknown which of the lines the reason
/// means.
fn named_by_conflict(reason: &str, lines: &[&[u8]]) -> Vec<usize> {
    let is_of = |line: &[u8]| {
        let name = String::from_utf8_lossy(measurement(line)).replace('\\', "");
        reason.contains("field type conflict: input field \"")
            && reason.contains(&format!("\" on measurement \"{name}\" is type "))
    };
    let places: Vec<usize> = (0..lines.len()).filter(|place| is_of(lines[*place])).collect();
    if dropped(reason) == Some(places.len()) { places } else { Vec::new() }
}

/// Returns the escaped measurement, up to the tags or fields.
fn measurement(line: &[u8]) -> &[u8] {
    let mut escaped = false;
    let end = line.iter().position(|byte| {
        let ends = !escaped && matches!(byte, b',' | b' ');
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    &line[..end.unwrap_or(line.len())]
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: [&[u8]; 4] =
        [b"cpu,h=a v=1 1\n", b"cpu,h=b v=2 1\n", b"bad 'line' here\n", b"cpu,h=c v=3 1\n"];

    fn outcome(status: u16, body: &str) -> RequestOutcome {
        let mut reply = HttpReply::of(StatusCode::from_u16(status).unwrap());
        reply.body = body.into();
        of(&reply, &LINES)
    }

    fn partial(refused: usize, named: &[usize]) -> RequestOutcome {
        RequestOutcome::Partial { refused, named: named.to_vec() }
    }

    #[test]
    fn replies_of_influxdb_1_are_understood() {
        let operator = RequestOutcome::Operator;
        for (status, body, expected) in [
            (204, "", RequestOutcome::Delivered),
            (
                400,
                r#"{"error":"partial write: field type conflict: input field \"v\" on measurement \"cpu\" is type string, already exists as type float dropped=1"}"#,
                partial(1, &[]),
            ),
            (
                400,
                r#"{"error":"partial write: max-series-per-database limit exceeded: (50) dropped=3"}"#,
                partial(3, &[]),
            ),
            (
                400,
                r#"{"error":"partial write: unable to parse 'bad 'line' here': invalid field format dropped=0"}"#,
                partial(1, &[2]),
            ),
            (
                400,
                r#"{"error":"partial write: field type conflict: input field \"v\" on measurement \"cpu\" is type string, already exists as type float dropped=3"}"#,
                partial(3, &[0, 1, 3]),
            ),
            (400, r#"{"error":"partial write: something new dropped=0"}"#, partial(1, &[])),
            (
                400,
                r#"{"error":"partial write: points beyond retention policy dropped=99"}"#,
                partial(4, &[]),
            ),
            (
                400,
                r#"{"error":"unable to parse 'cpu,h=b v=2 1': invalid\nunable to parse 'cpu,h=c v=3 1': invalid"}"#,
                RequestOutcome::Named(vec![1, 3]),
            ),
            (400, r#"{"error":"time outside range"}"#, RequestOutcome::Unnamed),
            (400, r#"{"error":"retention policy not found: zz"}"#, operator.clone()),
            (400, r#"{"error":"database is required"}"#, operator.clone()),
            (500, r#"{"error":"database not found: \"nope\""}"#, operator.clone()),
            (400, r#"{"error":"unable to parse authentication credentials"}"#, operator.clone()),
            (502, "unable to parse response from upstream", RequestOutcome::Transient),
            (401, r#"{"error":"authorization failed"}"#, operator.clone()),
            (404, r#"{"error":"database not found: \"nope\""}"#, RequestOutcome::Operator),
            (413, r#"{"error":"Request Entity Too Large"}"#, RequestOutcome::TooLarge),
            (500, r#"{"error":"retention policy not found: zz"}"#, RequestOutcome::Operator),
            (500, r#"{"error":"timeout"}"#, RequestOutcome::Transient),
            (500, r#"{"error":"partial write"}"#, RequestOutcome::Transient),
            (
                500,
                r#"{"error":"partial write: points beyond retention policy dropped=2"}"#,
                partial(2, &[]),
            ),
            (
                500,
                r#"{"error":"write failed: field type conflict: input field \"v\" on measurement \"cpu\" is type string, already exists as type float"}"#,
                RequestOutcome::Unnamed,
            ),
            (
                503,
                r#"{"error":"unable to parse 'cpu,h=b v=2 1': invalid"}"#,
                RequestOutcome::Named(vec![1]),
            ),
            (503, r#"{"error":"field type conflict"}"#, RequestOutcome::Transient),
            (503, r#"{"error":"partial write: field type conflict dropped=2"}"#, partial(2, &[])),
            (
                400,
                r#"{"error":"engine: cache-max-memory-size exceeded: (104/100)"}"#,
                RequestOutcome::Transient,
            ),
            (
                400,
                r#"{"error":"partial write: engine: cache-max-memory-size exceeded dropped=4"}"#,
                RequestOutcome::Transient,
            ),
            (500, r#"{"error":"partial write: timeout dropped=4"}"#, RequestOutcome::Transient),
            (422, r#"{"error":"engine is closed"}"#, RequestOutcome::Transient),
            (
                400,
                r#"{"error":"field type conflict: input field \"timeout\" on measurement \"cpu\" is type"}"#,
                RequestOutcome::Unnamed,
            ),
            (
                500,
                r#"{"error":"write failed: hinted handoff queue not empty"}"#,
                RequestOutcome::Delivered,
            ),
            (
                403,
                r#"{"error":"not allowed to write the field: unable to parse"}"#,
                operator.clone(),
            ),
            (200, r#"{"error":"database not found: \"nope\""}"#, operator.clone()),
            (200, r#"{"results":[{}]}"#, RequestOutcome::Delivered),
            (200, "<!DOCTYPE html><title>Log in</title>", operator.clone()),
            // The line of a program's source, not of the request.
            (500, r#"{"message":"Undefined index","line":2}"#, RequestOutcome::Transient),
            (503, "", RequestOutcome::Transient),
        ] {
            assert_eq!(outcome(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn replies_of_influxdb_2_are_understood() {
        for (status, body, expected) in [
            (
                422,
                r#"{"code":"unprocessable entity","message":"failure writing points to database: partial write: field type conflict: input field \"v\" on measurement \"cpu\" is type string, already exists as type float dropped=2"}"#,
                partial(2, &[]),
            ),
            (
                400,
                r#"{"code":"invalid","message":"unable to parse 'bad 'line' here': missing fields"}"#,
                RequestOutcome::Named(vec![2]),
            ),
            (
                400,
                r#"{"code":"invalid","line":2,"message":"line 2: schema conflict"}"#,
                RequestOutcome::Named(vec![1]),
            ),
            (
                404,
                r#"{"code":"not found","message":"bucket \"b\" not found"}"#,
                RequestOutcome::Operator,
            ),
            (
                401,
                r#"{"code":"unauthorized","message":"unauthorized access"}"#,
                RequestOutcome::Operator,
            ),
            (429, "", RequestOutcome::Transient),
            (
                500,
                r#"{"code":"internal error","message":"unexpected error writing points to database: partial write: points beyond retention policy dropped=1"}"#,
                partial(1, &[]),
            ),
            (
                201,
                r#"{"code":"invalid","line":2,"message":"partial write: line 2: schema conflict"}"#,
                RequestOutcome::Named(vec![1]),
            ),
            (
                200,
                r#"{"code":"unauthorized","message":"unauthorized access"}"#,
                RequestOutcome::Operator,
            ),
        ] {
            assert_eq!(outcome(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn replies_of_influxdb_3_are_understood() {
        let error = |number: usize| {
            format!(
                r#"{{"original_line":"cpu,h=\"line_number\":9","line_number":{number},"error_message":"invalid column type"}}"#
            )
        };
        let some = format!(
            r#"{{"error":"partial write of line protocol occurred","data":[{},{}]}}"#,
            error(3),
            error(1)
        );
        assert_eq!(outcome(400, &some), partial(2, &[0, 2]));
        assert_eq!(outcome(422, &some), partial(2, &[0, 2]));
        let one =
            format!(r#"{{"error":"parsing failed for write_lp endpoint","data":{}}}"#, error(2));
        assert_eq!(outcome(400, &one), RequestOutcome::Named(vec![1]));
        // A truncated list names some of the lines and says nothing about the others.
        let cut = &some[..some.len() - 20];
        assert_eq!(outcome(400, cut), RequestOutcome::Named(vec![2]));
        // Impossible line numbers are ignored.
        let wrong = some.replace(":3,", ":0,").replace(":1,", ":77,");
        assert_eq!(outcome(400, &wrong), partial(1, &[]));
        assert_eq!(
            outcome(
                422,
                r#"{"error":"Update to schema would exceed number of columns","data":null}"#
            ),
            RequestOutcome::Unnamed
        );
        assert_eq!(
            outcome(500, "max request size (10485760 bytes) exceeded"),
            RequestOutcome::TooLarge
        );
    }

    #[test]
    fn a_reply_that_is_not_about_the_lines_costs_none_of_them() {
        let page = "<html>\n<h1>400 The plain HTTP request was sent to HTTPS port</h1></html>";
        for body in [page, "Client sent an HTTP request to an HTTPS server.\n"] {
            assert_eq!(outcome(400, body), RequestOutcome::Operator, "{body}");
        }
        assert_eq!(outcome(400, ""), RequestOutcome::Unnamed);
    }
}
