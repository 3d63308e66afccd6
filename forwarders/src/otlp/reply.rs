//! Interprets replies over HTTP and gRPC.
//!
//! A status of gRPC is translated into the status of HTTP with the same meaning, so that the sender
//! treats both alike. The protocol allows a client to drop the data after most errors; tallyd drops
//! points only if the server rejects their content, and keeps them otherwise.

use super::endpoint::OtlpTransport;
use super::frame::{Unframed, unframed};
use super::lenient;
use super::response::{self, Acceptance};
use super::rpc::retry_delay;
use crate::http::{
    GrpcStatus, HttpReply, RequestOutcome, StatusClass, StatusCode, is_about_content,
};

/// The names of the codes of gRPC, by code.
const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];
const RESOURCE_EXHAUSTED: u32 = 8;
const OUT_OF_RANGE: u32 = 11;
/// The words of gRPC's libraries for a message that is too large, in lower case.
const TOO_LARGE: [&str; 6] = [
    // Go, C++, Python, Ruby, Node.js
    "larger than max",
    // Node.js, after decompression
    "to a size larger than",
    // Java
    "grpc message exceeds maximum size",
    // .NET
    "exceeds the maximum configured message size",
    // Rust (tonic)
    "message length too large",
    // Rust (tonic), after decompression
    "exceeded while decompressing message",
];
/// The number of the field `message` in `google.rpc.Status`, the body of an error.
const STATUS_MESSAGE: u64 = 2;

/// A reply as the sender and the log see it.
#[derive(Debug)]
pub(super) struct Interpreted {
    pub(super) reply: HttpReply,
    pub(super) outcome: RequestOutcome,
    /// The server's words about points that it has all accepted.
    pub(super) warning: Option<String>,
}

/// Interprets the reply to a request with this number of payloads.
pub(super) fn interpret(
    reply: HttpReply,
    transport: OtlpTransport,
    payloads: usize,
) -> Interpreted {
    match transport {
        OtlpTransport::Http => of_http(reply, payloads),
        OtlpTransport::Grpc => of_grpc(reply, payloads),
    }
}

fn of_http(mut reply: HttpReply, payloads: usize) -> Interpreted {
    if reply.status.is_success() {
        return match response::of_http(&reply) {
            Some(acceptance) => accepted(reply, acceptance, payloads),
            None => no_response(reply),
        };
    }
    if response::is_protobuf(&reply)
        && let Some(message) = lenient::text(&reply.body, reply.is_cut, STATUS_MESSAGE)
    {
        reply.show(message);
    }
    by_class(reply)
}

fn of_grpc(mut reply: HttpReply, payloads: usize) -> Interpreted {
    match reply.grpc.take() {
        Some(GrpcStatus { code: 0, .. }) => of_message(reply, payloads),
        Some(status) => {
            let pause = retry_delay(&status.details);
            reply.retry_after = pause.or(reply.retry_after);
            reply.status = http_status(&status, reply.retry_after.is_some());
            reply.outcome_name = Some(name(status.code));
            reply.show(status.message);
            by_class(reply)
        }
        // The status follows the message, so it is in the part that was not read. A call that fails has
        // no message.
        None if reply.status.is_success() && reply.is_cut => of_message(reply, payloads),
        // A proxy failed before the call.
        None if !reply.status.is_success() => {
            let mut found = by_class(reply);
            // It says nothing about the points: only a status of gRPC rejects them.
            if found.outcome == RequestOutcome::Unnamed {
                found.outcome = RequestOutcome::Transient;
            }
            found
        }
        None => no_response(reply),
    }
}

/// The outcome of a call that succeeded, whose reply has a message.
fn of_message(reply: HttpReply, payloads: usize) -> Interpreted {
    let message = unframed(&reply.body, reply.is_cut);
    match message.and_then(|Unframed { bytes, is_cut }| response::of_message(&bytes, is_cut)) {
        Some(acceptance) => accepted(reply, acceptance, payloads),
        None => no_response(reply),
    }
}

