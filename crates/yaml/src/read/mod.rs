//! Reads a text into a tree of nodes with positions, and types from the tree.
//!
//! This is the part that stands in for serde-saphyr's own deserializer; the crate's documentation
//! gives the reasons.

pub(crate) mod de;
pub(crate) mod mismatch;
pub(crate) mod parsed;
pub(crate) mod position;
pub(crate) mod scalar;
pub(crate) mod spanned;
pub(crate) mod tree;
