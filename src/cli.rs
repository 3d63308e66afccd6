//! What can be said on the command line.

use std::path::PathBuf;

use binrpc::Endpoint;
use clap::{ArgGroup, Args, Parser, Subcommand, ValueHint};
use forwarders::units::Span;

use crate::bench::options::BenchArgs;
use crate::send::options::SendArgs;
use crate::tap::options::TapArgs;
use crate::top::options::TopArgs;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "tallyd", version, about = "A metrics daemon for one host", max_term_width = 100)]
#[command(long_about = LONG_ABOUT)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What tallyd can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    Run(RunArgs),
    /// Say whether the configuration is good, and what a reload would change
    Check(CheckArgs),
    /// Have a running daemon read its configuration anew, and tell what came of it
    #[command(after_help = RELOAD_HELP)]
    Reload(ReloadArgs),
    /// Send metrics to a daemon, and ask it whether they were accepted
    #[command(override_usage = SEND_USAGE, after_help = SEND_HELP)]
    Send(SendArgs),
    /// Show the samples that a running daemon receives, live
    #[command(after_help = TAP_HELP)]
    Tap(TapArgs),
    /// Show a running daemon live: rates, ledger, metrics, tag keys, senders, destinations
    #[command(after_help = TOP_HELP)]
    Top(TopArgs),
    /// Say what becomes of messages: the series and value, or why not, and what each destination gets
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArgs),
    /// Put a load on a daemon and tell what became of it and what it cost
    #[command(after_help = BENCH_HELP)]
    Bench(BenchArgs),
    /// Call a method of a Kamailio over BINRPC and print what it answers, as kamcmd does
    #[command(after_help = KAMAILIO_HELP)]
    Kamailio(KamailioArgs),
    /// Look into the spools, where windows wait on disk for destinations that are away
    Spool(SpoolArgs),
}

const LONG_ABOUT: &str = "\
A metrics daemon for one host

Programs send it small JSON messages or statsd lines, over UDP, TCP or a Unix socket. It adds the \
host's own tags, aggregates the messages in windows, and forwards the result to Apache Kafka, \
InfluxDB, Graphite, Prometheus, statsd, a file or the terminal. It counts what became of every \
message and every point.";

const RELOAD_HELP: &str = "\
The daemon checks the whole file first. If anything is wrong with it, or cannot be changed while the
daemon runs, nothing is changed and the daemon goes on as before. Else only what is different changes:
sockets, the open window, gauges, queues and spools stay. `tallyd check --diff` tells before what would
change.
Exit status: 0 if the daemon goes on with what its file says now, 1 if not, 2 for wrong usage.";

const SEND_USAGE: &str = "\
tallyd send [OPTIONS] NAME TYPE [VALUE] [KEY=VALUE]...
       tallyd send [OPTIONS] MESSAGE...
       tallyd send [OPTIONS] -";

const SEND_HELP: &str = "\
Examples:
  tallyd send user.latency timer 12.5 stage=login
  tallyd send user.logins counter --verify        ask the daemon whether it was accepted
  tallyd send queue.depth gauge +3                change a gauge; a number without + sets it
  tallyd send '{\"metric_name\": \"a\", \"metric_type\": \"trace\"}' --to tcp://10.0.0.7:5090
  tallyd send - < messages.ndjson
  tallyd send --statsd --to 127.0.0.1:8125 'page.views:1|c|#stage:login'

The daemon's own decoder looks at each message first. One that the daemon would reject is not sent,
unless --force says so.
Exit status: 0 if all was sent and, with --verify, accepted; 1 if not; 2 for wrong usage.";

const TAP_HELP: &str = "\
Examples:
  tallyd tap
  tallyd tap --match 'user.*' --tag stage=login --type counter,timer
  tallyd tap --rejected                           why messages are rejected, and which
  tallyd tap --from 10.1.0.0/16 --with-rejected   all that a network sends
  tallyd tap --match user.logins --count 1 --duration 1m      whether it arrives
  tallyd tap --format json | jq .tags

A tag with a + is the agent's. Of more samples than it may show the daemon shows a random part, and it
is told how many there were. Nothing is taken from the daemon: it aggregates all of them as ever.
Exit status: 0, also after Ctrl-C; 1 if no daemon shows anything, it breaks off, or there were fewer than
--count; 2 for wrong usage.";

const EXPLAIN_HELP: &str = "\
Examples:
  tallyd explain '{\"metric_name\": \"a\", \"metric_type\": \"counter\"}'
  tallyd explain --config /etc/tallyd/tallyd.yaml messages.ndjson
  tallyd explain --statsd 'page.views:1|c|#stage:login'
  tail -n 100 messages.ndjson | tallyd explain --json

Nothing is sent and no daemon is asked. Each message is a window of its own, one after the other.
Exit status: 0 if every message is accepted, 1 if one is rejected or cannot be read, 2 for wrong usage.";

const BENCH_HELP: &str = "\
Examples:
  tallyd bench --spawn                            what a message costs on this host
  tallyd bench --spawn --rate max --batch 10      as fast as one core sends, 10 a datagram
  tallyd bench --rate 50k --duration 1m           a running daemon, at the default addresses
  tallyd bench tcp://10.0.0.7:8125 --protocol statsd --admin http://10.0.0.7:9495

