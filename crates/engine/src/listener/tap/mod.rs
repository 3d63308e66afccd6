//! Taps: a live view of the messages that listeners receive.
//!
//! [`taps`] keeps the connected clients, each with its [`filter`]. A listener checks one number per
//! batch ([`listener`]). Without clients, that is all. With clients, it decodes the messages a
//! second time, independently of recording them and within its [`budget`], and puts each match as
//! an [`event`] into a bounded queue. It never waits. The admin endpoint sends the events to the
//! client, which is the command `tallyd tap`, a browser, or curl.

use basics::bounds::between;
use serde::Deserialize;
use serde::de::Deserializer;

pub mod budget;
pub mod event;
pub mod filter;
pub mod listener;
pub mod taps;

/// Each client occupies a connection of the admin endpoint, which has other requests to answer.
const CLIENTS_MAX: usize = 32;
/// More than any reader can follow; exact counts are in the points.
const RATE_MAX: u64 = 10_000;

/// The `admin.tap` section: the limits on taps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TapConfig {
    /// Maximum number of connected taps; `0` disables them. Up to 4 MiB of events are queued for a
    /// client that does not read. 0 to 32. Defaults to `4`.
    #[serde(deserialize_with = "max_clients")]
    pub max_clients: usize,
    /// Maximum number of samples per second that a tap shows; of more it shows a random part, and
    /// says so. A higher rate costs the listeners and the endpoint more time. 1 to 10000. Defaults
    /// to `1000`.
    #[serde(deserialize_with = "max_rate")]
    pub max_rate: u64,
    /// Maximum share of a listener's time that is spent on taps, in percent. Samples beyond it are
    /// recorded as usual but not shown, and the tap counts them. A larger share finds rare samples
    /// in a flood, at the expense of the listener's capacity. 1 to 50. Defaults to `5`.
    #[serde(deserialize_with = "max_cpu")]
    pub max_cpu: u64,
}

impl Default for TapConfig {
    fn default() -> Self {
        Self { max_clients: 4, max_rate: 1_000, max_cpu: 5 }
    }
}

fn max_clients<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    between(deserializer, 0..=CLIENTS_MAX)
}

fn max_rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    between(deserializer, 1..=RATE_MAX)
}

fn max_cpu<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    between(deserializer, 1..=50)
}
