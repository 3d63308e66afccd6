"""A Flink cluster with one TaskManager whose work is measured."""

import os
import time

from flink import Flink
from processes import say

TICKS = os.sysconf("SC_CLK_TCK")


class MeasuredFlink(Flink):
    """`options`: texts `KEY=VALUE`; `recording`: a file for a flight recording of the TaskManager, or None."""

    def __init__(self, folder, options, recording=None):
        self.options, self.recording = options, recording
        os.environ.setdefault("FLEET_TM_MEMORY", "4g")
        super().__init__(folder, task_managers=1)

    def _configure(self):
        super()._configure()
        path = os.path.join(self.conf, "config.yaml")
        with open(path) as file:
            options = dict(line.strip().split(": ", 1) for line in file)
        # The default, 10 s, is too coarse for rates; a checkpoint may take longer than a minute here.
        options |= {"metrics.fetcher.update-interval": "500", "execution.checkpointing.timeout": "600 s"}
        options |= dict(option.split("=", 1) for option in self.options)
        with open(path, "w") as file:
            file.writelines(f"{key}: {value}\n" for key, value in options.items())

    def _task_manager(self, n):
        process = super()._task_manager(n)
        # Java's default, G1, as in production: the other clusters of these tools only have to be small.
        process.command.remove("-XX:+UseSerialGC")
        if self.recording:
            process.command.insert(1, f"-XX:StartFlightRecording=filename={self.recording},settings=profile")
        return process

    def start_job(self, jar, config, parallelism):
        """Unlike `submit`, returns before the job has completed a checkpoint."""
        return self.cli("run", "-d", "-p", str(parallelism), jar, config).rpartition("JobID ")[2].split()[0]

    def read(self, job):
        """How many records have passed the first shuffle."""
        vertices = self.rest_get(f"/jobs/{job}")["vertices"]
        return sum(vertex["metrics"]["read-records"] for vertex in vertices if "admission" in vertex["name"])

    def follow(self, job, records, seconds):
        """Waits until the job has read everything. Rates are those after the first quarter, when the JVM is warm."""
        began, warm = time.monotonic(), None
        while True:
            now, cpu, read = time.monotonic(), self.cpu_seconds(), self.read(job)
            if warm is None and read >= records / 4:
                warm = now, cpu, read, self.cpu_by_thread()
            if read >= records or now - began > seconds:
                break
            time.sleep(0.5)
        since, cpu_since, read_since, threads_since = warm or (began, 0, 0, {})
        passed, used, number = now - since, cpu - cpu_since, read - read_since
        say(f"{read} of {records} records in {now - began:.0f} s")
        threads = {name: round(1e6 * (value - threads_since.get(name, 0)) / number, 1)
                   for name, value in self.cpu_by_thread().items()}
        return {
            "complete": read >= records, "read": read, "per_second": round(number / passed),
            "per_cpu_second": round(number / used), "cores": round(used / passed, 2), "seconds": round(now - began),
            "memory_mb": self.memory_mb(),
            "cpu_us_by_thread": dict(sorted((one for one in threads.items() if one[1] >= 0.3), key=lambda one: -one[1])),
        }

    def checkpoint_sizes(self, job):
        """Of the checkpoints so far; sizes are those of a new one, which has all records."""
        before = self.rest_get(f"/jobs/{job}/checkpoints")
        self.wait_for_checkpoint(job, before["counts"]["completed"] + 1, 600)
        all_of_them = self.rest_get(f"/jobs/{job}/checkpoints")
        latest = all_of_them["latest"]["completed"]
        durations = [one["end_to_end_duration"] for one in before["history"] if one["status"] == "COMPLETED"]
        return {
            "state_mb": round(latest["state_size"] / 1e6, 1), "state_by_task_mb": self._state_by_task(job, latest["id"]),
            "checkpoints": len(durations), "checkpoint_ms_median": sorted(durations)[len(durations) // 2] if durations else None,
            "checkpoint_ms_max": max(durations, default=None), "checkpoint_ms_at_rest": latest["end_to_end_duration"],
        }

    def _state_by_task(self, job, checkpoint):
        names = {vertex["id"]: vertex["name"] for vertex in self.rest_get(f"/jobs/{job}")["vertices"]}
        tasks = self.rest_get(f"/jobs/{job}/checkpoints/details/{checkpoint}")["tasks"]
        sizes = {names[vertex][:40]: round(task["state_size"] / 1e6, 1) for vertex, task in tasks.items()}
        return {name: size for name, size in sizes.items() if size >= 0.1}

    # --- of the operating system ---------------------------------------------------

    def _pid(self):
        return self.task_managers[0].child.pid

    def cpu_seconds(self):
        return _cpu(f"/proc/{self._pid()}/stat")

    def cpu_by_thread(self):
        """CPU seconds of threads of the same name, which Linux shortens to 15 letters."""
        sums = {}
        for thread in os.listdir(f"/proc/{self._pid()}/task"):
            try:
                with open(f"/proc/{self._pid()}/task/{thread}/comm") as file:
                    name = file.read().strip()
                sums[name] = sums.get(name, 0) + _cpu(f"/proc/{self._pid()}/task/{thread}/stat")
            except OSError:  # It ended.
                pass
        return sums

    def memory_mb(self):
        with open(f"/proc/{self._pid()}/status") as file:
            peak = next(line for line in file if line.startswith("VmHWM"))
        return int(peak.split()[1]) // 1024


def _cpu(path):
    with open(path) as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
