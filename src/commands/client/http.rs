//! Plain HTTP to a daemon's admin endpoint, on the calling thread.
//!
//! The client's tasks run only during a request: between requests there is no thread and no timer,
//! so that `tallyd bench` does not disturb its own sender.

use std::error::Error;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use basics::escape::escaped;
use httpclient::reqwest::header::{AUTHORIZATION, HeaderValue};
use httpclient::reqwest::{self, Client, Method, Response, StatusCode};
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};

use super::access::ClientAccess;

/// Time limit for an answer: a daemon whose cores are all busy answers late.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Maximum size of an answer in bytes: far more than a daemon sends.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Maximum number of bytes that are read of a refusal.
const REASON_BYTES_MAX: usize = 1 << 10;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(crate) enum AnswerError {
    /// The URL is not one, or the connection failed.
    #[error("{0}")]
    Connection(String),
    /// The answer took too long.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The server refuses, with its reason.
    #[error("status {}{}{}", status.as_u16(), words(reason), advice(*status))]
    Status { status: StatusCode, reason: String },
    /// The answer is too long for a daemon's.
    #[error("the answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
}

/// Where a server answers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HttpPlace<'a> {
    /// At the address in its `http://` URL.
    Plain,
    /// At the address in its `https://` URL.
    Tls,
    /// At a Unix socket.
    Socket(&'a Path),
}

/// An HTTP client without a thread of its own.
#[derive(Debug)]
pub(crate) struct HttpConnector {
    client: Client,
    runtime: Runtime,
    /// The values of the `Authorization` header to try.
    authorizations: Vec<HeaderValue>,
    /// The index of the next one to try, which the server accepted last.
    accepted: AtomicUsize,
}

impl HttpConnector {
    /// A client that connects with its first request, to a Unix `socket` if there is one.
    ///
    /// # Errors
    /// When a certificate of the client cannot be used, or the system refuses the descriptors that a
    /// runtime needs.
    pub(crate) fn new(place: HttpPlace<'_>, access: &ClientAccess) -> io::Result<Self> {
        let mut client = match place {
            HttpPlace::Tls => {
                httpclient::with_tls(access.trust.client_config().map_err(io::Error::other)?)
            }
            HttpPlace::Plain | HttpPlace::Socket(_) => httpclient::plain()?,
        };
        if let HttpPlace::Socket(socket) = place {
            client = client.unix_socket(socket);
        }
        let client = client
            .connect_timeout(ANSWER_MAX)
            // The daemon closes idle connections, which would go unnoticed between requests.
            .pool_max_idle_per_host(0)
            .build();
        Ok(Self {
            client: client.map_err(io::Error::other)?,
            runtime: Builder::new_current_thread().enable_all().build()?,
            authorizations: access.headers(),
            accepted: AtomicUsize::new(0),
        })
    }

    /// Fetches a page.
    ///
    /// # Errors
    /// When there is no complete answer with status 200.
    pub(crate) fn get(&self, url: &str) -> Result<Vec<u8>, AnswerError> {
        self.request(&Method::GET, url, ANSWER_MAX)
    }

    /// Sends a request without a body, whose answer may take as long as `within`.
    ///
    /// # Errors
    /// When there is no complete answer with status 200.
    pub(crate) fn request(
        &self,
        method: &Method,
        url: &str,
        within: Duration,
    ) -> Result<Vec<u8>, AnswerError> {
        self.in_time(within, async {
            let response = self.send(method, url).await?;
            let status = response.status();
            if status != StatusCode::OK {
                let body = httpclient::read_body(response, REASON_BYTES_MAX).await?;
                let reason = escaped(body.bytes.trim_ascii());
                return Ok(Err(AnswerError::Status { status, reason }));
            }
            let body = httpclient::read_body(response, ANSWER_BYTES_MAX).await?;
            Ok(if body.is_cut { Err(AnswerError::TooLong) } else { Ok(body.bytes) })
        })?
    }

