//! Taps: what listeners receive, shown live to whoever asks a running daemon.
//!
//! [`taps`] knows who looks on, and [`filter`] what each wants to see. A listener looks at one number
//! a batch ([`listener`]). While nobody looks on, that is all; else it decodes what it received a
//! second time, beside recording it, as far as its [`budget`] goes, and puts what is wanted into a
//! bounded queue as an [`event`]. It never waits. The admin endpoint takes the queue to the client,
//! which is the [`command`] `tallyd tap`, a browser, or curl.

use basics::units::between;
use serde::Deserialize;
use serde::de::Deserializer;

pub mod budget;
pub mod event;
pub mod filter;
pub mod listener;
pub mod taps;

/// Each is a connection of the admin endpoint, which has others to answer.
const CLIENTS_MAX: usize = 32;
/// More than anybody reads; what has to be counted is in the points.
const RATE_MAX: u64 = 10_000;

/// `admin.tap`: who may look on, and what that may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TapConfig {
    /// Most taps at a time; with `0` there are none. Each may keep up to 4 MiB waiting for a client
    /// that does not read. 0 to 32. Defaults to `4`.
    #[serde(deserialize_with = "max_clients")]
    pub max_clients: usize,
    /// Most samples a second that a tap shows; of more it shows a random part, and says so. A
    /// higher rate costs the listeners and the endpoint more. 1 to 10000. Defaults to `1000`.
    #[serde(deserialize_with = "max_rate")]
    pub max_rate: u64,
    /// Most of a listener's time that may go into taps, in percent. What there was no time to look
    /// at is recorded as ever, and counted. More finds rarer samples in a flood, at the cost of what
    /// the listener can take. 1 to 50. Defaults to `5`.
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
