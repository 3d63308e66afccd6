//! The command line.

use clap::{Args, Parser, Subcommand};

use crate::commands::bench::options::BenchArgs;
use crate::commands::check::CheckArgs;
use crate::commands::client::configured::ConfigArgs;
use crate::commands::compare::options::CompareArgs;
use crate::commands::convert::ConvertArgs;
use crate::commands::explain::ExplainArgs;
use crate::commands::health::HealthArgs;
use crate::commands::kamailio::KamailioArgs;
use crate::commands::reload::ReloadArgs;
use crate::commands::send::options::SendArgs;
use crate::commands::spool::SpoolArgs;
use crate::commands::tap::options::TapArgs;
use crate::commands::top::options::TopArgs;
use crate::commands::values::options::ValuesArgs;

/// The whole command line.
#[derive(Debug, Parser)]
#[command(name = "tallyd", version, about = "A metrics daemon for one host", max_term_width = 100)]
#[command(long_about = LONG_ABOUT)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of `tallyd`; their comments are the help.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Validate the configuration; preview a reload
    #[command(after_help = CHECK_HELP)]
    Check(CheckArgs),
    /// Make a running daemon reread its configuration and report the outcome
    #[command(after_help = RELOAD_HELP)]
    Reload(ReloadArgs),
    /// Check the health of a running daemon, for containers and scripts
    #[command(after_help = HEALTH_HELP)]
    Health(HealthArgs),
    /// Send metrics to a daemon and verify that it accepts them
    #[command(override_usage = SEND_USAGE, after_help = SEND_HELP)]
    Send(SendArgs),
    /// Show the samples that a running daemon receives, or the points that leave it, live
    #[command(after_help = TAP_HELP)]
    Tap(TapArgs),
    /// Show a running daemon live: rates, ledger, metrics, tag keys, senders, destinations
    #[command(after_help = TOP_HELP)]
    Top(TopArgs),
    /// Show the current values of a running daemon's series
    #[command(after_help = VALUES_HELP)]
    Values(ValuesArgs),
    /// Explain messages: their points or the rejection, and the bytes for each destination
    #[command(after_help = EXPLAIN_HELP)]
    Explain(ExplainArgs),
    /// Compare the output of two daemons, such as before a migration
    #[command(after_help = COMPARE_HELP)]
    Compare(CompareArgs),
    /// Print a configuration that replaces that of another daemon
    #[command(after_help = CONVERT_HELP)]
    Convert(ConvertArgs),
    /// Load-test a daemon and report loss and CPU time
    #[command(after_help = BENCH_HELP)]
    Bench(BenchArgs),
    /// Call a method of a Kamailio server over BINRPC and print the reply as kamcmd does
    #[command(after_help = KAMAILIO_HELP)]
    Kamailio(KamailioArgs),
    /// Inspect the spools, where windows wait on disk for destinations that are down
    #[command(after_help = SPOOL_HELP)]
    Spool(SpoolArgs),
}

const LONG_ABOUT: &str = "\
A metrics daemon for one host

Programs send it small JSON messages or statsd lines, over UDP, TCP or a Unix socket. It adds the \
host's own tags, aggregates the messages in windows, and forwards the result to Apache Kafka, \
InfluxDB, OpenTelemetry, Graphite, Prometheus, statsd, a file or the terminal. It accounts for \
every message and every point.";

const RUN_HELP: &str = "\
Examples:
  tallyd run                                  defaults: JSON on UDP port 5090
  tallyd run --config /etc/tallyd/tallyd.yaml
  tallyd run --once                           the points of one interval

SIGTERM and SIGINT stop the daemon, SIGHUP reloads its configuration. The log goes to standard error.
Exit status: 0 after a stop, 1 if the daemon cannot start, 2 for wrong usage.";

const CHECK_HELP: &str = "\
Examples:
  tallyd check
  tallyd check --config tallyd.yaml --connect   also contact the destinations
  tallyd check --diff                           preview a reload
  tallyd check --effective                      every key, value and origin

Exit status: 0 if the configuration is valid and, with --connect and --diff, every destination answers \
and the daemon would accept a reload; 1 if not; 2 for wrong usage.";

