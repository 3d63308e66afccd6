//! Sockets for the tests.

use std::net::UdpSocket;

/// A receiver, and a sender that is connected to it.
pub(super) fn pair(bind: &str) -> (UdpSocket, UdpSocket) {
    let receiver = UdpSocket::bind(bind).unwrap();
    let sender = UdpSocket::bind(bind).unwrap();
    sender.connect(receiver.local_addr().unwrap()).unwrap();
    (receiver, sender)
}
