//! What commands need that speak to a daemon: where it listens, a way there, and what it tells.

pub mod configured;
pub(crate) mod connect;
pub mod endpoint;
pub(crate) mod events;
mod http;
pub(crate) mod ledger;
pub(crate) mod numbers;
pub(crate) mod settle;
pub(crate) mod terminal;