    /// Requests a page whose body may never end.
    ///
    /// # Errors
    /// When no answer begins.
    pub(crate) fn open(&self, url: &str) -> Result<OpenAnswer<'_>, AnswerError> {
        let response = self.in_time(ANSWER_MAX, self.send(&Method::GET, url))?;
        Ok(OpenAnswer { runtime: &self.runtime, response, data: Vec::new(), read: 0 })
    }

    /// Sends a request, again with other credentials while the server refuses them. A refused request has
    /// no effect.
    async fn send(&self, method: &Method, url: &str) -> Result<Response, reqwest::Error> {
        let mut tried = 0;
        loop {
            let index = self.accepted.load(Ordering::Relaxed);
            let mut request = self.client.request(method.clone(), url);
            if let Some(value) = self.authorizations.get(index) {
                request = request.header(AUTHORIZATION, value.clone());
            }
            let response = request.send().await?;
            tried += 1;
            let is_refused = response.status() == StatusCode::UNAUTHORIZED;
            if !is_refused || tried >= self.authorizations.len() {
                return Ok(response);
            }
            let next = (index + 1) % self.authorizations.len();
            self.accepted.store(next, Ordering::Relaxed);
        }
    }

    fn in_time<T>(
        &self,
        limit: Duration,
        request: impl Future<Output = Result<T, reqwest::Error>>,
    ) -> Result<T, AnswerError> {
        // The timer is made within the runtime.
        let limited = async { tokio::time::timeout(limit, request).await };
        match self.runtime.block_on(limited) {
            Ok(answer) => answer.map_err(|error| AnswerError::Connection(cause(&error))),
            Err(_) => Err(AnswerError::TimedOut(limit)),
        }
    }
}

/// An answer that is read as it arrives.
pub(crate) struct OpenAnswer<'a> {
    runtime: &'a Runtime,
    response: Response,
    data: Vec<u8>,
    /// How much of `data` is read.
    read: usize,
}

impl OpenAnswer<'_> {
    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.response.status()
    }
}

impl Read for OpenAnswer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.read == self.data.len() {
            let chunk = self.runtime.block_on(self.response.chunk());
            let Some(chunk) = chunk.map_err(|error| io::Error::other(cause(&error)))? else {
                return Ok(0);
            };
            (self.data, self.read) = (chunk.into(), 0);
        }
        let count = (&self.data[self.read..]).read(buffer)?;
        self.read += count;
        Ok(count)
    }
}

/// The reason of a refusal, if there is one, after the status.
fn words(reason: &str) -> String {
    if reason.is_empty() { String::new() } else { format!(": {reason}") }
}

/// What to do about a status.
pub(super) fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "; use --token-file, or --user with --password-file",
        _ => "",
    }
}

/// The innermost cause: the layers above it only say that a request failed.
fn cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    fn connector() -> io::Result<HttpConnector> {
        HttpConnector::new(HttpPlace::Plain, &ClientAccess::default())
    }

    /// A server that answers each connection with the next of these texts; returns its URL.
    fn server(answers: Vec<String>) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
                while lines.next().unwrap().unwrap() != "" {}
                // A client that has seen enough goes away.
                drop(stream.write_all(answer.as_bytes()));
            }
        });
        url
    }

    #[test]
    fn only_a_complete_and_bounded_answer_with_status_200_is_one() {
        let long = "x".repeat(ANSWER_BYTES_MAX + 1);
        for (answer, expected) in [
            ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi".to_owned(), "hi"),
            ("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_owned(), "status 404"),
            ("HTTP/1.1 429 X\r\ncontent-length: 4\r\n\r\nlate".to_owned(), "status 429: late"),
            ("HTTP/1.1 307 X\r\nlocation: /x\r\n\r\n".to_owned(), "status 307"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi".to_owned(), "end of file"),
            ("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned(), "invalid HTTP version"),
            (String::new(), "connection closed before message completed"),
            (format!("HTTP/1.1 200 OK\r\n\r\n{long}"), "the answer is longer than"),
        ] {
            let answer = connector().unwrap().get(&server(vec![answer]));
            let text = match answer {
                Ok(body) => String::from_utf8(body).unwrap(),
                Err(error) => error.to_string(),
            };
            assert!(text.starts_with(expected), "{text}");
        }
        let error = connector().unwrap().get("http://127.0.0.1:1/").unwrap_err();
        assert!(error.to_string().starts_with("Connection refused"), "{error}");
    }

    #[test]
    fn each_request_has_its_own_connection() {
        let answer = |body| format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{body}");
        let url = server(vec![answer("a"), answer("b")]);
        let http = connector().unwrap();
        assert_eq!([http.get(&url).unwrap(), http.get(&url).unwrap()], [b"a", b"b"]);
    }

    #[test]
    fn an_open_answer_is_read_as_it_arrives() {
        let url = server(vec!["HTTP/1.1 200 OK\r\n\r\nab\ncd".to_owned()]);
        let http = connector().unwrap();
        let mut reader = BufReader::with_capacity(2, http.open(&url).unwrap());
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "ab\ncd");
        assert_eq!(reader.get_ref().status(), StatusCode::OK);
    }
}
