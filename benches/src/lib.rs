//! What the benchmarks share: what clients send, and the daemon's parts put together.
//!
//! [`Wording`](wording::Wording) writes what the metrics of [`forwarders::testing::load`] report, as
//! clients of all dialects do; [`rejects`] is what must be turned away.
//! [`Pipeline`](pipeline::Pipeline) is the way from a datagram to a snapshot.

pub mod datagrams;
pub mod pipeline;
pub mod rejects;
pub mod wording;
