#!/usr/bin/env python3
"""Measures the cost of reloads under load: lost datagrams, lost samples, and time.

Sends statsd lines at a constant rate, while the configuration changes repeatedly (a tag of the agent,
limits, a second listener, a second destination, the interval, a mistake), each time with a SIGHUP.
At the end, the samples sent are compared with the ledger and with the sum over all windows in the
file.

    cargo build --release && benches/udp/reload.py --rate 50000

Needs gcc, and a separate core for the generator.
"""

import argparse
import json
import pathlib
import re
import signal
import subprocess
import tempfile
import time
import urllib.request

from receiver import ROOT, build, socket_of, wait_until

PORT, SECOND, ADMIN = 15101, 15102, 15103
STATUS = f"http://127.0.0.1:{ADMIN}/api/v1/status"
PAUSE = 0.25


def config(folder, turn):
    """Returns the configuration of a turn. Every fifth is invalid, the others differ in many keys."""
    listeners = [f'{{ protocol: statsd, address: "127.0.0.1:{PORT}" }}']
    files = [f"{{ path: {folder}/points, format: json }}"]
    if turn % 2:
        listeners.append(f'{{ address: "127.0.0.1:{SECOND}", allow: [10.0.0.0/8] }}')
        files.append(f"{{ name: second, path: /dev/null, select: {{ prefix: p{turn}. }} }}")
    mistake = "no_such_key: 1\n" if turn % 5 == 4 else ""
    return f"""
interval: {1 + turn % 3}s
agent: {{ tags: {{ turn: "{turn}" }} }}
aggregation: {{ max_series: {100_000 + turn}, line_cache: {16 + turn % 4}MiB, expire_after: 5s }}
listeners: [{", ".join(listeners)}]
restart_state: {{ enabled: false }}
admin: {{ listen: "127.0.0.1:{ADMIN}" }}
forwarders: {{ file: [{", ".join(files)}] }}
{mistake}"""


def status():
    with urllib.request.urlopen(STATUS, timeout=30) as reply:
        return json.load(reply)


def reload(process, folder, turn):
    """Reloads. Returns the milliseconds until the status shows the result, and whether it was applied."""
    (folder / "tallyd.yaml").write_text(config(folder, turn))
    before = status()["reload"]
    began = time.perf_counter()
    process.send_signal(signal.SIGHUP)
    while (now := status()["reload"])["applied"] + now["refused"] == before["applied"] + before["refused"]:
        time.sleep(0.001)
    return (time.perf_counter() - began) * 1000, now["applied"] > before["applied"]


def measure(daemon, folder, series, rate, seconds):
    """Returns (times of applied reloads, times of refused ones, generator's output, last status)."""
    (folder / "tallyd.yaml").write_text(config(folder, 0))
    process = subprocess.Popen([daemon, "run", "--config", folder / "tallyd.yaml"], stderr=subprocess.DEVNULL)
    applied, refused = [], []
    try:
        wait_until("the daemon", lambda: socket_of(PORT) is not None)
        send = [folder / "loadgen", "--dest", f"127.0.0.1:{PORT}", "--format", "statsd"]
        send += ["--series", str(series), "--count", str(rate * seconds), "--rate", str(rate)]
        load = subprocess.Popen(send, stdout=subprocess.PIPE, text=True)
        turn = 0
        while load.poll() is None:
            turn += 1
            took, was_applied = reload(process, folder, turn)
            (applied if was_applied else refused).append(took)
            time.sleep(PAUSE)
        sent = rate * seconds
        wait_until("all datagrams", lambda: status()["ledger"]["received"] + status()["ledger"]["kernel_drops"] >= sent)
        last = status()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    return applied, refused, load.stdout.read(), last


def counted(path):
    """Returns the sum over all windows."""
    total = 0
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            total += json.loads(line)["fields"].get("count", 0)
    return int(total)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--series", type=int, default=1_000)
    arguments.add_argument("--rate", type=int, default=50_000, help="datagrams per second (default 50000)")
    arguments.add_argument("--seconds", type=int, default=30)
    arguments.add_argument("--daemon", default=ROOT / "target/release/tallyd", help="the binary")
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        build(folder)
        applied, refused, said, last = measure(
            given.daemon, folder, given.series, given.rate, given.seconds
        )
        total = counted(folder / "points")
    print(said.strip())
    # Gauges have no count.
    with_count = sum(int(n) for n in re.findall(r"(?:counters|timers|traces)=(\d+)", said))
    ledger = last["ledger"]
    print(
        f"sent {given.rate * given.seconds:,}, received {ledger['received']:,}, kernel drops {ledger['kernel_drops']}, "
        f"counts in the windows {total:,} of {with_count:,}\n"
    )
    print("| reloads | number | median ms | most ms |\n| --- | --- | --- | --- |")
    for words, times in (("applied", sorted(applied)), ("refused", sorted(refused))):
        print(f"| {words} | {len(times)} | {times[len(times) // 2]:.1f} | {times[-1]:.1f} |")


if __name__ == "__main__":
    main()
