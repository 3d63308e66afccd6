//! A listener with a socket and a separate thread, as in the daemon.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use basics::units::ByteSize;
use engine::aggregator::handover::AggregatorEnd;
use engine::listener::bind::{BoundListener, bind};
use engine::listener::config::{ListenerEndpoint, UdpConfig};
use engine::listener::passed::PassedSockets;
use engine::listener::recorder::Recorder;
use engine::listener::signature::SignatureContext;
use engine::listener::signature::config::{SecretKeys, SignatureConfig};
use engine::listener::stats::ListenerStats;
use engine::listener::udp::UdpBindOptions;
use engine::listener::{ListenerConfig, Protocol};
use engine::wake::Waker;

use crate::pipeline::shared_parts;

/// The receive buffer to request, in bytes: more than a burst.
const RECEIVE_BUFFER: ByteSize = ByteSize::from_mib(8);
/// Datagrams that are sent before the listener has read them: fewer than the smallest buffer holds.
const BURST: usize = 100;

/// A statsd listener over UDP on a thread.
pub struct SocketListener {
    address: SocketAddr,
    stats: Arc<ListenerStats>,
    waker: Arc<Waker>,
    /// Returns its CPU time, in nanoseconds.
    thread: JoinHandle<u64>,
    /// Takes the samples at the end.
    _tallies: AggregatorEnd,
}

/// The counts of a listener that has ended.
#[derive(Clone, Copy, Debug)]
pub struct SocketReport {
    /// CPU time of its thread, in nanoseconds.
    pub cpu_ns: u64,
    /// Datagrams read.
    pub datagrams: u64,
    /// Samples recorded.
    pub aggregated: u64,
}

impl SocketListener {
    /// Starts a listener; with secrets, one of signed datagrams.
    ///
    /// # Panics
    /// When the system refuses a socket or a thread.
    #[must_use]
    pub fn start(secret: SecretKeys, config: SignatureConfig) -> Self {
        let (mut shared, _store) = shared_parts();
        shared.signatures = SignatureContext { config, ..SignatureContext::default() };
        let udp = UdpConfig { secret, ..UdpConfig::new(SocketAddr::from(([127, 0, 0, 1], 0))) };
        let endpoint = ListenerEndpoint::Udp(udp);
        let config = ListenerConfig::new(Protocol::Statsd, endpoint);
        let options = UdpBindOptions { receive_buffer: RECEIVE_BUFFER.get(), takes_over: false };
        let bound = bind(&config, options, &mut PassedSockets::default()).expect("a free port");
        let bound: BoundListener = bound.into_iter().next().expect("one socket");
        let stats = Arc::clone(bound.stats());
        let place = stats.label().rsplit(' ').next().unwrap_or_default();
        let address = place.parse().expect("an address");
        let mut tallies = AggregatorEnd::new();
        let waker = Arc::new(Waker::new().expect("an event descriptor"));
        let handover = tallies.add_listener(stats.label(), Arc::clone(&waker));
        let recorder = Recorder::new(shared, Protocol::Statsd, Arc::clone(&stats), handover);
        let woken = Arc::clone(&waker);
        let thread = thread::spawn(move || {
            let before = thread_cpu_ns();
            bound.run(recorder, &woken);
            thread_cpu_ns() - before
        });
        Self { address, stats, waker, thread, _tallies: tallies }
    }

    /// Sends datagrams, and waits until all are read.
    ///
    /// # Panics
    /// When a datagram cannot be sent.
    pub fn send(&self, datagrams: impl IntoIterator<Item = Vec<u8>>) {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(self.address).expect("an address");
        let mut sent = self.stats.counts().datagrams;
        let mut datagrams = datagrams.into_iter();
        loop {
            // Made before the first is sent, so that the listener gets them together.
            let burst: Vec<_> = datagrams.by_ref().take(BURST).collect();
            if burst.is_empty() {
                return;
            }
            for datagram in &burst {
                socket.send(datagram).expect("a listener");
            }
            sent += burst.len() as u64;
            while self.stats.counts().datagrams < sent {
                thread::yield_now();
            }
        }
    }

    /// Ends the listener.
    ///
    /// # Panics
    /// When its thread panicked.
    #[must_use]
    pub fn finish(self) -> SocketReport {
        self.waker.stop();
        let cpu_ns = self.thread.join().expect("the thread ends");
        let counts = self.stats.counts();
        SocketReport { cpu_ns, datagrams: counts.datagrams, aggregated: counts.aggregated }
    }
}

/// The CPU time of this thread, in nanoseconds, as the scheduler counts it.
fn thread_cpu_ns() -> u64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or_default()
}
