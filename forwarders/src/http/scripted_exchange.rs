//! The requests and answers of a server for tests, over both versions of HTTP.

/// The answer to a request.
#[derive(Clone, Debug)]
pub enum ScriptedAnswer {
    /// A reply: status, headers, body.
    Reply(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// These bytes; then the server closes the connection.
    Bytes(Vec<u8>),
    /// No answer until the client closes the connection.
    Hang,
}

impl ScriptedAnswer {
    /// A reply with a body and without additional headers.
    #[must_use]
    pub fn status(status: u16, body: &str) -> Self {
        Self::Reply(status, Vec::new(), body.as_bytes().to_vec())
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// `POST /path?query HTTP/1.1`
    pub line: String,
    /// Names and values of the headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it was sent, which may be compressed.
    pub body: Vec<u8>,
}

impl RecordedRequest {
    /// The value of a header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}
