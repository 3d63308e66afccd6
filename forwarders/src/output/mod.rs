//! Outputs of this host that a write can block on for any time: files, standard output.
//!
//! Each output has a thread that alone waits for it, and at most one write at a time. The delivery
//! waits for the write with a timeout. A write that takes longer stays the only one until it returns:
//! nothing else is written to the output by then, and its outcome is counted when it is known.

pub(crate) mod forwarder;
pub(crate) mod lines;
pub(crate) mod thread;
pub(crate) mod writer;

#[cfg(test)]
mod tests;
