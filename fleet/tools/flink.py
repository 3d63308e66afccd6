"""A Flink cluster of separate processes: a JobManager and two TaskManagers, and ZooKeeper if wanted."""

import glob
import json
import os
import subprocess
import time
import urllib.request

from processes import Process, free_port, say, wait_until

HOME = os.environ["FLINK_HOME"]
LIB = os.path.join(HOME, "lib/*")
# Flink's own start scripts set these for Java 17.
OPENS = [
    f"--add-opens=java.base/{package}=ALL-UNNAMED"
    for package in ("java.lang", "java.net", "java.io", "java.nio", "sun.nio.ch", "java.lang.reflect", "java.text",
                    "java.time", "java.util", "java.util.concurrent", "java.util.concurrent.atomic",
                    "java.util.concurrent.locks")
]
# Flink 2.2's own option, pekko.startup-timeout, sets a key that Pekko does not read: it stays at 10 s.
STARTUP = "-Dpekko.remote.classic.startup-timeout=180s"
LOG4J = """rootLogger.level = INFO
rootLogger.appenderRef.console.ref = console
appender.console.name = console
appender.console.type = CONSOLE
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{HH:mm:ss.SSS} %-5p %c{1} %m%n
logger.kafka.name = org.apache.kafka
logger.kafka.level = WARN
"""


