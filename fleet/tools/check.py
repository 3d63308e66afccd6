"""Compares the fleet's results with the samples that were sent: check.py JAR [OPTION…]

Prints a table of totals and the largest deviations. The exit status is 1 if anything is wrong.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time

import faults
from compare import Comparison
from fleet_job import TOPICS, Inputs, Results, write_config
from flink import Flink
from hosts import Host, Load
from kafka import ROOT, OneBroker, ThreeBrokers, create_topics
from processes import Everything, say, wait_until
from report import report


class Run:
    """Brokers, a cluster, three hosts under load, and the job."""

    def __init__(self, everything, jar, with_faults, first_jar=None):
        self.everything, self.jar = everything, jar
        self.folder = tempfile.mkdtemp(prefix="tallyd-fleet.")
        say(f"logs are in {self.folder}")
        kafka = os.path.join(self.folder, "kafka")
        self.brokers = everything.add(ThreeBrokers(kafka) if with_faults else OneBroker(kafka))
        create_topics(self.brokers, TOPICS, partitions=4)
        self.flink = everything.add(Flink(os.path.join(self.folder, "flink"), ha=with_faults))
        self.config = write_config(self.folder, self.brokers)
        self.job = self.flink.submit(first_jar or jar, self.config)
        self.hosts = [everything.add(Host(self.folder, n, self.brokers, "metrics")) for n in range(3)]
        self.loads = [Load(host, n) for n, host in enumerate(self.hosts)]
        # Of daemons that were killed: (host, ledger).
        self.earlier_ledgers = []
        # What was done, and how many seconds the job took to continue.
        self.faults = []

    def start(self):
        for host, load in zip(self.hosts, self.loads):
            host.start()
            self.everything.add(load).start()

    def wait_for_job(self):
        """Waits until the job completes checkpoints again."""
        wait_until("the job", lambda: self.flink.state(self.job) == "RUNNING", 180)
        before = wait_until("its checkpoints", lambda: self.flink.checkpoints(self.job) is not None
                            and self.flink.checkpoints(self.job) + 1, 180) - 1
        self.flink.wait_for_checkpoint(self.job, before, 300)

    def wait_for_restore(self, more_than):
        """Waits until the job has continued from a checkpoint, and completes checkpoints again."""
        wait_until("a restore of the job", lambda: (self.flink.restores(self.job) or 0) > more_than, 180)
        self.wait_for_job()

    def ledgers(self, host):
        """Returns the ledgers of all runs of this host's daemon."""
        return [ledger for each, ledger in self.earlier_ledgers if each is host] + [host.ledger()]

    def inject(self, fault):
        what = fault.__doc__.splitlines()[0]
        say(f"fault: {what}")
        began = time.monotonic()
        fault(self)
        self.faults.append((what.rstrip("."), time.monotonic() - began))
        say(f"continued after {self.faults[-1][1]:.0f} s")


def settle(run):
    """Ends the load, and waits until all of it is in the results."""
    for load in run.loads:
        load.stop()
    last = (int(time.time()) // 60 + 1) * 60
    wait_until("the end of the last window", lambda: time.time() > last + 5, 90)
    wait_until("the delivery of everything", lambda: all(host.settled() for host in run.hosts), 300)
    results, inputs = run.everything.add(Results(run.brokers)), run.everything.add(Inputs(run.brokers))
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        results.update(5)
        inputs.update(1)
        comparison = Comparison()
        for interval in (10, 60):
            comparison.windows(results, run.loads, interval)
        if not comparison.wrong:
            # A result that counts something twice would come later.
            results.update(15)
            break
    comparison = Comparison()
    for interval in (10, 60):
        comparison.windows(results, run.loads, interval)
    check_consumer(run, comparison)
    return comparison, results, inputs


def check_consumer(run, comparison):
    """Compares what the example of a consumer prints, over all windows."""
    program = os.path.join(ROOT, "examples/fleet/consumer.py")
    command = [sys.executable, program, run.brokers.address, "metrics.fleet", "100000"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    if done.returncode == 0:
        comparison.consumer(done.stdout.splitlines(), run.loads)
    else:
        comparison.wrong.append(f"consumer.py ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("jar")
    arguments.add_argument("--faults", nargs="?", const="all", help="names of faults, separated by commas")
    arguments.add_argument("--upgrade-from", metavar="JAR", help="the job's jar until the fault `savepoint`")
    arguments.add_argument("--windows", type=int, default=9, help="windows of 10 s before the end")
    options = arguments.parse_args()
    if options.upgrade_from and not options.faults:
        options.faults = "savepoint"
    wanted = [fault for fault in faults.ALL
              if options.faults == "all" or fault.__name__ in (options.faults or "").split(",")]
    with Everything() as everything:
        run = Run(everything, options.jar, bool(wanted), options.upgrade_from)
        run.start()
        time.sleep(10 * options.windows / 3)
        for fault in wanted:
            run.inject(fault)
            time.sleep(5)
        time.sleep(10 * options.windows * 2 / 3)
        status = report(run, *settle(run))
    if status == 0:
        shutil.rmtree(run.folder)
    return status


if __name__ == "__main__":
    sys.exit(main())
