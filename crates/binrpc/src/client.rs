//! Calls a method and waits for its reply.

use std::future::Future;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::decode::{DecodeError, Limits, decode};
use crate::encode::{REQUEST_MAX, Request};
use crate::endpoint::Endpoint;
use crate::packet::{Fault, HEADER_MAX, Header, Kind};
use crate::socket::Socket;
use crate::value::Value;

/// How long each step of a call may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// To connect, the lookup of a name included.
    pub connect: Duration,
    /// To hand the request over.
    pub write: Duration,
    /// From then until the whole reply is there, in however many parts it comes.
    pub read: Duration,
}

impl Timeouts {
    /// The same for each step.
    #[must_use]
    pub fn all(time: Duration) -> Self {
        Self { connect: time, write: time, read: time }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self::all(Duration::from_secs(5))
    }
}

/// What a client allows its peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// In time.
    pub timeouts: Timeouts,
    /// In memory.
    pub limits: Limits,
}

/// What a method answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The records; a list with nothing in it has none.
    pub records: Vec<Value>,
    /// How many bytes they came in.
    pub bytes: usize,
}

/// Why a call has no reply.
#[derive(Debug, Error)]
pub enum CallError {
    /// The request is longer than Kamailio takes.
    #[error("a request of {0} bytes is too long, Kamailio takes {REQUEST_MAX}")]
    RequestTooLong(usize),
    /// Nobody is there.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// Where.
        endpoint: Endpoint,
        /// What the system says.
        source: io::Error,
    },
    /// The connection failed.
    #[error("the connection to {endpoint} failed: {source}")]
    Failed {
        /// Which one.
        endpoint: Endpoint,
        /// What the system says.
        source: io::Error,
    },
    /// A step took too long.
    #[error("{endpoint} {step} within {}s", limit.as_secs_f64())]
    TimedOut {
        /// Who.
        endpoint: Endpoint,
        /// What did not happen.
        step: Step,
        /// How long it could take.
        limit: Duration,
    },
    /// The other end closed the connection before the reply was there. Kamailio does so when it has
    /// 128 connections, and when it stops.
    #[error("{0} closed the connection")]
    Closed(Endpoint),
    /// A reply to another request.
    #[error("the reply is to another request")]
    WrongCookie,
    /// No reply, but a request.
    #[error("a request came where a reply should")]
    WrongKind,
    /// A reply that goes on behind its only datagram.
    #[error("the reply is longer than a datagram; ask over tcp or a unix stream socket")]
    Cut,
    /// Bytes that are no reply, or too large a one.
    #[error("the reply cannot be read: {0}")]
    Garbled(#[from] DecodeError),
    /// A fault that is none.
    #[error("a fault without code and reason")]
    GarbledFault,
    /// Kamailio's own answer that it cannot; the connection goes on.
    #[error("{} ({})", fault.reason.to_str().trim(), fault.code)]
    Fault {
        /// What it says.
        fault: Fault,
    },
}

/// What takes its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Connecting.
    Connect,
    /// Sending the request.
    Write,
    /// Waiting for the whole reply.
    Read,
}

impl std::fmt::Display for Step {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "took no connection",
            Self::Write => "took no request",
            Self::Read => "gave no whole reply",
        })
    }
}

/// One end of a connection, which is opened with the first call and used for all that follow.
///
/// After anything but a reply or a fault the connection is closed: a reply that comes late or was cut
/// would be taken for the next one. The next call opens another.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    options: Options,
    socket: Option<Socket>,
    cookie: u32,
}

impl Client {
    /// Not connected yet.
    #[must_use]
    pub fn new(endpoint: Endpoint, options: Options) -> Self {
        Self { endpoint, options, socket: None, cookie: random() }
    }

