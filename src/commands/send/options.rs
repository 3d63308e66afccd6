//! The options of `tallyd send`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::tls::TlsArgs;
use crate::commands::client::access::AccessArgs;
use crate::commands::client::configured::ConfigArgs;
use crate::commands::client::endpoint::SendEndpoint;
use crate::commands::client::pace::SendRate;
use engine::listener::Protocol;

/// `tallyd send`.
#[derive(Debug, Args)]
pub struct SendArgs {
    /// A metric's name, its type (counter, gauge, timer, set, trace), its value and its tags, as
    /// KEY=VALUE; or whole messages, which begin with `{` or `[` or, with --statsd, contain a `|`;
    /// or `-` for messages from standard input, one per line
    #[arg(value_name = "WORD", required = true, allow_negative_numbers = true)]
    pub words: Vec<String>,

    /// Where to send: udp://HOST:PORT, tcp://HOST:PORT, unix:///PATH or unix_datagram:///PATH
    /// [default: the first listener of the configuration with this protocol, else
    /// udp://127.0.0.1:5090]
    #[arg(long, value_name = "ENDPOINT", help_heading = "Where to")]
    pub to: Option<SendEndpoint>,
    /// Sign each datagram with the secret in this file [default: the first secret of the listener, if the
    /// configuration names it]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Where to")]
    pub secret_file: Option<PathBuf>,
    /// Which configuration file.
    #[command(flatten, next_help_heading = "Where to")]
    pub config: ConfigArgs,

    /// TLS.
    #[command(flatten, next_help_heading = "TLS")]
    pub tls: TlsArgs,

    /// Send statsd lines instead of JSON
    #[arg(long, help_heading = "Message")]
    pub statsd: bool,
    /// The sample stands for 1/RATE samples; only for counters and timers
    #[arg(long, value_name = "RATE", help_heading = "Message")]
    pub sample_rate: Option<String>,
    /// Change the gauge by VALUE instead of setting it
    #[arg(long, help_heading = "Message")]
    pub delta: bool,

    /// Also send messages that the daemon will reject
    #[arg(long, help_heading = "Sending")]
    pub force: bool,
    /// Messages a second over UDP, such as 200k, or `max` for no limit
    #[arg(long, value_name = "N", default_value = "50k", help_heading = "Sending")]
    pub rate: SendRate,
    /// Print the messages, and send nothing
    #[arg(long, conflicts_with_all = ["verify", "admin"], help_heading = "Sending")]
    pub print: bool,
    /// Print nothing about successful messages
    #[arg(short, long, help_heading = "Sending")]
    pub quiet: bool,

    /// Check with the daemon whether it accepted the messages; exit with status 1 unless it
    /// accepted all
    #[arg(long, help_heading = "Verifying")]
    pub verify: bool,
    /// The daemon's admin endpoint, or unix:PATH for its `admin.socket` [default: as configured, else
    /// http://127.0.0.1:9495]
    #[arg(long, value_name = "URL", requires = "verify", help_heading = "Verifying")]
    pub admin: Option<String>,
    /// How to get access to it.
    #[command(flatten, next_help_heading = "Access to the daemon")]
    pub access: AccessArgs,
}

impl SendArgs {
    /// The protocol of the messages.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        if self.statsd { Protocol::Statsd } else { Protocol::Json }
    }
}
