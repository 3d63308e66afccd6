//! A server's reply, limited in size.

use std::fmt;
use std::io::Read;
use std::time::{Duration, SystemTime};

use basics::escape::is_deceptive;
use flate2::read::GzDecoder;
use httpclient::reqwest::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
};
use httpclient::reqwest::{Error, Response, StatusCode};
use httpclient::{BoundedBody, read_body_and_trailers};

use super::acknowledgement;
use super::content_words::is_about_content;
use super::error_text;
use super::grpc_status::GrpcStatus;
use super::outcome::RequestOutcome;
use super::redaction::Redaction;
use super::retry_after;
use super::status_class::StatusClass;
use super::temporary_words;
use super::url::origin;
use crate::delivery::forwarder::SendError;

/// Most characters of a server's text that are shown in the log and the status.
const WORDS_CHARS_MAX: usize = 300;

/// A reply, limited in size.
#[derive(Debug)]
pub struct HttpReply {
    /// The status.
    pub status: StatusCode,
    /// The pause that the server requests (`Retry-After`).
    pub retry_after: Option<Duration>,
    /// The target of a redirect.
    pub location: Option<String>,
    /// The media type of the body.
    pub content_type: Option<String>,
    /// The start of the body, up to the limit of the request: 64 KiB for a POST.
    pub body: Vec<u8>,
    /// Whether the body is longer than the limit.
    pub is_cut: bool,
    /// The status of a call of gRPC.
    pub grpc: Option<GrpcStatus>,
    /// The name of the outcome in a protocol on top of HTTP, shown instead of the status.
    pub outcome_name: Option<String>,
    /// The secrets of the request.
    pub(super) redaction: Redaction,
    /// The URL of the request without its parameters.
    pub(super) asked: String,
}

impl HttpReply {
    /// Reads a reply with up to `body_max` bytes of its body.
    pub(super) async fn read(response: Response, body_max: usize) -> Result<Self, Error> {
        let mut reply = Self::without_body(&response);
        let is_gzip = is_gzip(&response);
        let (body, trailers) = read_body_and_trailers(response, body_max).await?;
        reply.grpc = GrpcStatus::of(&trailers).or(reply.grpc);
        let BoundedBody { bytes, is_cut } = if is_gzip { unpacked(body, body_max) } else { body };
        Ok(Self { body: bytes, is_cut, ..reply })
    }

    fn without_body(response: &Response) -> Self {
        let header = |name: HeaderName| {
            let value = response.headers().get(name)?;
            // A header can contain any bytes. An unreadable one must not fail the whole reply.
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Self {
            status: response.status(),
            retry_after: header(RETRY_AFTER)
                .and_then(|text| retry_after::parse(&text, SystemTime::now())),
            location: header(LOCATION),
            content_type: header(CONTENT_TYPE),
            body: Vec::new(),
            is_cut: false,
            // In the headers if the call failed before a body was known.
            grpc: GrpcStatus::of(response.headers()),
            outcome_name: None,
            redaction: Redaction::default(),
            asked: format!("{}{}", origin(response.url()), response.url().path()),
        }
    }

    /// A reply without a body, for tests.
    #[cfg(test)]
    pub(crate) fn of(status: StatusCode) -> Self {
        Self {
            status,
            retry_after: None,
            location: None,
            content_type: None,
            body: Vec::new(),
            is_cut: false,
            grpc: None,
            outcome_name: None,
            redaction: Redaction::default(),
            asked: "http://eu:8086/write".to_owned(),
        }
    }

    /// Whether the body is a message of protobuf or gRPC, not a text, as its label or its content shows.
    pub(super) fn is_binary(&self) -> bool {
        let content_type = self.content_type.as_deref().unwrap_or_default().to_ascii_lowercase();
        let is_control = |byte: &u8| *byte < b' ' && !byte.is_ascii_whitespace();
        ["protobuf", "application/grpc"].iter().any(|media| content_type.contains(media))
            || self.body.iter().any(is_control)
    }

    /// Replaces the body with a text of the server that the body contains, such as one that was
    /// compressed. Secrets of the request are masked in it.
    #[cfg(feature = "otlp")]
    pub(crate) fn show(&mut self, text: String) {
        self.content_type = None;
        self.is_cut = false;
        self.body = self.redaction.redact_text(text).into_bytes();
    }

    /// A text that the body contains, on one line of bounded length, without the secrets of the request.
    #[cfg(feature = "otlp")]
    pub(crate) fn excerpt(&self, text: String) -> String {
        one_line(&self.redaction.redact_text(text))
    }

    /// The meaning of the reply for the data of the request: of its status, unless the body
    /// contradicts it.
    #[must_use]
    pub fn class(&self) -> StatusClass {
        match StatusClass::of(self.status) {
            StatusClass::Success if self.objection().is_some() => StatusClass::Operator,
            StatusClass::InvalidData if self.is_about_the_request() => StatusClass::Operator,
            StatusClass::InvalidData if self.is_temporary() => StatusClass::Transient,
            class => class,
        }
    }

    /// Whether the server reports that it has temporary trouble, whatever the status.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        temporary_words::is_temporary(&self.reason())
    }

