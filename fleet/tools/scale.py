"""Measures how the job scales with the number of hosts: scale.py JAR form|throughput|latency [OPTION…]

Each measurement prints one line of JSON to standard output.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile

import record_form
from generator import Generator, disk_mb
from kafka import OneBroker, create_topics
from measured_flink import MeasuredFlink
from processes import Everything, say
from scale_results import Counted, Timed


def write_config(folder, brokers, topic, output, options):
    """The groups of the example in docs/fleet.md."""
    path = os.path.join(folder, "fleet.yaml")
    with open(path, "w") as out:
        out.write(f"""kafka: {{brokers: "{brokers.address}"}}
input: {{topic: {topic}}}
output: {{topic: {output}, rejected_topic: {output}.rejected, delivery: {options.delivery}}}
windows: [10s, 1m]
groups:
  - {{match: "rpc.*", by: [[environment], [environment, service]]}}
  - {{match: "connections.*", by: [environment], gauge: sum}}
  - {{match: "*", by: [environment], windows: [1m]}}
checkpoints: {{interval: {options.checkpoints}}}
""")
    return path


class Run:
    """A broker whose topic has the records of hosts, and clusters that read it."""

    def __init__(self, everything, jar, options):
        self.everything, self.jar, self.options = everything, jar, options
        self.folder = tempfile.mkdtemp(prefix="tallyd-scale.")
        everything.stops.insert(0, lambda: shutil.rmtree(self.folder, ignore_errors=True))
        self.brokers = everything.add(OneBroker(os.path.join(self.folder, "kafka")))

    def topic(self, name, arrival_times):
        config = {"message.timestamp.type": "LogAppendTime"} if arrival_times else {}
        create_topics(self.brokers, {name: config}, self.options.partitions)
        return name

    def output(self, parallelism):
        """A topic of its own for each job, which must not find the results of the one before."""
        name = f"results.{parallelism}"
        kept = {"message.timestamp.type": "LogAppendTime"}
        create_topics(self.brokers, {name: kept, f"{name}.rejected": kept}, self.options.partitions)
        return name

    def flink(self, parallelism):
        folder = os.path.join(self.folder, f"flink-{parallelism}")
        return self.everything.add(MeasuredFlink(folder, self.options.flink, self.options.record))


def throughput(run, options):
    topic = run.topic("metrics", arrival_times=False)
    wrote = Generator(run.brokers, topic, options.hosts, 10).past(options.windows)
    say(f"{wrote['records']} records, {disk_mb(os.path.join(run.folder, 'kafka'))} MB in the broker")
    for parallelism in options.parallelism:
        output = run.output(parallelism)
        flink = run.flink(parallelism)
        job = flink.start_job(run.jar, write_config(run.folder, run.brokers, topic, output, options), parallelism)
        measured = flink.follow(job, wrote["records"], options.seconds)
        if measured["complete"]:
            # A measurement of a job that loses records would be worthless.
            measured |= Counted(run.brokers, output, wrote["requests"]).wait(300)
        measured |= flink.checkpoint_sizes(job)
        flink.stop()
        about = {"hosts": options.hosts, "windows": options.windows, "parallelism": parallelism,
                 "flink": options.flink, "bytes_per_record": round(wrote["bytes"] / wrote["records"]),
                 "broker_bytes_per_record": round(disk_mb(os.path.join(run.folder, "kafka")) * 1e6 / wrote["records"])}
        print(json.dumps(about | measured), flush=True)


def latency(run, options):
    for parallelism in options.parallelism:
        topic = run.topic(f"metrics.{parallelism}", arrival_times=True)
        output = run.output(parallelism)
        flink = run.flink(parallelism)
        job = flink.start_job(run.jar, write_config(run.folder, run.brokers, topic, output, options), parallelism)
        flink.wait_for_checkpoint(job, 0)
        timed = run.everything.add(Timed(run.brokers, output))
        timed.start()
        before = flink.cpu_seconds()
        wrote = Generator(run.brokers, topic, options.hosts, options.interval).live(options.windows)
        measured = timed.wait(wrote["last"], 90)
        measured["cpu_share"] = round((flink.cpu_seconds() - before) / wrote["seconds"], 2)
        measured |= flink.checkpoint_sizes(job)
        flink.stop()
        about = {"hosts": options.hosts, "interval": options.interval, "parallelism": parallelism,
                 "flink": options.flink, "checkpoint_interval": options.checkpoints}
        print(json.dumps(about | measured), flush=True)


def arguments():
    parser = argparse.ArgumentParser(prog="fleet/scale.sh")
    parser.add_argument("jar", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("form")
    for command in ("throughput", "latency"):
        one = commands.add_parser(command, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
        one.add_argument("--hosts", type=int, default=100, help="hosts, of 1,000 series each")
        one.add_argument("--windows", type=int, default=10, help="windows of each host")
        one.add_argument("--parallelism", type=int, nargs="+", default=[1, 2])
        one.add_argument("--partitions", type=int, default=4, help="partitions of each topic")
        one.add_argument("--flink", metavar="KEY=VALUE", nargs="+", default=[], help="options of Flink, such as "
                         "state.backend.type=hashmap; by default, RocksDB is the state backend")
        one.add_argument("--checkpoints", default="10s", help="checkpoints.interval")
        one.add_argument("--delivery", default="exactly_once", help="output.delivery")
        one.add_argument("--record", metavar="FILE", help="writes a flight recording of the TaskManager (JFR)")
        if command == "throughput":
            one.add_argument("--seconds", type=int, default=600, help="gives up after so long")
        else:
            one.add_argument("--interval", type=int, default=10, help="tallyd's interval in seconds")
    return parser.parse_args()


def main():
    options = arguments()
    with Everything() as everything:
        if options.command == "form":
            return record_form.compare(everything)
        run = Run(everything, options.jar, options)
        {"throughput": throughput, "latency": latency}[options.command](run, options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
