//! The addresses of a destination's name, which are looked up again from time to time.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use basics::address::{each_once, write_host_and_port};
use basics::log_throttle::LogThrottle;
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

/// How long a caller that knows addresses waits for a look-up. A name server that is slow must not
/// hold up deliveries.
const LOOK_UP_WAIT: Duration = Duration::from_millis(200);
/// Most time until a failed look-up is repeated.
const FAILED_PAUSE: Duration = Duration::from_secs(10);

/// Looks a name up; blocks.
pub(crate) type LookUp = Box<dyn Fn() -> io::Result<Vec<SocketAddr>> + Send + Sync>;

/// A host and a port, and their addresses.
pub(crate) struct Host {
    name: String,
    port: u16,
    /// The destination's name in the log.
    forwarder: String,
    /// Age from which addresses are looked up again.
    age_max: Duration,
    look_up: LookUp,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Empty until a look-up has succeeded.
    addresses: Vec<SocketAddr>,
    /// When to look up again; `None` for at once.
    look_up_at: Option<Instant>,
    is_looking_up: bool,
    failures: LogThrottle,
}

impl Host {
    /// A host whose name is looked up with its first use, and again when the addresses are older
    /// than `age_max`.
    pub(crate) fn new(name: &str, port: u16, forwarder: &str, age_max: Duration) -> Arc<Self> {
        let host = name.to_owned();
        let look_up = move || not_empty(each_once((host.as_str(), port).to_socket_addrs()?));
        Self::with_look_up(name, port, forwarder, age_max, Box::new(look_up))
    }

    /// The same with another way to look the name up.
    pub(crate) fn with_look_up(
        name: &str,
        port: u16,
        forwarder: &str,
        age_max: Duration,
        look_up: LookUp,
    ) -> Arc<Self> {
        Arc::new(Self {
            name: name.to_owned(),
            port,
            forwarder: forwarder.to_owned(),
            age_max,
            look_up,
            known: Mutex::default(),
        })
    }

    /// The addresses, at least one, looked up if they are too old. If the look-up fails or takes
    /// long, the known addresses.
    ///
    /// # Errors
    /// When no look-up has succeeded yet.
    pub(crate) async fn addresses(self: &Arc<Self>) -> io::Result<Vec<SocketAddr>> {
        let Some(is_known) = self.begin_look_up() else { return Ok(self.known()) };
        let host = Arc::clone(self);
        let looked_up = spawn_blocking(move || host.learn((host.look_up)()));
        if is_known {
            // A look-up that takes longer continues, and a later call has its result.
            let _too_slow = timeout(LOOK_UP_WAIT, looked_up).await;
            return Ok(self.known());
        }
        // Another caller may be looking up as well, so the result of this look-up counts.
        looked_up.await.map_err(io::Error::other)??;
        Ok(self.known())
    }

    /// Whether a connection to this address may stay.
    pub(crate) fn still_has(&self, address: SocketAddr) -> bool {
        self.known.lock().addresses.contains(&address)
    }

    /// Makes the next call look the name up, because its addresses do not work.
    pub(crate) fn distrust(&self) {
        self.known.lock().look_up_at = None;
    }

    fn known(&self) -> Vec<SocketAddr> {
        self.known.lock().addresses.clone()
    }

    /// Decides whether to look up now; then returns whether addresses are known.
    fn begin_look_up(&self) -> Option<bool> {
        let mut known = self.known.lock();
        let is_known = !known.addresses.is_empty();
        let is_due = known.look_up_at.is_none_or(|at| Instant::now() >= at);
        if is_known && (known.is_looking_up || !is_due) {
            return None;
        }
        known.is_looking_up = true;
        Some(is_known)
    }

    /// Stores the result of a look-up.
    fn learn(&self, found: io::Result<Vec<SocketAddr>>) -> io::Result<()> {
        let mut known = self.known.lock();
        known.is_looking_up = false;
        let pause = if found.is_ok() { self.age_max } else { self.age_max.min(FAILED_PAUSE) };
        known.look_up_at = Some(Instant::now() + pause);
        match found {
            Ok(found) => {
                self.log_change(&known.addresses, &found);
                known.addresses = found;
                Ok(())
            }
            Err(error) => {
                if !known.addresses.is_empty()
                    && let Some(count) = known.failures.count(1)
                {
                    warn!(
                        forwarder = self.forwarder, host = self.name, %error, count,
                        "cannot look the name up again; its known addresses stay in use"
                    );
                }
                Err(error)
            }
        }
    }