const SPOOL_HELP: &str = "\
Examples:
  tallyd spool
  tallyd spool list --forwarder kafka --json
  tallyd spool show 1a229e0ada23f4cf-1769860800000-24-1130.b
  tallyd spool remove --older-than 2h

The command needs no daemon, and does not disturb one.
Exit status: 0 on success, 1 on failure, 2 for wrong usage.";

const RELOAD_HELP: &str = "\
The daemon first checks the whole file. If the file has an error, or changes a key that needs a \
restart, the daemon refuses the reload and continues as before. Otherwise it applies only the \
differences: sockets, the open window, gauges, queues and spools stay. `tallyd check --diff` \
previews the changes. With an `admin.socket`, the command needs no permission to signal the daemon.
With --watch, the command reloads at its start and after each change of the file, until SIGTERM or \
SIGINT.
Exit status: 0 if the daemon uses the current content of its file, 1 if not, 2 for wrong usage.";

const HEALTH_HELP: &str = "\
Examples:
  tallyd health
  tallyd health --ready --admin unix:/run/tallyd/admin.sock

Exit status: 0 if the daemon is healthy or, with --ready, ready; 1 if it is not or does not answer, \
which prints the reason; 2 for wrong usage.";

const SEND_USAGE: &str = "\
tallyd send [OPTIONS] NAME TYPE [VALUE] [KEY=VALUE]...
       tallyd send [OPTIONS] MESSAGE...
       tallyd send [OPTIONS] -";

const SEND_HELP: &str = "\
Examples:
  tallyd send user.latency timer 12.5 stage=login
  tallyd send user.logins counter --verify   verify that it was accepted
  tallyd send queue.depth gauge +3           add 3; without + it sets the gauge
  tallyd send '{\"metric_name\": \"a\", \"metric_type\": \"trace\"}' --to tcp://eu:5090
  tallyd send - < messages.ndjson
  tallyd send --statsd --to 127.0.0.1:8125 'page.views:1|c|#stage:login'

The command first validates each message with the daemon's own decoder, and does not send a message \
that the daemon would reject, except with --force.
Exit status: 0 if all messages were sent and, with --verify, accepted; 1 if not; 2 for wrong \
usage.";

const TAP_HELP: &str = "\
Examples:
  tallyd tap
  tallyd tap --match 'user.*' --tag stage=login --type counter,timer
  tallyd tap --rejected                          rejected messages and reasons
  tallyd tap --from 10.1.0.0/16 --with-rejected  all messages from a network
  tallyd tap --match user.logins --count 1 --duration 1m    wait for a metric
  tallyd tap --out                               points that leave tallyd
  tallyd tap --out influxdb --bytes --match 'user.*'  payloads of one of them
  tallyd tap --format json | jq .tags

A + marks the agent's tags. If more samples match than the daemon may show, it shows a random part \
and reports the proportion. Taps do not change the data: the daemon aggregates all samples as usual.
Exit status: 0, also after Ctrl-C; 1 if no daemon answers, the daemon refuses, the connection \
breaks, or there were fewer than --count; 2 for wrong usage.";

const EXPLAIN_HELP: &str = "\
Examples:
  tallyd explain '{\"metric_name\": \"a\", \"metric_type\": \"counter\"}'
  tallyd explain --config /etc/tallyd/tallyd.yaml messages.ndjson
  tallyd explain --statsd 'page.views:1|c|#stage:login'
  tallyd explain --statsd --window capture.txt
  tail -n 100 messages.ndjson | tallyd explain --json

Nothing is sent, and no daemon needs to run. Each message, or each array, is processed as a separate \
window, in order; with --window, all messages of a file, or all that are arguments, as one window.
Exit status: 0 if every message is accepted; 1 if one is rejected, or the input cannot be read or \
contains no message; 2 for wrong usage.";

const COMPARE_HELP: &str = "\
Examples:
  tallyd compare --old tcp://:2103 --new tcp://:2104 --for 1h
  tallyd compare --old before.txt --new after.txt
  tallyd compare --old kafka://broker:9092/metrics --new kafka://broker:9092/new

Series are aligned by name and window. Windows that end at different times are compared by what must \
agree all the same, such as the sums of counters.
Exit status: 0 if every difference is explained, 1 if one is not or nothing can be compared, 2 for wrong \
usage.";

