//! The options of `tallyd tap`.

use api::tap::parameter;
use basics::units::Span;
use clap::{Args, ValueEnum};

use crate::commands::client::access::AccessArgs;
use crate::commands::client::configured::ConfigArgs;

/// `tallyd tap`.
#[derive(Debug, Args)]
pub struct TapArgs {
    /// Only metrics whose name matches this glob; `*` matches dots too. If given several times, one
    /// of the globs has to match
    #[arg(short = 'm', long = "match", value_name = "GLOB", help_heading = "Which samples")]
    pub names: Vec<String>,
    /// Only samples with this tag, whose value matches the glob. The agent's tags count. If given
    /// several times, a sample needs all the tags
    #[arg(short = 't', long = "tag", value_name = "KEY[=GLOB]", help_heading = "Which samples")]
    pub tags: Vec<String>,
    /// Only these types: counter, gauge, timer, set, trace
    #[arg(
        long = "type",
        value_name = "TYPE",
        value_delimiter = ',',
        help_heading = "Which samples"
    )]
    pub types: Vec<String>,
    /// Only messages from this network or address, such as 10.1.0.0/16. If given several times, one
    /// of the networks has to match
    #[arg(long, value_name = "NETWORK", help_heading = "Which samples")]
    pub from: Vec<String>,
    /// Show rejected messages instead of samples, with the reason, the position and an excerpt
    #[arg(long, conflicts_with = "with_rejected", help_heading = "Which samples")]
    pub rejected: bool,
    /// Show rejected messages in addition to samples
    #[arg(long, help_heading = "Which samples")]
    pub with_rejected: bool,

    /// Show the points that leave FORWARDER, or every destination, instead of samples: when the
    /// destination has accepted or refused them, after `select`
    #[arg(
        long, value_name = "FORWARDER", num_args = 0..=1, default_missing_value = "",
        conflicts_with_all = ["from", "rejected", "with_rejected", "rate"],
        help_heading = "Which samples"
    )]
    pub out: Option<String>,
    /// With --out: show the encoded payloads instead of points, as the destination gets them
    #[arg(long, requires = "out", help_heading = "Which samples")]
    pub bytes: bool,

    /// Show at most N a second, chosen at random [default: as many as the daemon shows, see
    /// `admin.tap.max_rate`]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "How many")]
    pub rate: Option<u64>,
    /// End after N samples or messages
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "How many")]
    pub count: Option<u64>,
    /// End after this time, such as 30s; exit with status 1 if there were fewer than --count
    #[arg(long, value_name = "TIME", value_parser = Span::parse, help_heading = "How many")]
    pub duration: Option<Span>,

    /// Output format: text for people, json for one object per line
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t)]
    pub format: TapFormat,
    /// Show the agent's tags on each line of text, marked with a +; by default they are shown only
    /// where they replace a tag of the message
    #[arg(long)]
    pub agent_tags: bool,

    /// The daemon's admin endpoint, or unix:PATH for its `admin.socket` [default: as configured, else
    /// http://127.0.0.1:9495]
    #[arg(long, value_name = "URL", help_heading = "Which daemon")]
    pub admin: Option<String>,
    /// Which configuration file.
    #[command(flatten, next_help_heading = "Which daemon")]
    pub config: ConfigArgs,
    /// How to get access to it.
    #[command(flatten, next_help_heading = "Access to the daemon")]
    pub access: AccessArgs,
}

/// How events are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum TapFormat {
    /// One line of text per event.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl TapArgs {
    /// The parameters of the request.
    #[must_use]
    pub fn parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = Vec::new();
        for (key, values) in [
            (parameter::MATCH, &self.names),
            (parameter::TAG, &self.tags),
            (parameter::TYPE, &self.types),
            (parameter::FROM, &self.from),
        ] {
            parameters.extend(values.iter().map(|value| (key, value.clone())));
        }
        if let Some(forwarder) = &self.out {
            parameters.push((parameter::OUT, forwarder.clone()));
        }
        if self.bytes {
            parameters.push((parameter::BYTES, "true".to_owned()));
        }
        if self.rejected || self.with_rejected {
            let word = if self.rejected { "only" } else { "also" };
            parameters.push((parameter::REJECTED, word.to_owned()));
        }
        if let Some(rate) = self.rate {
            parameters.push((parameter::RATE, rate.to_string()));
        }
        parameters
    }
}
