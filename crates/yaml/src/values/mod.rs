//! Expands `${…}` in values, and recognises the values that no message may show.

pub(crate) mod interpolate;
pub(crate) mod quote;
pub(crate) mod secrets;
