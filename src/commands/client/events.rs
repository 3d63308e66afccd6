//! Server-sent events of a daemon's HTTP endpoint.

use std::io::{self, BufRead, BufReader, Read};

use thiserror::Error;

use super::http::{self, AnswerError, OpenAnswer};
use super::ledger::AdminClient;

/// Maximum length of a line in bytes: far longer than the lines of a daemon.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Maximum number of bytes that are read of a refusal.
const WORDS_BYTES_MAX: u64 = 4 << 10;

/// Why no event arrives.
#[derive(Debug, Error)]
pub(crate) enum EventsError {
    /// Nothing answers.
    #[error(
        "no daemon answers at {url}: {source}; start one with `tallyd run`, or use --admin with the \
         address of its `admin.listen`"
    )]
    Unreachable {
        url: String,
        #[source]
        source: AnswerError,
    },
    /// The daemon refuses.
    #[error("the daemon at {url} refuses: {words}")]
    Refused { url: String, words: String },
    /// The server is not a tallyd, or another version.
    #[error("{url} is not a compatible tallyd: status {status}")]
    Unknown { url: String, status: u16 },
    /// The connection broke.
    #[error("the daemon at {url} stopped answering: {source}")]
    Broken {
        url: String,
        #[source]
        source: io::Error,
    },
}

/// A server-sent event.
#[derive(Debug, Default)]
pub(crate) struct ServerSentEvent {
    /// Its name.
    pub(crate) name: String,
    /// Its data, without the line's end.
    pub(crate) data: String,
}

/// The events of a path, as they arrive.
pub(crate) struct EventStream<'a> {
    url: String,
    reader: BufReader<OpenAnswer<'a>>,
}

impl<'a> EventStream<'a> {
    /// Requests events.
    ///
    /// # Errors
    /// When nothing answers, or the answer is not a stream of events.
    pub(crate) fn open(
        admin: &'a AdminClient,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<Self, EventsError> {
        let url = admin.url().to_owned();
        let query =
            form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let answer = match admin.http().open(&admin.url_of(&format!("{path}?{query}"))) {
            Ok(answer) => answer,
            Err(source) => return Err(EventsError::Unreachable { url, source }),
        };
        let (status, advice) = (answer.status().as_u16(), http::advice(answer.status()));
        let reader = BufReader::new(answer);
        match status {
            200 => Ok(Self { url, reader }),
            400 | 401 | 403 | 429 | 503 => {
                let mut words = Vec::new();
                // An error in the middle of the text does not change that the daemon refuses.
                let _rest = reader.take(WORDS_BYTES_MAX).read_to_end(&mut words);
                let words = String::from_utf8_lossy(&words);
                let words = format!("{}{}", words.trim(), advice);
                Err(EventsError::Refused { url, words })
            }
            status => Err(EventsError::Unknown { url, status }),
        }
    }

    /// Waits for the next event; `None` at the end of the stream.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn next(&mut self) -> Result<Option<ServerSentEvent>, EventsError> {
        next(&mut self.reader)
            .map_err(|source| EventsError::Broken { url: self.url.clone(), source })
    }
}

/// Reads the fields of an event, up to the blank line after it.
fn next(reader: &mut impl BufRead) -> io::Result<Option<ServerSentEvent>> {
    let mut event = ServerSentEvent::default();
    loop {
        let mut line = String::new();
        if reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end_matches(['\n', '\r']);
        match line.split_once(':') {
            Some(("event", name)) => name.trim_start().clone_into(&mut event.name),
            Some(("data", data)) => data.trim_start().clone_into(&mut event.data),
            // A comment, or an unknown field.
            Some(_) => {}
            None if event.data.is_empty() => {}
            None => return Ok(Some(event)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_separate_events_and_comments_are_ignored() {
        let text = "event: start\ndata: {\"a\": \":\"}\n\n: comment\n\nevent: b\r\ndata: 2\r\n\r\ndata: half";
        let mut reader = text.as_bytes();
        let mut seen = Vec::new();
        while let Some(ServerSentEvent { name, data }) = next(&mut reader).unwrap() {
            seen.push(format!("{name} {data}"));
        }
        assert_eq!(seen, ["start {\"a\": \":\"}", "b 2"]);
    }
}
