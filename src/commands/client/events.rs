//! Server-sent events of a daemon's HTTP endpoint.

use std::io::{self, BufRead, BufReader, Read};
use std::time::Duration;

use thiserror::Error;
use ureq::BodyReader;

use super::ledger::AdminClient;

/// How long the daemon may take to begin.
const BEGIN_MAX: Duration = Duration::from_secs(10);
/// Longest line: far above what a daemon sends.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// Most of what is said in place of events.
const WORDS_BYTES_MAX: u64 = 4 << 10;

/// Why there are no events.
#[derive(Debug, Error)]
pub(crate) enum EventsError {
    /// Nothing answers.
    #[error(
        "no daemon answers at {url}: {source}; is one running? `admin.listen` of its configuration \
         says where it answers, and --admin takes that"
    )]
    Unreachable {
        url: String,
        #[source]
        source: Box<ureq::Error>,
    },
    /// The daemon says no.
    #[error("the daemon at {url} refuses: {words}")]
    Refused { url: String, words: String },
    /// It is none, or too old.
    #[error("what answers at {url} is no tallyd of this version: status {status}")]
    Unknown { url: String, status: u16 },
    /// They broke off.
    #[error("the daemon at {url} does not answer any more: {source}")]
    Broken {
        url: String,
        #[source]
        source: io::Error,
    },
}

/// One of them.
#[derive(Debug, Default)]
pub(crate) struct Event {
    /// What it is called.
    pub(crate) name: String,
    /// What it says, without the line's end.
    pub(crate) data: String,
}

/// Those that come.
pub(crate) struct Events {
    url: String,
    reader: BufReader<BodyReader<'static>>,
}

impl Events {
    /// Asks for them.
    ///
    /// # Errors
    /// When nothing answers, or not with events.
    pub(crate) fn open(
        admin: &AdminClient,
        path: &str,
        parameters: &[(&str, String)],
    ) -> Result<Self, EventsError> {
        let url = admin.url().to_owned();
        let request = admin.agent().get(format!("{url}{path}"));
        let parameters = parameters.iter().map(|(key, value)| (*key, value.as_str()));
        let request = request
            .query_pairs(parameters)
            .config()
            .timeout_global(None)
            .timeout_connect(Some(BEGIN_MAX))
            .timeout_recv_response(Some(BEGIN_MAX))
            .http_status_as_error(false)
            .build();
        let reply = match request.call() {
            Ok(reply) => reply,
            Err(source) => return Err(EventsError::Unreachable { url, source: Box::new(source) }),
        };
        let status = reply.status();
        let reader = BufReader::new(reply.into_body().into_reader());
        match status.as_u16() {
            200 => Ok(Self { url, reader }),
            400 | 403 | 429 | 503 => {
                let mut words = Vec::new();
                // Without its words it is refused all the same.
                let _rest = reader.take(WORDS_BYTES_MAX).read_to_end(&mut words);
                let words = String::from_utf8_lossy(&words).trim().to_owned();
                Err(EventsError::Refused { url, words })
            }
            status => Err(EventsError::Unknown { url, status }),
        }
    }

    /// Waits for the next; `None` when it was all.
    ///
    /// # Errors
    /// When the connection breaks.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, EventsError> {
        next(&mut self.reader)
            .map_err(|source| EventsError::Broken { url: self.url.clone(), source })
    }
}

/// Reads the fields of an event, up to the blank line behind it.
fn next(reader: &mut impl BufRead) -> io::Result<Option<Event>> {
    let mut event = Event::default();
    loop {
        let mut line = String::new();
        if reader.by_ref().take(LINE_BYTES_MAX).read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let line = line.trim_end_matches(['\n', '\r']);
        match line.split_once(':') {
            Some(("event", name)) => name.trim_start().clone_into(&mut event.name),
            Some(("data", data)) => data.trim_start().clone_into(&mut event.data),
            // A comment, or a field that is none of ours.
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
    fn events_are_told_apart_by_blank_lines_and_comments_are_none() {
        let text = "event: start\ndata: {\"a\": \":\"}\n\n: comment\n\nevent: b\r\ndata: 2\r\n\r\ndata: half";
        let mut reader = text.as_bytes();
        let mut seen = Vec::new();
        while let Some(Event { name, data }) = next(&mut reader).unwrap() {
            seen.push(format!("{name} {data}"));
        }
        assert_eq!(seen, ["start {\"a\": \":\"}", "b 2"]);
    }
}
