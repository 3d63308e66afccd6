//! TLS on one connection: the kernel's bytes to plaintext, without blocking.

use std::io::{self, IoSlice, Read, Write};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use basics::escape::escaped;
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tlsserver::rustls::{Error, ServerConfig, ServerConnection};
use tlsserver::{HandshakeFailure, failure};

/// Bytes read from a TLS connection per turn. With the rest of a record that the session holds (18 KiB at
/// most), their plaintext fits into the buffer of a turn, which has 64 KiB.
pub(super) const TURN_CIPHER_BYTES: usize = 32 << 10;
/// Bytes of plain text that the log shows.
const SHOWN_BYTES: usize = 40;

/// The TLS state of a connection. The library bounds its memory: 64 KiB for a message of the handshake, 18
/// KiB for any other record.
pub(super) struct TlsSession {
    connection: ServerConnection,
    has_begun: bool,
    /// Whether the peer has sent the alert with which a connection ends.
    has_ended: bool,
    /// Whether the kernel has no room for bytes that the peer must get.
    pub(super) is_blocked: bool,
}

/// The result of one turn of a connection.
#[derive(Debug, Default)]
pub(super) struct TlsTurn {
    /// Whether the peer had sent anything.
    pub(super) has_read: bool,
    /// Bytes of plaintext.
    pub(super) length: usize,
    /// The end of the connection, after this plaintext.
    pub(super) end: Option<TlsEnd>,
}

/// Why a connection ends.
#[derive(Debug)]
pub(super) enum TlsEnd {
    /// The peer closed it, with or without the alert that TLS has for it: see [`TlsSession::has_ended`].
    ByPeer,
    /// The system reported an error.
    Broken,
    /// The peer broke the rules of TLS, or its certificate was refused. Has the reason if the handshake
    /// was in progress, and words for the log.
    Refused(HandshakeFailure, String),
}

impl TlsSession {
    /// Begins a handshake, in which the peer sends first.
    pub(super) fn new(config: Arc<ServerConfig>) -> Result<Self, Error> {
        let connection = ServerConnection::new(config)?;
        Ok(Self { connection, has_begun: false, has_ended: false, is_blocked: false })
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether the peer has sent everything that it wanted to. Only an alert within the session proves that:
    /// an attacker on the path can end the connection of the transport after any byte.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Reads from the socket once, and decrypts into `plain`. `cipher` has [`TURN_CIPHER_BYTES`].
    pub(super) fn receive(
        &mut self,
        socket: &OwnedFd,
        cipher: &mut [u8],
        plain: &mut [u8],
    ) -> TlsTurn {
        let mut turn = TlsTurn::default();
        match rustix::io::read(socket, &mut *cipher) {
            Ok(0) => turn.end = Some(TlsEnd::ByPeer),
            Ok(length) => {
                turn.has_read = true;
                turn.end = self.decrypt(&cipher[..length], plain, &mut turn.length).err();
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => turn.end = Some(TlsEnd::Broken),
        }
        // Also after an error, of which an alert informs the peer.
        self.flush(socket);
        turn
    }

    fn decrypt(
        &mut self,
        mut wire: &[u8],
        plain: &mut [u8],
        length: &mut usize,
    ) -> Result<(), TlsEnd> {
        if !self.has_begun && !failure::is_tls(wire[0]) {
            let shown = escaped(&wire[..wire.len().min(SHOWN_BYTES)]);
            let words = format!("the client sent `{shown}`, which is not TLS: enable TLS there");
            return Err(TlsEnd::Refused(HandshakeFailure::NotTls, words));
        }
        self.has_begun = true;
        while !wire.is_empty() {
            let taken = self.connection.read_tls(&mut wire);
            taken
                .map_err(|error| TlsEnd::Refused(HandshakeFailure::Protocol, error.to_string()))?;
            let processed = self.connection.process_new_packets();
            // Records before one that is wrong are good.
            self.take_plaintext(plain, length);
            let state = processed.map_err(|error| {
                TlsEnd::Refused(HandshakeFailure::of(&error), failure::explain(&error))
            })?;
            if state.peer_has_closed() {
                self.has_ended = true;
                return Err(TlsEnd::ByPeer);
            }
        }
        Ok(())
    }

    fn take_plaintext(&mut self, plain: &mut [u8], length: &mut usize) {
        let mut reader = self.connection.reader();
        while let Ok(read @ 1..) = reader.read(&mut plain[*length..]) {
            *length += read;
        }
    }

    /// Sends the pending bytes of the session. An error shows when the connection is next read: data that the peer
    /// sent before must still be read.
    pub(super) fn flush(&mut self, socket: &OwnedFd) {
        self.is_blocked = false;
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut Sender(socket)) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.is_blocked = error.kind() == io::ErrorKind::WouldBlock;
                    return;
                }
            }
        }
    }

    /// Informs the peer that the connection ends, if the kernel has room.
    pub(super) fn close(&mut self, socket: &OwnedFd) {
        self.connection.send_close_notify();
        self.flush(socket);
    }
}

/// Sends to a socket without waiting, and without the signal for a closed one.
struct Sender<'a>(&'a OwnedFd);

impl Write for Sender<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    /// Sends the records of a flight together: with single ones, the kernel would hold the second back
    /// until the peer has acknowledged the first.
    fn write_vectored(&mut self, records: &[IoSlice<'_>]) -> io::Result<usize> {
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        Ok(sendmsg(self.0, records, &mut SendAncillaryBuffer::default(), flags)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
