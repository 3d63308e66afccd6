//! Listening TCP sockets at all addresses of a name.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpStream};

use crate::address::{ListenAddresses, is_missing_here};

/// Bound sockets, at least one.
#[derive(Debug)]
pub struct TcpListeners {
    sockets: Vec<TcpListener>,
    /// The socket that is asked first, so that a flood at one address does not hold up the others.
    first: AtomicUsize,
    missing: Vec<BindFailure>,
}

/// An address that cannot be bound.
#[derive(Debug)]
pub struct BindFailure {
    /// The address.
    pub address: SocketAddr,
    /// The error of the system.
    pub error: io::Error,
}

impl fmt::Display for BindFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "cannot listen on {}", self.address)
    }
}

impl Error for BindFailure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

impl TcpListeners {
    /// Binds every address. An address that this host does not have is left out if another one of
    /// the same name is bound.
    ///
    /// # Errors
    /// When an address is in use, or this host has none of them.
    pub async fn bind(addresses: &ListenAddresses) -> Result<Self, BindFailure> {
        let (mut sockets, mut missing) = (Vec::new(), Vec::new());
        for &address in addresses.all() {
            match TcpListener::bind(address).await {
                Ok(socket) => sockets.push(socket),
                Err(error) if is_missing_here(&error) => {
                    missing.push(BindFailure { address, error });
                }
                Err(error) => return Err(BindFailure { address, error }),
            }
        }
        match missing.pop() {
            Some(failure) if sockets.is_empty() => Err(failure),
            last => {
                missing.extend(last);
                Ok(Self { sockets, first: AtomicUsize::new(0), missing })
            }
        }
    }

    /// The addresses that were left out.
    #[must_use]
    pub fn missing(&self) -> &[BindFailure] {
        &self.missing
    }

    /// The addresses of the sockets.
    pub fn local_addresses(&self) -> impl Iterator<Item = SocketAddr> {
        self.sockets.iter().filter_map(|socket| socket.local_addr().ok())
    }

    /// Waits for a connection to one of the addresses. May be dropped at any await.
    ///
    /// # Errors
    /// The error of a socket, such as the lack of descriptors.
    pub async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|context| self.poll_accept(context)).await
    }

    fn poll_accept(&self, context: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        let first = self.first.fetch_add(1, Ordering::Relaxed) % self.sockets.len();
        let (before, from_first) = self.sockets.split_at(first);
        for socket in from_first.iter().chain(before) {
            if let Poll::Ready(accepted) = socket.poll_accept(context) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(all: &[&str]) -> ListenAddresses {
        ListenAddresses::of_name("test", all.iter().map(|text| text.parse().unwrap()).collect())
    }

    #[tokio::test]
    async fn every_address_of_a_name_accepts_connections() {
        let listeners = TcpListeners::bind(&addresses(&["127.0.0.1:0", "127.0.0.2:0"])).await;
        let listeners = listeners.unwrap();
        let at: Vec<_> = listeners.local_addresses().collect();
        assert_eq!(at.len(), 2);
        for address in [at[1], at[0], at[1]] {
            let (client, accepted) = tokio::join!(TcpStream::connect(address), listeners.accept());
            assert_eq!(accepted.unwrap().1, client.unwrap().local_addr().unwrap());
        }
    }

    #[tokio::test]
    async fn an_address_that_this_host_lacks_is_left_out_unless_it_is_the_only_one() {
        // 203.0.113.0/24 is reserved for documentation.
        let listeners = TcpListeners::bind(&addresses(&["203.0.113.7:0", "127.0.0.1:0"])).await;
        let listeners = listeners.unwrap();
        assert_eq!(listeners.local_addresses().count(), 1);
        assert_eq!(listeners.missing()[0].address, "203.0.113.7:0".parse().unwrap());
        let failure = TcpListeners::bind(&addresses(&["203.0.113.7:0"])).await.unwrap_err();
        assert!(is_missing_here(&failure.error), "{failure:?}");
        let taken = listeners.local_addresses().next().unwrap().to_string();
        let failure = TcpListeners::bind(&addresses(&["127.0.0.1:0", &taken])).await.unwrap_err();
        assert_eq!(failure.error.kind(), io::ErrorKind::AddrInUse, "it is not left out");
    }
}
