//! The options of `tallyd top`.

use std::time::Duration;

use basics::units::Span;
use clap::Args;

use super::views::View;
use crate::commands::client::access::AccessArgs;
use crate::commands::client::configured::ConfigArgs;

/// Shortest pause between two polls: a rate over less would be noise.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Longest pause.
const INTERVAL_MAX: Duration = Duration::from_secs(3600);

/// `tallyd top`.
#[derive(Debug, Args)]
pub struct TopArgs {
    /// The daemon's admin endpoint, or unix:PATH for its `admin.socket` [default: as configured, else
    /// http://127.0.0.1:9495]
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// Which configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Pause between two requests to the daemon, 100ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    pub interval: Span,
    /// View to begin with; with --once, the only one that is printed
    #[arg(long, value_enum)]
    pub view: Option<View>,
    /// Show only rows that contain this text, in upper or lower case
    #[arg(long, value_name = "TEXT")]
    pub filter: Option<String>,
    /// Take two readings, an interval apart, print all views as text, and end; the default if
    /// standard output is not a terminal
    #[arg(long)]
    pub once: bool,
    /// With --once: maximum number of rows of each list
    #[arg(long, value_name = "N", default_value_t = 10)]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub limit: u16,
    /// How to get access to it.
    #[command(flatten, next_help_heading = "Access to the daemon")]
    pub access: AccessArgs,
}

fn interval(text: &str) -> Result<Span, String> {
    let span = Span::parse(text)?;
    if (INTERVAL_MIN..=INTERVAL_MAX).contains(&span.get()) {
        return Ok(span);
    }
    Err("must be 100ms to 1h".to_owned())
}
