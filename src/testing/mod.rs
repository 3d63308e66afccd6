//! The checks behind the fuzz targets that span several crates. A check of a single crate is in that
//! crate's `testing` module.

#![allow(clippy::missing_panics_doc, reason = "a check fails by panicking")]

pub mod config;
pub mod formats;
#[cfg(test)]
mod statsd_graphite;

#[cfg(test)]
mod tests {
    use engine::testing::replay;

    #[test]
    fn the_corpus_of_the_configuration_passes() {
        replay("config", super::config::check);
    }

    #[test]
    fn the_corpus_of_the_formats_passes() {
        replay("formats", super::formats::check);
    }
}