/// The status of HTTP with the meaning of a status of gRPC.
fn http_status(status: &GrpcStatus, has_pause: bool) -> StatusCode {
    match status.code {
        // The server or a proxy had no time or no capacity.
        1 | 4 => StatusCode::GATEWAY_TIMEOUT,
        14 => StatusCode::SERVICE_UNAVAILABLE,
        RESOURCE_EXHAUSTED | OUT_OF_RANGE if is_about_size(&status.message) => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        // Only then the server expects to recover by itself.
        RESOURCE_EXHAUSTED if has_pause => StatusCode::TOO_MANY_REQUESTS,
        3 => StatusCode::BAD_REQUEST,
        5 => StatusCode::NOT_FOUND,
        7 => StatusCode::FORBIDDEN,
        12 => StatusCode::NOT_IMPLEMENTED,
        16 => StatusCode::UNAUTHORIZED,
        6 | RESOURCE_EXHAUSTED | 9 => StatusCode::CONFLICT,
        // The same request may succeed; if it does not, the sender finds out why.
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// Whether a server rejects a message for its size. The protocol has no code for that, so each library
/// has its own words.
fn is_about_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    TOO_LARGE.iter().any(|words| message.contains(words))
}

fn name(code: u32) -> String {
    CODES.get(code as usize).map_or_else(|| format!("gRPC status {code}"), ToString::to_string)
}

/// The outcome of a request that the server has accepted, maybe in part.
fn accepted(mut reply: HttpReply, acceptance: Acceptance, payloads: usize) -> Interpreted {
    let Acceptance { rejected, message } = acceptance;
    reply.outcome_name = Some("partial success".to_owned());
    // The number comes from the server.
    let refused = usize::try_from(rejected.max(0)).unwrap_or(usize::MAX).min(payloads);
    if refused == 0 {
        reply.body.clear();
        let warning = Some(reply.excerpt(message)).filter(|words| !words.is_empty());
        return Interpreted { reply, outcome: RequestOutcome::Delivered, warning };
    }
    reply.show(message);
    let outcome = RequestOutcome::Partial { refused, named: Vec::new() };
    Interpreted { reply, outcome, warning: None }
}

/// A reply of success that is no response of OTLP: another program answers there.
fn no_response(mut reply: HttpReply) -> Interpreted {
    // A page or an error says more itself.
    if reply.class() != StatusClass::Success {
        return by_class(reply);
    }
    reply.status = StatusCode::NOT_IMPLEMENTED;
    reply.outcome_name = Some("no acknowledgement".to_owned());
    let text = std::str::from_utf8(&reply.body).map(str::trim).unwrap_or_default();
    let colon = if text.is_empty() { "" } else { ": " };
    reply.show(format!("the reply is not that of an OTLP server{colon}{text}"));
    by_class(reply)
}

fn by_class(reply: HttpReply) -> Interpreted {
    let reason = reply.reason();
    let outcome = match reply.class() {
        // Servers limit the size while they read, and call the rest malformed.
        StatusClass::InvalidData if reason.contains("request body too large") => {
            RequestOutcome::TooLarge
        }
        StatusClass::Transient if is_about_content(&reason) && !reply.is_temporary() => {
            reply.refusal_by_words(RequestOutcome::Unnamed)
        }
        class => class.into(),
    };
    Interpreted { reply, outcome, warning: None }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prost::Message;

    use super::*;
    use crate::delivery::forwarder::ErrorClass;
    use crate::otlp::rpc::{ExportMetricsServiceResponse, PartialSuccess, RpcStatus, retry_info};
    use RequestOutcome::{Delivered, Operator, TooLarge, Transient, Unnamed};

    fn reply(status: u16, content_type: &str, body: Vec<u8>) -> HttpReply {
        let mut reply = HttpReply::of(StatusCode::from_u16(status).unwrap());
        reply.content_type = Some(content_type.to_owned()).filter(|text| !text.is_empty());
        reply.body = body;
        reply
    }

    fn response(rejected_data_points: i64, error_message: &str) -> Vec<u8> {
        let error_message = error_message.to_owned();
        let partial_success = Some(PartialSuccess { rejected_data_points, error_message });
        ExportMetricsServiceResponse { partial_success }.encode_to_vec()
    }

    fn partial(refused: usize) -> RequestOutcome {
        RequestOutcome::Partial { refused, named: Vec::new() }
    }

    #[test]
    fn replies_over_http_are_told_apart() {
        let status = |message: &str| RpcStatus { message: message.into(), ..RpcStatus::default() };
        let error = |message: &str| status(message).encode_to_vec();
        let proto = "application/x-protobuf";
        for (number, content_type, body, outcome, words) in [
            (200, proto, Vec::new(), Delivered, ""),
            (200, "", Vec::new(), Delivered, ""),
            (200, "application/json", b"{}".to_vec(), Delivered, ""),
            (
                200,
                proto,
                response(2, "error: too old"),
                partial(2),
                "partial success from http://eu:8086/write: error: too old",
            ),
            (200, proto, response(99, ""), partial(4), "partial success"),
            (200, proto, response(-1, ""), Delivered, ""),
            (
                200,
                "application/json",
                br#"{"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"x"}}"#.to_vec(),
                partial(3),
                "x",
            ),
            (200, proto, b"\xff\xff".to_vec(), Operator, "no acknowledgement"),
            (200, "text/html", b"<html>Log in".to_vec(), Operator, "web page"),
            (200, "text/plain", b"ok".to_vec(), Operator, "not that of an OTLP server: ok"),
            (200, "application/json", br#"{"status":"ok"}"#.to_vec(), Operator, "OTLP server: {"),
            (200, "", b"Access denied".to_vec(), Operator, "access denied"),
            (400, proto, b"\x12\x03no\xc3".to_vec(), Unnamed, "no\u{fffd}"),
            (
                400,
                proto,
                error("bad name"),
                Unnamed,
                "400 Bad Request from http://eu:8086/write: bad name",
            ),
            (400, "text/plain", b"http: request body too large".to_vec(), TooLarge, ""),
            (413, "", Vec::new(), TooLarge, ""),
            (401, proto, error("who?"), Operator, "who?"),
            (403, "", Vec::new(), Operator, "403"),
            (404, "", Vec::new(), Operator, "404"),
            (429, proto, error("slow down"), Transient, "slow down"),
            (500, proto, error("exporter failed"), Transient, "exporter failed"),
            (500, "text/plain", b"out of order sample".to_vec(), Unnamed, "out of order"),
            (502, "", Vec::new(), Transient, ""),
            (503, proto, error("queue is full"), Transient, "queue is full"),
            (504, "", Vec::new(), Transient, ""),
        ] {
            let shown = format!("{number} {:?}", String::from_utf8_lossy(&body));
            let found = interpret(reply(number, content_type, body), OtlpTransport::Http, 4);
            assert_eq!(found.outcome, outcome, "{shown}");
            assert!(found.reply.words().contains(words), "{shown}: {}", found.reply.words());
            assert_eq!(found.warning, None);
        }
        let warned = interpret(reply(200, proto, response(0, "old")), OtlpTransport::Http, 4);
        assert_eq!((warned.outcome, warned.warning.as_deref()), (Delivered, Some("old")));
    }

    #[test]
    fn an_error_of_a_proxy_rejects_no_points_of_a_call() {
        for (status, outcome) in
            [(400, Transient), (422, Transient), (413, TooLarge), (502, Transient)]
        {
            let reply = reply(status, "text/plain", b"Bad Request".to_vec());
            assert_eq!(interpret(reply, OtlpTransport::Grpc, 4).outcome, outcome, "{status}");
        }
    }

    fn call(code: u32, message: &str, details: Vec<u8>) -> HttpReply {
        let mut reply = reply(200, "application/grpc", Vec::new());
        reply.grpc = Some(GrpcStatus { code, message: message.to_owned(), details });
        reply
    }

    #[test]
    fn codes_of_grpc_are_told_apart() {
        let outcomes = [
            Delivered, Transient, Transient, Unnamed, Transient, Operator, Operator, Operator,
            Operator, Operator, Transient, Transient, Operator, Transient, Transient, Transient,
            Operator, Transient,
        ];
        for (code, outcome) in (0..).zip(outcomes) {
            let found = interpret(call(code, "why", Vec::new()), OtlpTransport::Grpc, 4);
            assert_eq!(found.outcome, outcome, "{code}");
            if code > 0 {
                let words = format!("{} from http://eu:8086/write: why", name(code));
                assert_eq!(found.reply.words(), words);
            }
        }
    }

    #[test]
    fn the_words_of_all_libraries_for_a_message_that_is_too_large_are_known() {
        for (code, words, outcome) in [
            (8, "grpc: received message larger than max (9 vs. 4)", TooLarge),
            (8, "grpc: received message after decompression larger than max 4", TooLarge),
            (8, "SERVER: Received message larger than max (9 vs. 4)", TooLarge),
            (8, "Received message that decompresses to a size larger than 4", TooLarge),
            (8, "gRPC message exceeds maximum size 4: 9", TooLarge),
            (8, "Decompressed gRPC message exceeds maximum size 4", TooLarge),
            (8, "Received message exceeds the maximum configured message size.", TooLarge),
            (11, "Error, decoded message length too large: found 9 bytes", TooLarge),
            (11, "Error, message length too large: found 9 bytes", TooLarge),
            (
                8,
                "Error decompressing: size limit, of 4 bytes, exceeded while decompressing message",
                TooLarge,
            ),
            (8, "the rate exceeds the maximum of the tenant", Operator),
            (11, "the timestamp is out of range", Transient),
        ] {
            let found = interpret(call(code, words, Vec::new()), OtlpTransport::Grpc, 4);
            assert_eq!(found.outcome, outcome, "{words}");
        }
    }

    #[test]
    fn a_pause_that_a_status_requests_is_kept() {
        for code in [RESOURCE_EXHAUSTED, 14] {
            let found = interpret(call(code, "", retry_info(7, 0)), OtlpTransport::Grpc, 4);
            assert_eq!(found.outcome, Transient);
            let error = found.reply.into_error(StatusClass::Transient, 0.0);
            let after = Some(Duration::from_secs(7));
            assert_eq!(error.class(), ErrorClass::Transient { after });
        }
    }

    #[test]
    fn a_response_of_grpc_is_read_from_its_frame() {
        let framed =
            |message: &[u8], flag: u8, length: u8| [&[flag, 0, 0, 0, length], message].concat();
        let message = response(3, "no");
        let length = message.len() as u8;
        for (body, outcome) in [
            (framed(&message, 0, length), partial(3)),
            (framed(&[], 0, 0), Delivered),
            (framed(&message, 1, length), Operator),
            (framed(&message, 0, length + 1), Operator),
            (vec![0, 0], Operator),
        ] {
            let mut reply = call(0, "", Vec::new());
            reply.body = body;
            assert_eq!(interpret(reply, OtlpTransport::Grpc, 4).outcome, outcome);
        }
        // The status of a message that is too long to be read follows in the trailers.
        let long = ["Error: too old".to_owned(), "x".repeat(80_000)].concat();
        let mut reply = reply(200, "application/grpc", Vec::new());
        reply.body = crate::otlp::frame::frame(&response(3, &long), false).unwrap();
        reply.body.truncate(65_536);
        reply.is_cut = true;
        let found = interpret(reply, OtlpTransport::Grpc, 4);
        assert_eq!(found.outcome, partial(3));
        assert!(found.reply.words().contains("Error: too old"));
        // No status: another program answers, or a proxy in front of the server.
        for (status, outcome) in [(200, Operator), (502, Transient), (401, Operator)] {
            let reply = self::reply(status, "text/html", b"<html>".to_vec());
            assert_eq!(interpret(reply, OtlpTransport::Grpc, 4).outcome, outcome, "{status}");
        }
    }
}