    /// Whom it calls.
    #[must_use]
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Whether there is a connection for the next call.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Calls a method. Whoever drops the future closes the connection.
    ///
    /// # Errors
    /// Whenever there is no reply. Only after a [`CallError::Fault`] the connection goes on.
    pub async fn call(&mut self, request: &Request) -> Result<Reply, CallError> {
        let cookie = self.next_cookie();
        let packet = request.encode(cookie);
        if packet.len() > REQUEST_MAX {
            return Err(CallError::RequestTooLong(packet.len()));
        }
        // Taken out: it comes back only when nothing of the reply is left in it.
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connect().await?,
        };
        let Timeouts { write, read, .. } = self.options.timeouts;
        self.within(write, Step::Write, socket.send(&packet)).await?.map_err(|e| self.failed(e))?;
        let receiving = self.receive(&mut socket, cookie);
        let (header, payload, is_clean) = self.within(read, Step::Read, receiving).await??;
        let records = decode(&payload, &self.options.limits)?;
        if header.kind == Kind::Fault {
            let fault = Fault::of(&records).ok_or(CallError::GarbledFault)?;
            self.socket = is_clean.then_some(socket);
            return Err(CallError::Fault { fault });
        }
        self.socket = is_clean.then_some(socket);
        Ok(Reply { records, bytes: payload.len() })
    }

    async fn connect(&self) -> Result<Socket, CallError> {
        let connecting = Socket::connect(&self.endpoint);
        let connected =
            self.within(self.options.timeouts.connect, Step::Connect, connecting).await?;
        connected.map_err(|source| CallError::Connect { endpoint: self.endpoint.clone(), source })
    }

    /// Reads until the packet is whole: its header, its records, and whether nothing came behind it.
    async fn receive(
        &self,
        socket: &mut Socket,
        cookie: u32,
    ) -> Result<(Header, Vec<u8>, bool), CallError> {
        let mut buffer = Vec::new();
        let mut header = None;
        loop {
            let read = socket.receive(&mut buffer).await.map_err(|error| self.failed(error))?;
            if read == 0 && socket.is_stream() {
                return Err(CallError::Closed(self.endpoint.clone()));
            }
            if header.is_none() {
                header = self.header(&buffer, cookie)?;
            }
            if let Some((header, start)) = header {
                let end = start + header.length;
                if buffer.len() >= end {
                    let is_clean = buffer.len() == end;
                    buffer.truncate(end);
                    buffer.drain(..start);
                    return Ok((header, buffer, is_clean));
                }
            }
            if !socket.may_go_on() {
                return Err(CallError::Cut);
            }
        }
    }

    /// The header, once it is there, if it is that of the reply.
    fn header(&self, bytes: &[u8], cookie: u32) -> Result<Option<(Header, usize)>, CallError> {
        let found = Header::decode(&bytes[..bytes.len().min(HEADER_MAX)])?;
        let Some((header, start)) = found else { return Ok(None) };
        if header.kind == Kind::Request {
            return Err(CallError::WrongKind);
        }
        if header.cookie != cookie {
            return Err(CallError::WrongCookie);
        }
        let max = self.options.limits.bytes;
        if header.length > max {
            let trouble = crate::decode::Trouble::TooLong;
            return Err(DecodeError { offset: max, trouble }.into());
        }
        Ok(Some((header, start)))
    }

    async fn within<F: Future>(
        &self,
        limit: Duration,
        step: Step,
        future: F,
    ) -> Result<F::Output, CallError> {
        let timed_out = |_| CallError::TimedOut { endpoint: self.endpoint.clone(), step, limit };
        tokio::time::timeout(limit, future).await.map_err(timed_out)
    }

    fn failed(&self, source: io::Error) -> CallError {
        CallError::Failed { endpoint: self.endpoint.clone(), source }
    }

    /// Never 0, which Kamailio answers with where it could not read the header.
    fn next_cookie(&mut self) -> u32 {
        self.cookie = self.cookie.wrapping_add(1).max(1);
        self.cookie
    }
}

/// A number that a stranger does not guess.
pub(crate) fn random() -> u32 {
    RandomState::new().build_hasher().finish() as u32
}
