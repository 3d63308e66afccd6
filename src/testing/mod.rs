//! The bodies of the fuzz targets that need more than one crate. Those of a single crate are in its
//! `testing` module.

#![allow(clippy::missing_panics_doc, reason = "to panic is what a check is for")]

pub mod config;
pub mod formats;

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
