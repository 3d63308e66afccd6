//! Tests of destinations from the push to the delivery, with all their tasks.

mod defaults;
mod delivery;
mod log;
mod reload;
mod slow_disk;
mod sockets;
mod spool;
mod spool_bounds;
mod spool_trouble;
mod timing;