    /// Whether the server asks the client to wait: it is overloaded, restarts or has no room. Such a
    /// reply says nothing about the request, unless its text is about the content.
    pub(super) fn is_busy(&self) -> bool {
        let reason = self.reason();
        (self.has_status_of_patience() || temporary_words::is_about_shortage(&reason))
            && !is_about_content(&reason)
    }

    /// Whether the status asks the client to wait.
    fn has_status_of_patience(&self) -> bool {
        matches!(self.status.as_u16(), 408 | 425 | 429 | 503 | 504 | 507 | 524)
            || self.retry_after.is_some()
    }

    /// The outcome of a reply whose text is about the content although its status is not. If the
    /// status asks the client to wait and the text names no payload, no payload is known to be at
    /// fault: the request is repeated, and searched if the reply stays the same.
    #[must_use]
    pub fn refusal_by_words(&self, outcome: RequestOutcome) -> RequestOutcome {
        match outcome {
            RequestOutcome::Unnamed if self.has_status_of_patience() => RequestOutcome::Transient,
            outcome => outcome,
        }
    }

    /// Why a reply with a status of success is no acknowledgement; `None` if it is one, or has
    /// another status.
    fn objection(&self) -> Option<String> {
        let Self { content_type, body, is_cut, .. } = self;
        let objects = || acknowledgement::objection(content_type.as_deref(), body, *is_cut);
        // A protocol that has named the outcome has read the body.
        (self.status.is_success() && self.outcome_name.is_none()).then(objects)?
    }

    /// Whether the request is at fault and not its data: a server of pages answers with one, and a
    /// server with TLS refuses a request without it.
    fn is_about_the_request(&self) -> bool {
        acknowledgement::is_page(self.content_type.as_deref(), &self.body)
            || self.reason().contains("HTTP request to an HTTPS server")
    }

    /// The reason that the server gives: the error of a JSON body, or a body that is plain text.
    /// Empty if the server gives no reason.
    #[must_use]
    pub fn reason(&self) -> String {
        if let Some(reason) = error_text::reason(&self.body) {
            return reason;
        }
        let text = String::from_utf8_lossy(&self.body);
        // HTML from a proxy repeats the status and would fill the line with markup.
        if text.trim_start().starts_with('<') { String::new() } else { text.trim().to_owned() }
    }

    /// Status and reason for the log and the status, on one bounded line without control
    /// characters.
    #[must_use]
    pub fn words(&self) -> String {
        let mut words = match &self.outcome_name {
            Some(name) => format!("{name} from {}", self.asked),
            None => format!("{} from {}", self.status, self.asked),
        };
        if let Some(location) = &self.location
            && self.status.is_redirection()
        {
            words.push_str(", which points to ");
            words.push_str(&one_line(&without_secrets(location)));
        }
        let objection = self.objection().map(|why| format!("no acknowledgement: {why}"));
        let reason = one_line(&objection.unwrap_or_else(|| self.reason()));
        if !reason.is_empty() {
            words.push_str(": ");
            words.push_str(&reason);
        }
        words
    }

    /// Converts a reply into the error of an attempt after which the data is kept. `unit` is a
    /// random number from 0 to 1, which lengthens the pause of `Retry-After` by up to a quarter.
    #[must_use]
    pub fn into_error(self, class: StatusClass, unit: f64) -> SendError {
        let words = self.words();
        match class {
            StatusClass::Transient => {
                // Hosts that got the same pause must not return at the same moment. Never shorter,
                // because the server asked for at least this pause.
                let jitter = 1.0 + unit.clamp(0.0, 1.0) / 4.0;
                SendError::transient_after(words, self.retry_after.map(|at| at.mul_f64(jitter)))
            }
            // An attempt ends with one of the other classes only if the server does something
            // unexpected, which only an operator can resolve.
            StatusClass::Operator
            | StatusClass::Success
            | StatusClass::InvalidData
            | StatusClass::TooLarge => SendError::operator(words),
        }
    }
}

/// Whether the body is compressed. No request asks for that, but proxies exist that do it anyway.
fn is_gzip(response: &Response) -> bool {
    let encoding = response.headers().get(CONTENT_ENCODING).map(HeaderValue::as_bytes);
    encoding.is_some_and(|encoding| encoding.to_ascii_lowercase().ends_with(b"gzip"))
}

/// Decompresses a body, up to the limit. One that is no gzip stays as it is.
fn unpacked(body: BoundedBody, bytes_max: usize) -> BoundedBody {
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    // What an incomplete or damaged body begins with is still better than none of it.
    let is_damaged =
        GzDecoder::new(body.bytes.as_slice()).take(limit).read_to_end(&mut bytes).is_err();
    if bytes.is_empty() && is_damaged {
        return body;
    }
    let is_cut = is_damaged || body.is_cut || bytes.len() > bytes_max;
    bytes.truncate(bytes_max);
    BoundedBody { bytes, is_cut }
}

