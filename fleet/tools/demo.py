"""Prints the fleet's 99th percentile of each window next to that of each host: demo.py JAR [SECONDS]"""

import os
import sys
import tempfile

from fleet_job import TOPICS, Inputs, Results, write_config
from flink import Flink
from hosts import Host, Load
from kafka import OneBroker, create_topics
from processes import Everything, say


def main(jar, seconds):
    folder = tempfile.mkdtemp(prefix="tallyd-fleet.")
    say(f"logs are in {folder}")
    with Everything() as everything:
        brokers = everything.add(OneBroker(os.path.join(folder, "kafka")))
        create_topics(brokers, TOPICS, partitions=4)
        flink = everything.add(Flink(os.path.join(folder, "flink")))
        hosts = [everything.add(Host(folder, n, brokers, "metrics")) for n in range(3)]
        for n, host in enumerate(hosts):
            host.start()
            everything.add(Load(host, n)).start()
        flink.submit(jar, write_config(folder, brokers))
        show(everything, brokers, hosts, seconds)


def show(everything, brokers, hosts, seconds):
    results, inputs = everything.add(Results(brokers)), everything.add(Inputs(brokers))
    print("rpc.time{service=login}, p99 in ms")
    print(f"{'window':>10} {'count':>7} {'fleet':>8} " + " ".join(f"{host.name:>8}" for host in hosts), flush=True)
    shown = set()
    for _ in range(seconds):
        inputs.update(0.5)
        results.update(0.5)
        for window, result in sorted(results.of("rpc.time", "timer", 10, {"service": "login"})):
            if window not in shown:
                shown.add(window)
                show_window(window, result["fields"], p99_by_host(inputs, window), hosts)


def p99_by_host(inputs, window):
    return {
        record["tags"]["host"]: record["fields"]["p99"]
        for record in inputs.by_identity.values()
        if record["name"] == "rpc.time" and record["tags"]["service"] == "login" and record["timestamp"] == window * 1000
    }


def show_window(window, fields, by_host, hosts):
    columns = " ".join(f"{by_host.get(host.name, float('nan')):8.1f}" for host in hosts)
    print(f"{window:>10} {fields['count']:>7} {fields['p99']:8.1f} {columns}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 120)
