"""What the job wrote: whether it is complete, and when it came."""

import json
import threading
import time

from kafka import Reader


class Counted(Reader):
    """Compares the results with the sum of the counters `rpc.requests` that were generated."""

    def __init__(self, brokers, topic, requests):
        super().__init__(brokers, topic)
        self.requests, self.by_key, self.versions = requests, {}, 0

    def wait(self, seconds):
        deadline = time.monotonic() + seconds
        while self._sum() != self.requests:
            if time.monotonic() > deadline:
                raise RuntimeError(f"the results count {self._sum()} requests of {self.requests}")
            for record in self.read(1):
                self.by_key[record.key()] = record.value()
                self.versions += 1
        self.stop()
        return {"results": len(self.by_key), "written": self.versions}

    def _sum(self):
        mine = [json.loads(value) for key, value in self.by_key.items()
                if key.startswith(b"rpc.requests,") and b";10s;" in key and b"service=" not in key]
        return sum(result["fields"]["count"] for result in mine)


class Timed(threading.Thread):
    """Notes when each version of a result was written, and when it could be read."""

    def __init__(self, brokers, topic):
        super().__init__(daemon=True)
        self.reader, self.ended = Reader(brokers, topic), threading.Event()
        # (window, key) -> [(written, read)]
        self.times = {}

    def run(self):
        while not self.ended.is_set():
            for record in self.reader.read(0.5):
                window = json.loads(record.value())["timestamp"]
                moment = record.timestamp()[1], time.time() * 1000
                self.times.setdefault((window, record.key()), []).append(moment)

    def wait(self, last_window, seconds):
        """Waits for the results of the last window. The first window is not counted: the JVM is cold."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not any(window >= last_window for window, _ in list(self.times)):
            time.sleep(0.5)
        # Corrections of the last window, and the checkpoint before which they cannot be read.
        time.sleep(20)
        self.ended.set()
        self.join()
        windows = sorted({window for window, _ in self.times if window <= last_window})[1:]
        mine = [(window, moments) for (window, _), moments in self.times.items() if window in windows]
        return {
            "windows": len(windows), "results": len(mine), "written_times": sum(len(moments) for _, moments in mine),
            "first_written_s": _spread([moments[0][0] - window for window, moments in mine]),
            "last_written_s": _spread([moments[-1][0] - window for window, moments in mine]),
            "first_read_s": _spread([moments[0][1] - window for window, moments in mine]),
            "last_read_s": _spread([moments[-1][1] - window for window, moments in mine]),
        }

    def stop(self):
        self.ended.set()
        if self.is_alive():
            self.join()
        self.reader.stop()


def _spread(milliseconds):
    """The median and the maximum, in seconds."""
    if not milliseconds:
        return None
    ordered = sorted(milliseconds)
    return [round(ordered[len(ordered) // 2] / 1000, 1), round(ordered[-1] / 1000, 1)]