The metrics are called bench.TYPE.NUMBER; a running daemon forwards them like any others.
Exit status: 0 if every message is accounted for, 1 if not, 2 for wrong usage.";

const KAMAILIO_HELP: &str = "\
Examples:
  tallyd kamailio unix:/var/run/kamailio/kamailio_ctl core.uptime
  tallyd kamailio tcp:127.0.0.1:2049 stats.fetch all --json
  tallyd kamailio unixd:/var/run/kamailio/kamailio_dgram htable.get users s:4930123

An argument that is a whole number is sent as an int, one with decimals as a double, all else as text;
behind `s:` everything is text.
Exit status: 0 after a reply, 1 after a fault or without an answer, 2 for wrong usage.";

const TOP_HELP: &str = "\
Examples:
  tallyd top                                      the daemon of this host
  tallyd top --admin http://10.0.0.7:9495 --view senders
  tallyd top --once --limit 20 > top.txt          the same as text, with 20 rows of each list
  tallyd top --once --view metrics --filter user.

`?` tells the keys. Senders are counted while somebody looks at them.
Exit status: 0 after `q`, 1 if there is nothing to see, 2 for wrong usage.";

/// Which configuration file.
#[derive(Clone, Debug, Args)]
pub struct ConfigArgs {
    /// Configuration file [default: /etc/tallyd/tallyd.yaml if it exists, else built-in defaults]
    #[arg(short, long, global = true, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub config: Option<PathBuf>,
}

/// `tallyd run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
}

/// `tallyd check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Which configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Also ask each destination whether it answers
    #[arg(long)]
    pub connect: bool,
    /// Also ask the running daemon what a reload would change
    #[arg(long)]
    pub diff: bool,
    /// The daemon's admin endpoint, for --diff [default: as configured, else http://127.0.0.1:9495]
    #[arg(long, value_name = "URL", requires = "diff")]
    pub admin: Option<String>,
}

/// `tallyd reload`.
#[derive(Debug, Args)]
pub struct ReloadArgs {
    /// Which configuration file: it says where the daemon answers. The daemon reads the one that it
    /// was started with.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The daemon's admin endpoint [default: as configured, else http://127.0.0.1:9495]
    #[arg(long, value_name = "URL")]
    pub admin: Option<String>,
    /// The daemon's process number, for one without an admin endpoint
    #[arg(long, value_name = "NUMBER")]
    pub pid: Option<u32>,
}

/// `tallyd explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Files of messages, one a line; or messages themselves, which begin with `{` or `[` or, with
    /// --statsd, have a `|`; or `-` for standard input, as without any
    pub inputs: Vec<String>,
    /// Which configuration file: it says which tags, limits and destinations there are.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The messages are statsd lines
    #[arg(long)]
    pub statsd: bool,
    /// Answer in JSON, an object a line for each message
    #[arg(long)]
    pub json: bool,
    /// Show secrets that a destination writes into its payloads (kafka_apikey), in place of ***
    #[arg(long)]
    pub show_secrets: bool,
}

/// `tallyd kamailio`.
#[derive(Debug, Args)]
pub struct KamailioArgs {
    /// Where it answers: unix:/path, unixd:/path (datagrams), tcp:host:port or udp:host:port
    pub endpoint: Endpoint,
    /// The method; system.listMethods tells which there are
    pub method: String,
    /// What the method is given
    #[arg(allow_negative_numbers = true)]
    pub arguments: Vec<String>,
    /// Answer in JSON: a list of the records
    #[arg(long)]
    pub json: bool,
    /// How long it may take, for each of connecting, asking and the reply
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = Span::parse)]
    pub timeout: Span,
}

/// `tallyd spool`.
#[derive(Debug, Args)]
pub struct SpoolArgs {
    /// Which configuration file: it says where the spools are.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Answer in JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do; without it, list.
    #[command(subcommand)]
    pub action: Option<SpoolAction>,
}

/// What can be done with spools. All of it is safe while the daemon runs.
#[derive(Debug, Subcommand)]
pub enum SpoolAction {
    /// List the windows that wait, and what is in quarantine
    List {
        /// Only this destination's
        #[arg(long, value_name = "NAME")]
        forwarder: Option<String>,
    },
    /// Show the points in a window
    Show {
        /// The window, by its name in the list or by its path
        file: String,
    },
    /// Remove windows; a daemon that runs counts them as dropped, reason `removed`
    Remove(SpoolRemoveArgs),
}

/// `tallyd spool remove`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).multiple(false))]
pub struct SpoolRemoveArgs {
    /// These windows, by their names in the list or by their paths
    #[arg(group = "what")]
    pub files: Vec<String>,
    /// Windows that began longer ago than this, such as 2h
    #[arg(long, group = "what", value_name = "TIME", value_parser = Span::parse)]
    pub older_than: Option<Span>,
    /// All windows, and what is in quarantine
    #[arg(long, group = "what")]
    pub all: bool,
    /// Only this destination's
    #[arg(long, value_name = "NAME")]
    pub forwarder: Option<String>,
}