const CONVERT_HELP: &str = "\
Examples:
  tallyd convert statsd /etc/statsd/config.js > tallyd.yaml
  tallyd convert telegraf /etc/telegraf/telegraf.conf /etc/telegraf/telegraf.d
  tallyd convert statsd-exporter mapping.yml -- --web.listen-address=:9102
  tallyd convert pystatsd /etc/pystatsd/pystatsd.conf
  tallyd convert kamailio-exporter -- --kamailio.methods=tm.stats

Comments at the top of the output name each setting that has no equivalent, or a different effect. \
Secrets are copied; with --omit-secrets, the output refers to environment variables, which standard \
error lists.
Exit status: 0 if the configuration was printed, 1 if the source cannot be converted, 2 for wrong usage.";

const BENCH_HELP: &str = "\
Examples:
  tallyd bench --spawn                        cost of a message on this host
  tallyd bench --spawn --rate max --batch 10  maximum rate, 10 per datagram
  tallyd bench --rate 50k --duration 1m       a running daemon on this host
  tallyd bench tcp://eu:8125 --protocol statsd --admin http://eu:9495

The metrics are named bench.TYPE.NUMBER; a running daemon forwards them like any others.
Exit status: 0 if every message is accounted for, 1 if not, 2 for wrong usage.";

const KAMAILIO_HELP: &str = "\
Examples:
  tallyd kamailio unix:/var/run/kamailio/kamailio_ctl core.uptime
  tallyd kamailio tcp:127.0.0.1:2049 stats.fetch all --json
  tallyd kamailio unixd:/var/run/kamailio/kamailio_dgram htable.get u s:493

A whole number is sent as an int, a number with decimals as a double, any other argument as text. \
The prefix `s:` forces text.
Exit status: 0 after a reply, 1 after a fault or without a reply, 2 for wrong usage.";

const TOP_HELP: &str = "\
Examples:
  tallyd top                          the daemon of this host
  tallyd top --admin http://10.0.0.7:9495 --view senders
  tallyd top --once --limit 20 > f    as text, with 20 rows of each list
  tallyd top --once --view metrics --filter user.

`?` explains the keys. The daemon counts senders only while a client shows them.
Exit status: 0 after `q`, 1 if no daemon answers at the start, 2 for wrong usage.";

const VALUES_HELP: &str = "\
Examples:
  tallyd values
  tallyd values 'user.*' --tag stage=login --type timer
  tallyd values --type gauge --sort value --limit 20 --watch
  tallyd values 'queue.*' --sort -idle         the longest without samples
  tallyd values 'old.*' --delete               remove them from the daemon
  tallyd values --limit 1000000 --json | jq -c '[.name, .value]'

VALUE is the level of a gauge; of a counter, set or trace, its count in the last window; of a timer, its \
mean. A series without samples in that window has none.
Exit status: 0 if the daemon answered, 1 if not, 2 for wrong usage.";

/// The arguments of `tallyd run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The configuration file.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// Receive for one interval, print the points to standard output, and end; sends nothing
    #[arg(long)]
    pub once: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use model::MetricKind;

    use super::*;

    #[test]
    fn help_fits_a_terminal_of_80_columns_and_breaks_no_line_twice() {
        for command in Cli::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            for line in help.lines() {
                assert!(!line.starts_with("  ") || line.len() <= 80, "{line}");
                // The terminal's width breaks a paragraph; the text itself does not.
                let is_whole = line.starts_with("  ") || line.is_empty();
                assert!(is_whole || line.ends_with(['.', ':']), "{line}");
            }
        }
    }

    #[test]
    fn every_module_of_commands_is_a_command() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/commands");
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let modules = entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned());
        let cli = Cli::command();
        for module in modules.filter(|module| !["mod", "client"].contains(&module.as_str())) {
            let command = cli.find_subcommand(module.replace('_', "-"));
            assert!(command.is_some(), "`Command` has no variant for src/commands/{module}");
        }
    }

    #[test]
    fn help_names_every_metric_type() {
        for name in ["send", "tap", "bench", "values"] {
            let mut cli = Cli::command();
            let command = cli.find_subcommand_mut(name).unwrap();
            let help = command.render_long_help().to_string();
            for kind in MetricKind::ALL {
                assert!(help.contains(kind.as_str()), "`tallyd {name} --help` lacks {kind}");
            }
        }
    }
}
