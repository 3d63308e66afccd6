//! Reads a server's response to points that it accepted, maybe in part.
//!
//! A status of success alone proves nothing: any web server answers with one. The body has to be the
//! response of the protocol, which may be empty. On the other hand, a response must be understood even
//! if it is long or damaged: its request would be repeated, and the server would count the points twice.

use serde_json::Value;

use super::lenient::{self, Field};
use crate::http::HttpReply;

/// A server's response to a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Acceptance {
    /// The number of points that it rejected, as the server reports it.
    pub(super) rejected: i64,
    /// Its words about them, or a warning if it rejected none.
    pub(super) message: String,
}

/// The syntax of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Syntax {
    Protobuf,
    /// Text, which may be JSON: some servers answer in it to any client, or do not label it.
    Text,
    Unknown,
}

impl Syntax {
    fn of(content_type: Option<&str>) -> Self {
        let media = content_type.unwrap_or_default().to_ascii_lowercase();
        if media.contains("protobuf") {
            return Self::Protobuf;
        }
        let is_text = media.starts_with("text/") || media.contains("json");
        if is_text { Self::Text } else { Self::Unknown }
    }
}

/// Whether the body of a reply is labelled as protobuf.
pub(super) fn is_protobuf(reply: &HttpReply) -> bool {
    Syntax::of(reply.content_type.as_deref()) == Syntax::Protobuf
}

/// The response in a successful reply over HTTP; `None` if the reply is no response of the protocol.
pub(super) fn of_http(reply: &HttpReply) -> Option<Acceptance> {
    let (body, is_cut) = (&*reply.body, reply.is_cut);
    if body.is_empty() {
        return Some(Acceptance::default());
    }
    match Syntax::of(reply.content_type.as_deref()) {
        Syntax::Protobuf => of_message(body, is_cut),
        Syntax::Text => of_json(body, is_cut),
        Syntax::Unknown => of_json(body, is_cut).or_else(|| of_unlabelled_message(body, is_cut)),
    }
}

/// The response in a message of protobuf.
pub(super) fn of_message(bytes: &[u8], is_cut: bool) -> Option<Acceptance> {
    let mut partial_success = None;
    lenient::read(bytes, is_cut, |number, field| {
        if let (1, Field::Bytes(message)) = (number, field) {
            partial_success = Some(message);
        }
    })?;
    match partial_success {
        Some(message) => of_partial_success(message, is_cut),
        // The number of rejected points could be in the missing rest.
        None => (!is_cut).then(Acceptance::default),
    }
}

/// The response in a message that nothing but its content identifies: by chance, the bytes of another
/// program can be fields that the protocol does not have.
fn of_unlabelled_message(bytes: &[u8], is_cut: bool) -> Option<Acceptance> {
    let mut is_response = true;
    lenient::read(bytes, is_cut, |number, field| {
        is_response &= matches!((number, field), (1, Field::Bytes(_)));
    })?;
    is_response.then(|| of_message(bytes, is_cut))?
}

fn of_partial_success(message: &[u8], is_cut: bool) -> Option<Acceptance> {
    let mut acceptance = Acceptance::default();
    lenient::read(message, is_cut, |number, field| match (number, field) {
        (1, Field::Varint(rejected)) => acceptance.rejected = rejected.cast_signed(),
        (2, Field::Bytes(text)) => acceptance.message = String::from_utf8_lossy(text).into_owned(),
        _ => {}
    })?;
    Some(acceptance)
}

/// The response in JSON. Of one that is cut, only the number of rejected points is read.
fn of_json(body: &[u8], is_cut: bool) -> Option<Acceptance> {
    let text = String::from_utf8_lossy(body);
    if is_cut {
        let rejected = rejected_in(&text)?;
        return Some(Acceptance { rejected, message: text.into_owned() });
    }
    let Value::Object(response) = serde_json::from_str(&text).ok()? else { return None };
    let Some(partial) = response.get("partialSuccess").or_else(|| response.get("partial_success"))
    else {
        return response.is_empty().then(Acceptance::default);
    };
    let member = |names: [&str; 2]| names.iter().find_map(|name| partial.get(name));
    let message = member(["errorMessage", "error_message"]).and_then(Value::as_str);
    Some(Acceptance {
        rejected: member(["rejectedDataPoints", "rejected_data_points"]).map_or(0, whole),
        message: message.unwrap_or_default().to_owned(),
    })
}

/// A whole number, which JSON of protobuf writes as a text, and some servers as a number.
fn whole(number: &Value) -> i64 {
    let float = || number.as_f64().map(|float| float as i64);
    let text = || number.as_str().and_then(|text| text.trim().parse().ok());
    number.as_i64().or_else(float).or_else(text).unwrap_or_default()
}

