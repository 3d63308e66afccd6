//! Kamailio, a SIP server: asked for its statistics over BINRPC.

pub mod command;
mod json;
