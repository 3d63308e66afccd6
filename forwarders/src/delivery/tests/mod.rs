//! Tests of destinations from the push to the delivery, with all their tasks.

mod delivery;
mod spool;
mod spool_trouble;
