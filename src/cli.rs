//! What can be said on the command line.

use clap::{Args, Parser, Subcommand};

use crate::commands::bench::options::BenchArgs;
use crate::commands::check::CheckArgs;
use crate::commands::client::configured::ConfigArgs;
use crate::commands::explain::ExplainArgs;
use crate::commands::kamailio::KamailioArgs;
use crate::commands::reload::ReloadArgs;
use crate::commands::send::options::SendArgs;
use crate::commands::spool::SpoolArgs;
use crate::commands::tap::options::TapArgs;
use crate::commands::top::options::TopArgs;

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

/// `tallyd run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Which configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
}