class Flink:
    """`ha`: a JobManager that is started again continues its jobs, as it finds them in ZooKeeper."""

    def __init__(self, folder, ha=False, task_managers=2):
        self.folder, self.ha = folder, ha
        self.conf = os.path.join(folder, "conf")
        os.makedirs(self.conf)
        self.rpc, self.rest, self.zookeeper_port = free_port(), free_port(), free_port()
        self._configure()
        self.zookeeper = self._zookeeper() if ha else None
        self.job_manager = self._process("JobManager", "jobmanager", [
            "-Xmx448m", "-XX:MaxMetaspaceSize=256m", "-XX:+UseSerialGC", *OPENS, *self._logging(), STARTUP,
            "-cp", LIB, "org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint", "--configDir", self.conf,
        ])
        self.task_managers = [self._task_manager(n + 1) for n in range(task_managers)]
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        say(f"Flink at http://127.0.0.1:{self.rest}, {task_managers} TaskManagers")

    def _start(self):
        for process in self._processes():
            process.start()
        wait_until("the TaskManagers", self._is_complete, 400)

    def _processes(self):
        return [process for process in (self.zookeeper, self.job_manager, *self.task_managers) if process]

    def _is_complete(self):
        for process in self._processes():
            if not process.runs():
                raise RuntimeError(f"{process.name} ended: {process.tail()}")
        return self._registered() == len(self.task_managers)

    def _configure(self):
        options = {
            "jobmanager.rpc.address": "127.0.0.1", "jobmanager.rpc.port": self.rpc,
            "rest.address": "127.0.0.1", "rest.bind-address": "127.0.0.1", "rest.port": self.rest,
            "jobmanager.bind-host": "127.0.0.1", "jobmanager.memory.process.size": "1024m",
            "taskmanager.host": "127.0.0.1", "taskmanager.bind-host": "127.0.0.1",
            "taskmanager.memory.process.size": os.environ.get("FLEET_TM_MEMORY", "1280m"),
            "taskmanager.memory.jvm-metaspace.size": "256m", "taskmanager.numberOfTaskSlots": 2,
            "state.backend.type": "rocksdb", "execution.checkpointing.incremental": "true",
            "execution.checkpointing.dir": f"file://{self.folder}/checkpoints",
            "execution.checkpointing.savepoint-dir": f"file://{self.folder}/savepoints",
            "execution.checkpointing.timeout": "60 s", "execution.checkpointing.tolerable-failed-checkpoints": 100,
            "restart-strategy.type": "fixed-delay", "restart-strategy.fixed-delay.attempts": 1000,
            "restart-strategy.fixed-delay.delay": "1 s",
            # A busy machine may need longer than the defaults of 10 s and 1 min.
            "pekko.ask.timeout": "60 s", "client.timeout": "300 s",
            # The default of 50 s suits larger clusters.
            "heartbeat.interval": 2000, "heartbeat.timeout": 25000,
            "io.tmp.dirs": self.folder, "web.tmpdir": self.folder, "parallelism.default": 2,
            # Both TaskManagers have tasks: by default one gets all that fit into its slots.
            "taskmanager.load-balance.mode": "SLOTS",
        }
        if self.ha:
            options |= {
                "high-availability.type": "zookeeper",
                "high-availability.zookeeper.quorum": f"127.0.0.1:{self.zookeeper_port}",
                "high-availability.storageDir": f"file://{self.folder}/ha",
                "high-availability.zookeeper.client.session-timeout": 25000,
            }
        with open(os.path.join(self.conf, "config.yaml"), "w") as out:
            out.writelines(f"{key}: {value}\n" for key, value in options.items())
        with open(os.path.join(self.conf, "log4j.properties"), "w") as out:
            out.write(LOG4J)

    def _logging(self):
        return [f"-Dlog4j.configurationFile=file:{self.conf}/log4j.properties"]

    def _process(self, name, log, options):
        return Process(name, ["java", *options], os.path.join(self.folder, f"{log}.log"), {"FLINK_CONF_DIR": self.conf})

    def _zookeeper(self):
        with open(os.path.join(self.conf, "zoo.cfg"), "w") as out:
            out.write(f"tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={self.folder}/zookeeper\n"
                      f"clientPort={self.zookeeper_port}\nadmin.enableServer=false\nserver.1=127.0.0.1:{free_port()}:{free_port()}\n")
        return self._process("ZooKeeper", "zookeeper", [
            "-Xmx128m", "-XX:+UseSerialGC", *self._logging(), "-cp", LIB,
            "org.apache.flink.runtime.zookeeper.FlinkZooKeeperQuorumPeer",
            "--zkConfigFile", os.path.join(self.conf, "zoo.cfg"), "--peerId", "1",
        ])

    def _task_manager(self, n):
        jvm, dynamic = self._task_manager_options()
        process = self._process(f"TaskManager {n}", f"taskmanager{n}", [
            *jvm, "-XX:+UseSerialGC", *OPENS, *self._logging(), STARTUP, "-cp", LIB,
            "org.apache.flink.runtime.taskexecutor.TaskManagerRunner", "--configDir", self.conf,
            *dynamic, "-D", f"taskmanager.resource-id=tm{n}",
        ])
        process.resource = f"tm{n}"
        return process

    def _task_manager_options(self):
        """Returns the options of the JVM and of Flink that follow from the memory of the process."""
        out = subprocess.run(
            ["java", *self._logging(), "-cp", f"{HOME}/bin/bash-java-utils.jar:{LIB}",
             "org.apache.flink.runtime.util.bash.BashJavaUtils", "GET_TM_RESOURCE_PARAMS", "--configDir", self.conf],
            check=True, capture_output=True, text=True,
        ).stdout
        results = [line.partition("BASH_JAVA_UTILS_EXEC_RESULT:")[2].split()
                   for line in out.splitlines() if "BASH_JAVA_UTILS_EXEC_RESULT:" in line]
        return results[0], results[1]

    # --- jobs --------------------------------------------------------------------

    def rest_get(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.rest}{path}", timeout=10) as reply:
            return json.load(reply)

    def _registered(self):
        try:
            return self.rest_get("/overview")["taskmanagers"]
        except OSError:
            return None

    def cli(self, *arguments):
        done = subprocess.run(
            ["java", "-Xmx512m", "-XX:+UseSerialGC", *OPENS, *self._logging(), "-cp", LIB,
             "org.apache.flink.client.cli.CliFrontend", *arguments],
            capture_output=True, text=True, env={**os.environ, "FLINK_CONF_DIR": self.conf},
        )
        if done.returncode != 0:
            raise RuntimeError(f"flink {' '.join(arguments)}: {done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout

    def submit(self, jar, config, restore=None, parallelism=2):
        options = ["-s", restore] if restore else []
        out = self.cli("run", "-d", "-p", str(parallelism), *options, jar, config)
        job = out.rpartition("JobID ")[2].split()[0]
        self.wait_for_checkpoint(job, 0)
        say(f"job {job} runs")
        return job

    def state(self, job):
        try:
            return self.rest_get(f"/jobs/{job}")["state"]
        except OSError:
            return None

    def _checkpoint_count(self, job, kind):
        try:
            return self.rest_get(f"/jobs/{job}/checkpoints")["counts"][kind]
        except OSError:
            return None

    def checkpoints(self, job):
        """Returns how many checkpoints were completed, as this JobManager knows."""
        return self._checkpoint_count(job, "completed")

    def restores(self, job):
        """Returns how often the job continued from a checkpoint, as this JobManager knows."""
        return self._checkpoint_count(job, "restored")

    def task_manager_of(self, job):
        """Returns a TaskManager that runs tasks of the job."""
        tasks = {}
        for vertex in self.rest_get(f"/jobs/{job}")["vertices"]:
            for each in self.rest_get(f"/jobs/{job}/vertices/{vertex['id']}/taskmanagers")["taskmanagers"]:
                running = each["status-counts"]["RUNNING"]
                tasks[each["taskmanager-id"]] = tasks.get(each["taskmanager-id"], 0) + running
        say(f"running tasks: {tasks}")
        busiest = max(tasks, key=tasks.get)
        return next(each for each in self.task_managers if each.resource == busiest)

    def wait_for_checkpoint(self, job, more_than, seconds=400):
        return wait_until(f"a checkpoint of job {job}", lambda: (self.checkpoints(job) or 0) > more_than, seconds)

    def latest_checkpoint(self, job):
        found = glob.glob(os.path.join(self.folder, "checkpoints", job, "chk-*", "_metadata"))
        return os.path.dirname(max(found, key=os.path.getmtime))

    def stop_with_savepoint(self, job):
        out = self.cli("stop", "--savepointPath", f"file://{self.folder}/savepoints", job)
        path = out.rpartition("Path: ")[2].split()[0]
        say(f"savepoint {path}")
        return path

    def stop(self):
        for process in reversed(self._processes()):
            process.stop(5)