/// The target of a redirect without the parts that may hold secrets of others: gateways put tokens
/// into the parameters.
fn without_secrets(location: &str) -> String {
    let end = location.find(['?', '#']).unwrap_or(location.len());
    let (target, parameters) = location.split_at(end);
    let target = match target.split_once("//") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}//{host}{path}")
        }
        None => target.to_owned(),
    };
    if parameters.is_empty() { target } else { format!("{target}?…") }
}

/// The text of a server on one line, cut to a bounded length.
fn one_line(text: &str) -> String {
    let mut line = String::new();
    for (count, char) in text.trim().chars().enumerate() {
        if count == WORDS_CHARS_MAX {
            line.push('…');
            break;
        }
        // A server must not forge log lines or send escape sequences to an operator's terminal.
        line.push(if is_deceptive(char) { ' ' } else { char });
    }
    line
}

impl fmt::Display for HttpReply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.words())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::delivery::forwarder::ErrorClass;

    fn reply(status: u16, body: &str) -> HttpReply {
        let mut reply = HttpReply::of(StatusCode::from_u16(status).unwrap());
        reply.body = body.as_bytes().to_vec();
        reply
    }

    #[test]
    fn the_reason_is_found_in_each_servers_format() {
        for (body, reason) in [
            (r#"{"error":"database not found: \"nope\""}"#, r#"database not found: "nope""#),
            (
                r#"{"code":"invalid","message":"writing requires points"}"#,
                "writing requires points",
            ),
            ("404 page not found\n", "404 page not found"),
            ("<html><h1>413 Request Entity Too Large</h1></html>", ""),
            ("", ""),
            ("{}", ""),
            (r#"{"error":{"message":"no tenant"}}"#, "no tenant"),
            (r#"{"results":[{"error":"timeout"}]}"#, "timeout"),
            ("\u{fffd}", "\u{fffd}"),
        ] {
            assert_eq!(reply(400, body).reason(), reason, "{body}");
        }
    }

    #[test]
    fn the_description_is_one_bounded_line() {
        let long = format!("{{\"error\":\"a\\nb\\u001b[31m{}\"}}", "x".repeat(70_000));
        let words = reply(400, &long).words();
        assert!(words.starts_with("400 Bad Request from http://eu:8086/write: a b [31mxx"));
        assert!(words.chars().count() < 400 && !words.contains(['\n', '\u{1b}']), "{words}");
    }

    #[test]
    fn a_redirect_names_its_target() {
        let mut reply = reply(307, "");
        reply.location = Some("https://eu/write".into());
        let words = reply.words();
        assert!(
            words.ends_with("http://eu:8086/write, which points to https://eu/write"),
            "{words}"
        );
    }

    #[test]
    fn the_target_of_a_redirect_is_shown_without_credentials_and_parameters() {
        for (location, shown) in [
            ("https://u:secret@login/a@b", "https://login/a@b"),
            ("//secret@login", "//login"),
            ("/login?token=secret", "/login?…"),
            ("https://login/#id_token=secret", "https://login/?…"),
            ("https://a:se?cret@b/", "https://a:se?…"),
            ("", ""),
        ] {
            assert_eq!(without_secrets(location), shown, "{location}");
        }
    }

    #[test]
    fn a_compressed_body_is_decompressed_up_to_the_limit() {
        let packed = |text: &[u8]| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap()
        };
        let unpacked = |bytes: Vec<u8>| {
            let body = unpacked(BoundedBody { bytes, is_cut: false }, 100);
            (body.bytes, body.is_cut)
        };
        assert_eq!(unpacked(packed(b"<html>")), (b"<html>".to_vec(), false));
        assert_eq!(unpacked(packed(&[b'a'; 100])), (vec![b'a'; 100], false));
        assert_eq!(unpacked(packed(&vec![b'a'; 1 << 24])), (vec![b'a'; 100], true));
        assert_eq!(unpacked(b"plain".to_vec()), (b"plain".to_vec(), false));
        assert_eq!(unpacked(Vec::new()), (Vec::new(), false));
    }

    #[test]
    fn a_page_is_an_operators_fault_with_any_status_that_blames_or_accepts_the_data() {
        let page = "<html><title>Log in</title></html>";
        for (status, class) in [
            (200, StatusClass::Operator),
            (202, StatusClass::Operator),
            (400, StatusClass::Operator),
            (422, StatusClass::Operator),
            (413, StatusClass::TooLarge),
            (503, StatusClass::Transient),
        ] {
            assert_eq!(reply(status, page).class(), class, "{status}");
        }
        assert_eq!(
            reply(200, page).words(),
            "200 OK from http://eu:8086/write: no acknowledgement: the reply is a web page: a \
             login page or another program answers there"
        );
        assert_eq!(reply(204, "").words(), "204 No Content from http://eu:8086/write");
    }

    #[test]
    fn jitter_lengthens_the_pause_of_retry_after_and_never_shortens_it() {
        for (unit, millis) in [(0.0, 2000), (0.5, 2250), (1.0, 2500)] {
            let mut reply = reply(503, "");
            reply.retry_after = Some(Duration::from_secs(2));
            let after = Some(Duration::from_millis(millis));
            let error = reply.into_error(StatusClass::Transient, unit);
            assert_eq!(error.class(), ErrorClass::Transient { after });
        }
    }
}
