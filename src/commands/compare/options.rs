//! The options of `tallyd compare`.

use std::path::PathBuf;
use std::str::FromStr;

use basics::units::Span;
use clap::Args;

/// `tallyd compare`.
#[derive(Debug, Args)]
pub struct CompareArgs {
    /// Output of the daemon to replace: a file, tcp://host:port or udp://host:port to listen at for
    /// Graphite plaintext, or kafka://host:port/topic
    #[arg(long, value_name = "SOURCE")]
    pub old: CompareSource,
    /// Output of the other daemon, in the same forms
    #[arg(long, value_name = "SOURCE")]
    pub new: CompareSource,
    /// How long to listen; of topics, the age of the oldest records to read
    #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = Span::parse)]
    pub length: Span,
    /// Largest relative difference of two equal values
    #[arg(long, value_name = "NUMBER", default_value = "1e-9", value_parser = tolerance)]
    pub tolerance: f64,
    /// Number of series to show in each list
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub limit: usize,
    /// Print JSON: one object, with every series that is not equal
    #[arg(long)]
    pub json: bool,
}

/// Where the output of a daemon is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CompareSource {
    /// A file with lines of Graphite plaintext, or with a JSON record per line.
    File(PathBuf),
    /// An address to listen at for Graphite plaintext over TCP.
    Tcp(String),
    /// The same over UDP.
    Udp(String),
    /// A topic with JSON records.
    Kafka {
        /// The address of a broker, or several separated by commas.
        brokers: String,
        /// The topic.
        topic: String,
    },
}

impl CompareSource {
    /// Whether a daemon sends its values from now on. Other sources were written before.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(self, Self::Tcp(_) | Self::Udp(_))
    }
}

impl FromStr for CompareSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::File(text.into()));
        };
        match scheme {
            "tcp" => Ok(Self::Tcp(rest.to_owned())),
            "udp" => Ok(Self::Udp(rest.to_owned())),
            "kafka" => match rest.split_once('/') {
                Some((brokers, topic)) if !brokers.is_empty() && !topic.is_empty() => {
                    Ok(Self::Kafka { brokers: brokers.to_owned(), topic: topic.to_owned() })
                }
                _ => Err("a topic is kafka://host:port/topic".to_owned()),
            },
            _ => Err(format!(
                "`{scheme}` is not one of tcp://host:port, udp://host:port, kafka://host:port/topic \
                 and the path of a file"
            )),
        }
    }
}

fn tolerance(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..1.0).contains(&number) => Ok(number),
        _ => Err("a number from 0 to less than 1, such as 1e-9".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_path_or_has_a_scheme() {
        let source = |text: &str| text.parse::<CompareSource>();
        assert_eq!(source("out/a.txt"), Ok(CompareSource::File("out/a.txt".into())));
        assert_eq!(source("tcp://:2103"), Ok(CompareSource::Tcp(":2103".to_owned())));
        assert!(source("tcp://:2103").unwrap().is_live() && !source("a").unwrap().is_live());
        let (brokers, topic) = ("a:1,b:2".to_owned(), "metrics".to_owned());
        assert_eq!(source("kafka://a:1,b:2/metrics"), Ok(CompareSource::Kafka { brokers, topic }));
        for wrong in ["kafka://a:1", "kafka:///t", "http://a:1"] {
            assert!(source(wrong).is_err(), "{wrong}");
        }
    }
}
