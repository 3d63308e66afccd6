//! The options of `tallyd values`.

use api::series::{LIMIT_DEFAULT, parameter};
use clap::Args;

use crate::commands::client::access::AccessArgs;
use crate::commands::client::configured::ConfigArgs;

/// `tallyd values`.
#[derive(Debug, Args)]
pub struct ValuesArgs {
    /// Only metrics whose name matches this glob; `*` matches dots too
    #[arg(value_name = "GLOB")]
    pub name: Option<String>,
    /// Only series with this tag, whose value matches the glob. If given several times, a series needs
    /// all the tags
    #[arg(short = 't', long = "tag", value_name = "KEY[=GLOB]")]
    pub tags: Vec<String>,
    /// Only these types: counter, gauge, timer, set, trace
    #[arg(long = "type", value_name = "TYPE", value_delimiter = ',')]
    pub types: Vec<String>,
    /// Order: name, value (largest first), idle (shortest first) or age (newest first); a - in front
    /// reverses it
    #[arg(long, value_name = "ORDER", default_value = "name", allow_hyphen_values = true)]
    pub sort: String,
    /// Show at most N series
    #[arg(short = 'n', long, value_name = "N", default_value_t = LIMIT_DEFAULT)]
    pub limit: usize,
    /// Show the series again after each window, until Ctrl-C
    #[arg(short, long)]
    pub watch: bool,
    /// Remove the series of GLOB from the daemon at the end of the open window, and print their number.
    /// Needs its `admin.socket`, or authentication
    #[arg(long, conflicts_with_all = ["watch", "json", "sort", "limit"], requires = "name")]
    pub delete: bool,
    /// Print one JSON object per line and series, as in the API
    #[arg(long)]
    pub json: bool,

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

impl ValuesArgs {
    /// The parameters that select series.
    pub(super) fn selection(&self) -> form_urlencoded::Serializer<'static, String> {
        let mut query = form_urlencoded::Serializer::new(String::new());
        if let Some(name) = &self.name {
            query.append_pair(parameter::MATCH, name);
        }
        for (key, values) in [(parameter::TAG, &self.tags), (parameter::TYPE, &self.types)] {
            values.iter().for_each(|value| {
                query.append_pair(key, value);
            });
        }
        query
    }

    /// The parameters of the request for at most `limit` series after the first `offset`.
    pub(super) fn query(&self, limit: usize, offset: u64) -> String {
        let mut query = self.selection();
        query.append_pair(parameter::SORT, &self.sort);
        query.append_pair(parameter::LIMIT, &limit.to_string());
        query.append_pair(parameter::OFFSET, &offset.to_string());
        query.finish()
    }
}
