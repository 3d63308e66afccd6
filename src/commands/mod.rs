//! The commands: one module each, and the code that several of them share.

pub mod bench;
pub mod check;
pub mod client;
pub mod compare;
pub mod convert;
pub mod explain;
pub mod health;
pub mod kamailio;
pub mod reload;
pub mod send;
pub mod spool;
pub mod tap;
pub mod top;
pub mod values;
