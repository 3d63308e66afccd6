//! Shared code of the commands that speak to a daemon: where it listens, how to connect, and what its
//! admin endpoint reports.

pub mod access;
pub mod configured;
pub(crate) mod connect;
pub mod endpoint;
pub(crate) mod events;
mod http;
pub(crate) mod ledger;
pub(crate) mod numbers;
pub mod pace;
pub(crate) mod protocol;
pub(crate) mod scope;
pub(crate) mod shown;
pub(crate) mod signer;
pub(crate) mod terminal;
mod trust;
pub(crate) mod watched;
