"""Faults under load. Each is a function of the run that ends when the part runs again."""

import time

from confluent_kafka import Producer

from fleet_job import INPUT, Inputs, write_config
from processes import say, wait_until


def task_manager(run):
    """kill -9 of a TaskManager that runs tasks of the job; a supervisor starts it again."""
    before = run.flink.restores(run.job)
    victim = run.flink.task_manager_of(run.job)
    victim.kill()
    time.sleep(3)
    victim.start()
    run.wait_for_restore(before)


def job_manager(run):
    """kill -9 of the JobManager; the next one finds the job in ZooKeeper."""
    run.flink.job_manager.kill()
    time.sleep(2)
    run.flink.job_manager.start()
    # The new one has no count of the old one.
    run.wait_for_restore(0)


def broker(run):
    """kill -9 of one of three brokers."""
    victim = run.brokers.brokers[1]
    victim.kill()
    # Longer than a window: the others have to take its partitions over.
    time.sleep(12)
    victim.start()
    run.wait_for_job()


def tallyd(run):
    """kill -9 of a tallyd after the end of a window: the open window has no samples yet.

    A kill within a window loses its samples, which no reader of the topic can know.
    """
    host, load = run.hosts[0], run.loads[0]
    flushed = host.ledger()[1]["flushed"]
    wait_until("the end of a window", lambda: time.time() % 10 > 9 and not load.pause.set(), 30)
    flushed = host.ledger()[1]["flushed"]
    wait_until("the next flush", lambda: (host.settled() or 0) > flushed, 60)
    run.earlier_ledgers.append((host, host.ledger()))
    host.process.kill()
    host.start()
    load.pause.clear()


def repeats(run):
    """every tenth record is written once more, as a tallyd does that cannot know whether the first one arrived."""
    inputs = run.everything.add(Inputs(run.brokers))
    producer = Producer({"bootstrap.servers": run.brokers.address})
    written = 0
    for n, record in enumerate(inputs.read(10)):
        if n % 10 == 0:
            producer.produce(INPUT, key=record.key(), value=record.value(), headers=record.headers())
            written += 1
    producer.flush(60)
    say(f"wrote {written} records once more")


def checkpoint(run):
    """the job is cancelled, as if it was lost with a JobManager, and started from its last checkpoint."""
    run.flink.cli("cancel", run.job)
    last = run.flink.latest_checkpoint(run.job)
    say(f"last checkpoint: {last}")
    run.job = run.flink.submit(run.jar, run.config, restore=last)


def savepoint(run):
    """the job is stopped with a savepoint, and started from it with another percentile, window and parallelism."""
    path = run.flink.stop_with_savepoint(run.job)
    run.config = write_config(run.folder, run.brokers, percentiles="50, 90, 95, 99, 99.9", windows="10s, 1m, 5m")
    run.job = run.flink.submit(run.jar, run.config, restore=path, parallelism=3)


ALL = [task_manager, tallyd, repeats, broker, job_manager, savepoint, checkpoint]
