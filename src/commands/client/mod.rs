//! Shared code of the commands: where a daemon listens, how to connect, what its admin endpoint reports,
//! and how they print.

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
pub(crate) mod stdout;
pub(crate) mod terminal;
mod trust;
pub(crate) mod watched;