    fn log_change(&self, before: &[SocketAddr], now: &[SocketAddr]) {
        let is_same = before.len() == now.len() && before.iter().all(|one| now.contains(one));
        if !is_same && !before.is_empty() {
            let (forwarder, host) = (self.forwarder.as_str(), self.name.as_str());
            info!(forwarder, host, ?before, ?now, "the name has other addresses");
        }
    }
}

fn not_empty(addresses: Vec<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    if addresses.is_empty() {
        return Err(io::Error::other("the name has no address"));
    }
    Ok(addresses)
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_host_and_port(formatter, &self.name, self.port)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Host({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    const AGE_MAX: Duration = Duration::from_secs(60);

    /// A host whose look-ups the test answers.
    struct Answered {
        host: Arc<Host>,
        answers: Sender<io::Result<Vec<SocketAddr>>>,
    }

    impl Answered {
        fn new() -> Self {
            let (answers, receiver): (_, Receiver<io::Result<Vec<SocketAddr>>>) = channel();
            let receiver = Mutex::new(receiver);
            let look_up = Box::new(move || receiver.lock().recv().unwrap());
            let host = Host::with_look_up("host", 1, "test", AGE_MAX, look_up);
            Self { host, answers }
        }

        fn answer(&self, addresses: &[u8]) {
            let addresses = addresses.iter().map(|last| address(*last)).collect();
            self.answers.send(not_empty(addresses)).unwrap();
        }
    }

    fn address(last: u8) -> SocketAddr {
        ([127, 0, 0, last], 1).into()
    }

    /// Lets time pass for the host, although look-ups run in another thread.
    async fn pass(time: Duration) {
        tokio::time::pause();
        tokio::time::advance(time).await;
        tokio::time::resume();
    }

    #[tokio::test]
    async fn a_name_is_looked_up_again_when_its_addresses_are_too_old() {
        let name = Answered::new();
        name.answer(&[1, 2]);
        assert_eq!(name.host.addresses().await.unwrap(), [address(1), address(2)]);
        name.answer(&[3]);
        assert_eq!(name.host.addresses().await.unwrap(), [address(1), address(2)], "not yet");
        pass(AGE_MAX).await;
        assert_eq!(name.host.addresses().await.unwrap(), [address(3)]);
        assert!(name.host.still_has(address(3)) && !name.host.still_has(address(1)));
        name.answer(&[4]);
        name.host.distrust();
        assert_eq!(name.host.addresses().await.unwrap(), [address(4)]);
    }

    #[tokio::test]
    async fn the_last_addresses_stay_when_a_look_up_fails() {
        let name = Answered::new();
        name.answer(&[]);
        assert!(name.host.addresses().await.is_err(), "none is known");
        name.answer(&[1]);
        assert_eq!(name.host.addresses().await.unwrap(), [address(1)]);
        name.answer(&[]);
        pass(AGE_MAX).await;
        assert_eq!(name.host.addresses().await.unwrap(), [address(1)]);
        name.answer(&[2]);
        pass(FAILED_PAUSE).await;
        assert_eq!(name.host.addresses().await.unwrap(), [address(2)]);
    }

    #[tokio::test]
    async fn a_look_up_that_hangs_does_not_hold_up_the_known_addresses() {
        let name = Answered::new();
        name.answer(&[1]);
        name.host.addresses().await.unwrap();
        pass(AGE_MAX).await;
        // It waits a moment for the first, and not at all while that one is not answered.
        assert_eq!(name.host.addresses().await.unwrap(), [address(1)]);
        let began = std::time::Instant::now();
        assert_eq!(name.host.addresses().await.unwrap(), [address(1)]);
        assert!(began.elapsed() < LOOK_UP_WAIT);
        name.answer(&[2]);
        while !name.host.still_has(address(2)) {
            tokio::task::yield_now().await;
        }
        assert_eq!(name.host.addresses().await.unwrap(), [address(2)]);
    }
}