/// The number of rejected points in the start of a response.
fn rejected_in(text: &str) -> Option<i64> {
    let rest = text.trim_start().strip_prefix('{')?.trim_start();
    let rest = ["\"partialSuccess\"", "\"partial_success\""]
        .iter()
        .find_map(|name| rest.strip_prefix(name))?;
    // Before the server's words, which may contain anything.
    let end = rest.find("rrorMessage").or_else(|| rest.find("rror_message"));
    let rest = &rest[..end.unwrap_or(rest.len())];
    let (_, number) = rest
        .split_once("\"rejectedDataPoints\"")
        .or_else(|| rest.split_once("\"rejected_data_points\""))?;
    let number = number.trim_start_matches([' ', ':', '"']);
    let digits = number.find(|character: char| !character.is_ascii_digit())?;
    number[..digits].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::StatusCode;

    fn read(content_type: &str, body: &[u8], is_cut: bool) -> Option<(i64, String)> {
        let mut reply = HttpReply::of(StatusCode::OK);
        reply.content_type = Some(content_type.to_owned()).filter(|text| !text.is_empty());
        (reply.body, reply.is_cut) = (body.to_vec(), is_cut);
        of_http(&reply).map(|Acceptance { rejected, message }| (rejected, message))
    }

    /// Two rejected points, with the word "no".
    const PARTIAL: &[u8] = b"\x0a\x06\x08\x02\x12\x02no";

    #[test]
    fn responses_of_the_protocol_are_read_however_they_are_labelled() {
        let no = |rejected| Some((rejected, "no".to_owned()));
        let none = || Some((0, String::new()));
        let json = |count: &str| {
            format!(r#"{{"partialSuccess":{{"rejectedDataPoints":{count},"errorMessage":"no"}}}}"#)
        };
        for content_type in ["application/x-protobuf", "Application/Protobuf; v=1", "", "a/b"] {
            assert_eq!(read(content_type, PARTIAL, false), no(2), "{content_type}");
        }
        for content_type in ["", "text/html", "application/json", "application/x-protobuf"] {
            assert_eq!(read(content_type, b"", false), none(), "{content_type}");
        }
        for content_type in ["application/json; charset=utf-8", "text/plain", ""] {
            for count in ["3", "3.0", "\"3\""] {
                assert_eq!(read(content_type, json(count).as_bytes(), false), no(3), "{count}");
            }
            assert_eq!(read(content_type, b"{}\n", false), none());
            assert_eq!(read(content_type, br#"{"partialSuccess":null}"#, false), none());
        }
        let snake = br#"{"partial_success":{"rejected_data_points":4,"error_message":"no"}}"#;
        assert_eq!(read("application/json", snake, false), no(4));
    }

    #[test]
    fn replies_of_other_programs_are_no_response() {
        for (content_type, body) in [
            ("text/plain", "ok"),
            ("", "OK\n"),
            ("", "abcdefghi"),
            ("application/json", r#"{"status":"ok"}"#),
            ("application/json", "[]"),
            ("application/json", "null"),
            ("text/html", "<html>Log in"),
            ("application/x-protobuf", "ok"),
            ("application/octet-stream", "\x08\x01"),
        ] {
            assert_eq!(read(content_type, body.as_bytes(), false), None, "{content_type} {body}");
        }
    }

    #[test]
    fn a_response_that_is_cut_or_not_utf_8_still_has_its_number() {
        let proto = "application/x-protobuf";
        // As long as 70 KiB, and cut after a few bytes of the text.
        let long = b"\x0a\xf6\xa2\x04\x08\x07\x12\xf0\xa2\x04too old";
        assert_eq!(read(proto, long, true), Some((7, "too old".to_owned())));
        assert_eq!(read("", long, true), Some((7, "too old".to_owned())));
        assert_eq!(read(proto, long, false), None);
        assert_eq!(read(proto, b"\x22\xff\x7fxyz", true), None);
        let broken = b"\x0a\x06\x08\x02\x12\x02n\xc3";
        assert_eq!(read(proto, broken, false), Some((2, "n\u{fffd}".to_owned())));
        for (text, rejected) in [
            (r#"{"partialSuccess":{"rejectedDataPoints":"5","errorMessage":"a"#, Some(5)),
            (r#"{ "partialSuccess" : { "rejectedDataPoints" : 5, "errorMessage":"a"#, Some(5)),
            (r#"{"partialSuccess":{"errorMessage":"\"rejectedDataPoints\":9"#, None),
            (r#"{"partialSuccess":{"rejectedDataPoints":5"#, None),
            (r#"{"status":"ok"#, None),
        ] {
            let found = read("application/json", text.as_bytes(), true);
            assert_eq!(found.map(|(rejected, _)| rejected), rejected, "{text}");
        }
        let damaged =
            b"{\"partialSuccess\":{\"rejectedDataPoints\":\"1\",\"errorMessage\":\"\xff\"}}";
        assert_eq!(read("application/json", damaged, false).unwrap().0, 1);
    }
}
