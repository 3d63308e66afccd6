//! Calls a method and waits for its reply.

use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use thiserror::Error;

use crate::decode::{DecodeLimits, decode};
use crate::encode::{CallRequest, REQUEST_MAX};
use crate::endpoint::BinrpcEndpoint;
use crate::error::{DecodeError, DecodeErrorKind};
use crate::packet::{Fault, HEADER_MAX, PacketHeader, PacketKind};
use crate::random::random;
use crate::socket::ClientSocket;
use crate::value::BinrpcValue;

/// Time limits for the steps of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallTimeouts {
    /// Limit for connecting, including the name lookup.
    pub connect: Duration,
    /// Limit for sending the request.
    pub write: Duration,
    /// Limit for receiving the complete reply, however many reads it takes.
    pub read: Duration,
}

impl CallTimeouts {
    /// Uses one limit for every step.
    #[must_use]
    pub fn all(limit: Duration) -> Self {
        Self { connect: limit, write: limit, read: limit }
    }
}

impl Default for CallTimeouts {
    fn default() -> Self {
        Self::all(Duration::from_secs(5))
    }
}

/// Bounds on the time and memory that a call can take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientOptions {
    /// Bounds on time.
    pub timeouts: CallTimeouts,
    /// Bounds on memory.
    pub limits: DecodeLimits,
}

/// The reply to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallReply {
    /// The records; an empty list has none.
    pub records: Vec<BinrpcValue>,
    /// Number of bytes of the records.
    pub bytes: usize,
}

/// Why a call failed.
#[derive(Debug, Error)]
pub enum CallError {
    /// The request is longer than Kamailio accepts.
    #[error("the request has {0} bytes, Kamailio accepts at most {REQUEST_MAX}")]
    RequestTooLong(usize),
    /// The client cannot connect.
    #[error("cannot connect to {endpoint}: {source}")]
    Connect {
        /// The address.
        endpoint: BinrpcEndpoint,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The connection failed.
    #[error("the connection to {endpoint} failed: {source}")]
    Failed {
        /// The address.
        endpoint: BinrpcEndpoint,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A step exceeded its time limit.
    #[error("{endpoint} {step} within {}s", limit.as_secs_f64())]
    TimedOut {
        /// The address.
        endpoint: BinrpcEndpoint,
        /// The step that did not complete.
        step: CallStep,
        /// Its time limit.
        limit: Duration,
    },
    /// The server closed the connection before the end of the reply. Kamailio does so when it stops,
    /// and when it has 128 connections.
    #[error("{0} closed the connection")]
    Closed(BinrpcEndpoint),
    /// The reply belongs to another request.
    #[error("received the reply to another request")]
    WrongCookie,
    /// The server sent a request.
    #[error("received a request instead of a reply")]
    WrongKind,
    /// The reply continues after its only datagram.
    #[error("the reply does not fit into a datagram; use tcp or a unix stream socket")]
    Truncated,
    /// The bytes are not a reply, or exceed a limit.
    #[error("malformed reply: {0}")]
    Malformed(#[from] DecodeError),
    /// The fault lacks its code or reason.
    #[error("malformed fault: no code and reason")]
    MalformedFault,
    /// Kamailio refused the call. The connection stays usable.
    #[error("{} ({})", fault.reason.to_str().trim(), fault.code)]
    Fault {
        /// Code and reason.
        fault: Fault,
    },
}

/// A step of a call that has a time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStep {
    /// Connecting.
    Connect,
    /// Sending the request.
    Write,
    /// Receiving the complete reply.
    Read,
}

impl fmt::Display for CallStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Connect => "did not accept the connection",
            Self::Write => "did not accept the request",
            Self::Read => "did not send a complete reply",
        })
    }
}

/// A client with at most one connection, which it opens for the first call and reuses.
///
/// After any error other than a fault the client closes the connection, because it could take the
/// rest of a late or truncated reply for the reply to the next call. The next call reconnects.
#[derive(Debug)]
pub struct BinrpcClient {
    endpoint: BinrpcEndpoint,
    options: ClientOptions,
    socket: Option<ClientSocket>,
    cookie: u32,
}

