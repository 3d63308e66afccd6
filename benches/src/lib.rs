//! Shared code of the benchmarks: input as sent by clients, and an assembly of the daemon's parts.
//!
//! [`MessageFormat`](message_format::MessageFormat) writes the values of the metrics in
//! [`forwarders::testing::load`] in the formats of all clients. [`rejects`] has input that must be
//! rejected. [`BenchPipeline`](pipeline::BenchPipeline) leads from a datagram to a snapshot.

pub mod datagrams;
pub mod listeners;
pub mod message_format;
pub mod pipeline;
pub mod rejects;
pub mod rules;
pub mod socket;
