//! Sends a load at its pace, and counts payloads and bytes.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::options::Amount;
use super::sockets::{LoadSockets, Passed};
use crate::commands::client::connect::is_passing;
use crate::commands::client::pace::Pacer;
use crate::process;

/// The outcome of sending a load.
#[derive(Clone, Debug, Default)]
pub(super) struct SentLoad {
    /// Datagrams, or lines of a stream.
    pub(super) payloads: u64,
    /// Bytes in them.
    pub(super) bytes: u64,
    /// Datagrams that the system refused, by reason.
    pub(super) errors: BTreeMap<&'static str, u64>,
    /// Payloads given up because they were due while the sender could not send.
    pub(super) slipped: u64,
    /// Time from the first payload to the last.
    pub(super) elapsed: Duration,
    /// CPU time of the sending thread, user and system together.
    pub(super) cpu: Duration,
    /// Whether datagrams of one size shared a packet to the end.
    pub(super) gso: bool,
    /// Whether a signal ended the sending early.
    pub(super) interrupted: bool,
    /// The error of the system that ended the sending early.
    pub(super) broken: Option<String>,
}

impl SentLoad {
    fn add(&mut self, passed: Passed) {
        self.payloads += passed.payloads;
        self.bytes += passed.bytes;
    }

    /// Payloads sent or refused.
    fn tried(&self) -> u64 {
        self.payloads + self.errors.values().sum::<u64>()
    }
}

/// Sends until the amount is sent, `stop` is set, or an error of the system persists. Calls `watch`
/// before each system call.
pub(super) fn run(
    mut sockets: LoadSockets,
    amount: Amount,
    payload_rate: Option<f64>,
    stop: &AtomicBool,
    mut watch: impl FnMut(&SentLoad),
) -> SentLoad {
    let mut sent = SentLoad::default();
    let mut pacer = payload_rate.map(Pacer::new);
    let cpu_before = process::thread_cpu_time();
    let start = Instant::now();
    loop {
        sent.elapsed = start.elapsed();
        sent.slipped = pacer.as_ref().map_or(0, Pacer::slipped);
        watch(&sent);
        sent.interrupted = stop.load(Ordering::Relaxed);
        let left = left(amount, &sent);
        if sent.interrupted || sent.broken.is_some() || left == 0 {
            break;
        }
        let due = pacer.as_mut().map_or(u64::MAX, |pacer| pacer.due(sent.elapsed)).min(left);
        if due == 0 {
            let pause = pacer.as_ref().map(|pacer| pacer.pause(sent.elapsed)).unwrap_or_default();
            std::thread::sleep(pause.min(time_left(amount, sent.elapsed)));
            continue;
        }
        let before = sent.tried();
        match sockets.send(due) {
            Ok(passed) => sent.add(passed),
            Err(error) if is_passing(&error) => {}
            Err(error) => note(&mut sent, &error),
        }
        if let Some(pacer) = &mut pacer {
            pacer.sent(sent.tried() - before);
        }
    }
    sent.gso = sockets.is_merging();
    let (rest, outcome) = sockets.finish();
    sent.add(rest);
    if let Err(error) = outcome {
        sent.broken.get_or_insert(error.to_string());
    }
    sent.cpu = process::thread_cpu_time() - cpu_before;
    sent
}

/// Payloads that may still be sent.
fn left(amount: Amount, sent: &SentLoad) -> u64 {
    match amount {
        Amount::Payloads(payloads) => payloads.saturating_sub(sent.tried()),
        Amount::Time(time) if sent.elapsed < time => u64::MAX,
        Amount::Time(_) => 0,
    }
}

/// The longest sleep.
fn time_left(amount: Amount, elapsed: Duration) -> Duration {
    match amount {
        Amount::Time(time) => time.saturating_sub(elapsed),
        Amount::Payloads(_) => Duration::MAX,
    }
}

/// Counts a datagram that the system refused; an error that persists ends the sending.
fn note(sent: &mut SentLoad, error: &io::Error) {
    let word = match error.kind() {
        // The reply to an earlier datagram. A daemon may start to listen again at any moment.
        io::ErrorKind::ConnectionRefused => "refused",
        _ if error.raw_os_error() == Some(libc::ENOBUFS) => "no_buffers",
        _ => {
            sent.broken = Some(error.to_string());
            return;
        }
    };
    *sent.errors.entry(word).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::commands::bench::payloads::Payloads;

    /// A socket that takes nothing out, and a ring of three datagrams to it.
    fn sockets() -> (UdpSocket, LoadSockets) {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let endpoint = receiver.local_addr().unwrap().to_string().parse().unwrap();
        let payloads = Payloads { bytes: b"abbccc".to_vec(), ends: vec![1, 3, 6] };
        (receiver, LoadSockets::connect(&endpoint, 2, payloads, false).unwrap())
    }

    #[test]
    fn exactly_the_amount_is_sent() {
        let (receiver, sockets) = sockets();
        let sent = run(sockets, Amount::Payloads(7), None, &AtomicBool::new(false), |_| {});
        assert_eq!((sent.payloads, sent.bytes, sent.slipped), (7, 13, 0));
        receiver.set_nonblocking(true).unwrap();
        let mut room = [0; 10];
        let mut lengths = Vec::new();
        while let Ok(length) = receiver.recv(&mut room) {
            lengths.push(length);
        }
        // Each of the two sockets began with an empty one.
        assert_eq!(lengths, [0, 0, 1, 2, 3, 1, 2, 3, 1]);
    }

    #[test]
    fn the_rate_holds_and_the_duration_ends_the_load() {
        let (_receiver, sockets) = sockets();
        let time = Amount::Time(Duration::from_millis(50));
        let sent = run(sockets, time, Some(1000.0), &AtomicBool::new(false), |_| {});
        assert!(sent.elapsed >= Duration::from_millis(50));
        assert!(sent.payloads >= 1, "{sent:?}");
        assert!(sent.payloads as f64 <= sent.elapsed.as_secs_f64() * 1000.0 + 1.0, "{sent:?}");
    }

    #[test]
    fn a_signal_ends_the_load() {
        let (_receiver, sockets) = sockets();
        let stop = AtomicBool::new(false);
        let hour = Amount::Time(Duration::from_secs(3600));
        let sent = run(sockets, hour, Some(1000.0), &stop, |sent| {
            stop.store(sent.payloads > 2, Ordering::Relaxed);
        });
        assert!(sent.interrupted && sent.payloads > 2, "{sent:?}");
    }

    #[test]
    fn refused_datagrams_are_counted_and_do_not_end_the_load() {
        let (receiver, sockets) = sockets();
        drop(receiver);
        let sent = run(sockets, Amount::Payloads(10), None, &AtomicBool::new(false), |_| {});
        assert_eq!(sent.tried(), 10);
        assert!(sent.errors["refused"] > 0, "{sent:?}");
    }
}