impl BinrpcClient {
    /// Creates a client without connecting.
    #[must_use]
    pub fn new(endpoint: BinrpcEndpoint, options: ClientOptions) -> Self {
        Self { endpoint, options, socket: None, cookie: random() }
    }

    /// The address of the server.
    #[must_use]
    pub fn endpoint(&self) -> &BinrpcEndpoint {
        &self.endpoint
    }

    /// Whether a connection is open for the next call.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Calls a method. Dropping the future closes the connection.
    ///
    /// # Errors
    /// When there is no reply. The connection stays open only after a [`CallError::Fault`].
    pub async fn call(&mut self, request: &CallRequest) -> Result<CallReply, CallError> {
        let cookie = self.next_cookie();
        let packet = request.encode(cookie);
        if packet.len() > REQUEST_MAX {
            return Err(CallError::RequestTooLong(packet.len()));
        }
        // Taken out, and put back only when no part of the reply is left in the socket.
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => self.connect().await?,
        };
        let CallTimeouts { write, read, .. } = self.options.timeouts;
        let sent = self.within(write, CallStep::Write, socket.send(&packet)).await?;
        sent.map_err(|error| self.failed(error))?;
        let receiving = self.receive(&mut socket, cookie);
        let (kind, payload, is_clean) = self.within(read, CallStep::Read, receiving).await??;
        let records = decode(&payload, &self.options.limits)?;
        if kind == PacketKind::Fault {
            let fault = Fault::from_records(&records).ok_or(CallError::MalformedFault)?;
            self.socket = is_clean.then_some(socket);
            return Err(CallError::Fault { fault });
        }
        self.socket = is_clean.then_some(socket);
        Ok(CallReply { records, bytes: payload.len() })
    }

    async fn connect(&self) -> Result<ClientSocket, CallError> {
        let connecting = ClientSocket::connect(&self.endpoint);
        let limit = self.options.timeouts.connect;
        let connected = self.within(limit, CallStep::Connect, connecting).await?;
        connected.map_err(|source| CallError::Connect { endpoint: self.endpoint.clone(), source })
    }

    /// Receives a complete packet: its kind, its records, and whether no bytes follow it.
    async fn receive(
        &self,
        socket: &mut ClientSocket,
        cookie: u32,
    ) -> Result<(PacketKind, Vec<u8>, bool), CallError> {
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
            if let Some((PacketHeader { kind, length, .. }, start)) = header {
                let end = start + length;
                if buffer.len() >= end {
                    let is_clean = buffer.len() == end;
                    buffer.truncate(end);
                    buffer.drain(..start);
                    return Ok((kind, buffer, is_clean));
                }
            }
            if !socket.can_continue_packet() {
                return Err(CallError::Truncated);
            }
        }
    }

    /// The header and its size once it is complete. Checks it before any of the records arrive, so
    /// that a length beyond the limit is never buffered.
    fn header(
        &self,
        bytes: &[u8],
        cookie: u32,
    ) -> Result<Option<(PacketHeader, usize)>, CallError> {
        let found = PacketHeader::decode(&bytes[..bytes.len().min(HEADER_MAX)])?;
        let Some((header, size)) = found else { return Ok(None) };
        if header.kind == PacketKind::Request {
            return Err(CallError::WrongKind);
        }
        if header.cookie != cookie {
            return Err(CallError::WrongCookie);
        }
        let max = self.options.limits.bytes;
        if header.length > max {
            let kind = DecodeErrorKind::TooManyBytes;
            return Err(DecodeError { offset: max, kind }.into());
        }
        Ok(Some((header, size)))
    }

    async fn within<F: Future>(
        &self,
        limit: Duration,
        step: CallStep,
        future: F,
    ) -> Result<F::Output, CallError> {
        let timed_out = |_| CallError::TimedOut { endpoint: self.endpoint.clone(), step, limit };
        tokio::time::timeout(limit, future).await.map_err(timed_out)
    }

    fn failed(&self, source: io::Error) -> CallError {
        CallError::Failed { endpoint: self.endpoint.clone(), source }
    }

    /// The next cookie, never 0: Kamailio uses 0 in faults for headers that it cannot decode.
    fn next_cookie(&mut self) -> u32 {
        self.cookie = self.cookie.wrapping_add(1).max(1);
        self.cookie
    }
}
