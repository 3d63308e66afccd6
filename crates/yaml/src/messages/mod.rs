//! Turns a mistake in a file into a message: the mistake, its position and the fix, with every
//! secret masked.

pub(crate) mod error;
pub(crate) mod errors;
mod excerpt;
pub(crate) mod explain;
mod masks;
pub(crate) mod places;
mod redact;
pub(crate) mod source;
pub(crate) mod suggest;
pub(crate) mod syntax;
