package tallyd.fleet;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import org.apache.flink.api.common.functions.MapFunction;
import org.apache.flink.api.common.state.CheckpointListener;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.core.execution.JobClient;
import org.apache.flink.core.execution.SavepointFormatType;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.sink.v2.DiscardingSink;
import org.apache.flink.streaming.api.functions.source.legacy.RichSourceFunction;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import tallyd.fleet.config.ConfigReader;
import tallyd.fleet.ingest.Arrival;
import tallyd.fleet.output.Result;
import tallyd.fleet.sketch.Samples;

/** Jobs that continue from a checkpoint or a savepoint have the results of one that never stopped. */
class RestoreTest {
    private static final String CONFIG = """
            kafka: {brokers: "unused:1"}
            input: {topic: metrics}
            output: {topic: metrics.fleet}
            windows: [WINDOWS]
            percentiles: [PERCENTILES]
            time: {grace: 2h, correct_every: 0ms}
            groups: [{by: [env]}]
            """;
    /** Windows of 10 s of one hour. */
    private static final int HOUR = 360;

    /** The functions of a job run in threads of this process, one job at a time. */
    private static final List<Arrival> INPUT = new ArrayList<>();
    private static final AtomicInteger ALLOWED = new AtomicInteger();
    private static final AtomicInteger READ = new AtomicInteger();
    private static final AtomicInteger FAILURES_LEFT = new AtomicInteger();
    private static final AtomicInteger STARTS = new AtomicInteger();
    private static final AtomicInteger CHECKPOINTS = new AtomicInteger();
    /** The JSON of the latest result of each key, as consumers see it. */
    private static final Map<String, String> RESULTS = new ConcurrentHashMap<>();

    private final Arrivals arrivals = new Arrivals();
    private JobClient job;

    /** Emits the arrivals up to the allowed one, and stores its position, as a partition of Kafka. */
    private static final class Partition extends RichSourceFunction<Arrival> implements CheckpointedFunction {
        private transient ListState<Integer> stored;
        private transient int position;
        private volatile boolean cancelled;

        @Override
        public void run(SourceContext<Arrival> context) throws Exception {
            STARTS.incrementAndGet();
            while (!cancelled && position < INPUT.size()) {
                if (position >= ALLOWED.get()) {
                    Thread.sleep(5);
                    continue;
                }
                synchronized (context.getCheckpointLock()) {
                    context.collect(INPUT.get(position++));
                    READ.set(position);
                }
            }
        }

        @Override
        public void cancel() {
            cancelled = true;
        }

        @Override
        public void initializeState(FunctionInitializationContext context) throws Exception {
            stored = context.getOperatorStateStore().getListState(new ListStateDescriptor<>("position", Types.INT));
            for (int each : stored.get()) {
                position = each;
            }
        }

        @Override
        public void snapshotState(FunctionSnapshotContext context) throws Exception {
            stored.update(List.of(position));
        }
    }

    /** Keeps results, and fails after a checkpoint if the test wants that. */
    private static final class Consumer implements MapFunction<Result, Result>, CheckpointListener {
        private volatile boolean completed;

        @Override
        public Result map(Result result) {
            if (completed && FAILURES_LEFT.getAndUpdate(left -> Math.max(left - 1, 0)) > 0) {
                throw new IllegalStateException("the test wants the job to fail");
            }
            RESULTS.put(result.key(), new String(result.json, UTF_8));
            return result;
        }

        @Override
        public void notifyCheckpointComplete(long checkpoint) {
            completed = true;
            CHECKPOINTS.incrementAndGet();
        }
    }

    @AfterEach
    void endJob() {
        // Only after a failure of the test: its cluster ends with the job.
        if (job != null) {
            job.cancel().join();
        }
    }

    @BeforeEach
    void reset() {
        INPUT.clear();
        RESULTS.clear();
        ALLOWED.set(0);
        READ.set(0);
        STARTS.set(0);
        CHECKPOINTS.set(0);
        FAILURES_LEFT.set(0);
    }

    private void start(String windows, String percentiles, int parallelism, String restoreFrom)
            throws Exception {
        Configuration options = new Configuration();
        options.setString("restart-strategy.type", "fixed-delay");
        options.setString("restart-strategy.fixed-delay.attempts", "10");
        options.setString("restart-strategy.fixed-delay.delay", "10 ms");
        if (restoreFrom != null) {
            options.setString("execution.state-recovery.path", restoreFrom);
        }
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(options);
        environment.setParallelism(parallelism);
        environment.setMaxParallelism(16);
        environment.enableCheckpointing(50);
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        String config = CONFIG.replace("WINDOWS", windows).replace("PERCENTILES", percentiles);
        new FleetPipeline(tables, ConfigReader.parse("test.yaml", config))
                .build(environment.addSource(new Partition(), "records", TypeInformation.of(Arrival.class))
                        .uid("records")
                        .assignTimestampsAndWatermarks(Arrivals.watermarks()))
                .results()
                .map(new Consumer())
                .uid("consumer")
                .sinkTo(new DiscardingSink<>());
        job = environment.executeAsync();
    }

    private static void waitFor(String what, BooleanSupplier condition) throws InterruptedException {
        Instant deadline = Instant.now().plus(Duration.ofMinutes(2));
        while (!condition.getAsBoolean()) {
            assertTrue(Instant.now().isBefore(deadline), () -> what + ": not within two minutes, " + RESULTS.size());
            Thread.sleep(10);
        }
    }

    /** What the hosts of a fleet send in these windows, and a part of it again, as a tallyd that was killed does. */
    private void send(int from, int to) {
        for (int window = from; window < to; window++) {
            arrivals.counter("a", "c", "p", window, window);
            arrivals.counter("b", "c", "p", window, 0.25);
            arrivals.record("a", "timer", "t", "\"env\":\"p\"", window,
                    "\"count\":2,\"mean\":2,\"stddev\":1", Samples.timer(List.of(1.0, 3.0)));
            if (window % 3 == 0) {
                arrivals.counter("a", "c", "p", window, window);
            }
            arrivals.time(window);
        }
    }

    private static void allow(int arrivals) {
        ALLOWED.set(arrivals);
    }

    private void finish() throws Exception {
        allow(INPUT.size());
        job.getJobExecutionResult().get(2, TimeUnit.MINUTES);
        job = null;
    }

    private static double field(String key, String name) {
        String json = RESULTS.get(key);
        assertTrue(json != null, () -> key + " in " + RESULTS.keySet());
        String from = json.substring(json.indexOf("\"" + name + "\":") + name.length() + 3);
        return Double.parseDouble(from.split("[,}]")[0]);
    }

    private static String key(String metric, int window) {
        return metric + ";10s;" + Arrivals.end(window);
    }

    private static void assertExact(int from, int to) {
        for (int window = from; window < to; window++) {
            assertEquals(window + 0.25, field(key("c,env=p;counter", window), "count"), "window " + window);
            assertEquals(2, field(key("t,env=p;timer", window), "count"), "window " + window);
        }
    }

    @Test
    void aJobThatFailsContinuesAtItsLastCheckpointAndCountsEverythingOnce() throws Exception {
        send(1, 400);
        INPUT.addAll(arrivals.list());
        start("10s", "50", 2, null);
        // Otherwise the first start would be taken for the one after the first failure.
        waitFor("the start", () -> STARTS.get() > 0);
        for (int failures = 1; failures <= 3; failures++) {
            int started = STARTS.get();
            allow(INPUT.size() * failures / 4);
            waitFor("the first part", () -> READ.get() >= ALLOWED.get());
            FAILURES_LEFT.set(1);
            waitFor("a failure", () -> {
                // The next result after a checkpoint fails.
                allow(Math.min(ALLOWED.get() + 1, INPUT.size() - 1));
                return FAILURES_LEFT.get() == 0;
            });
            waitFor("a start from a checkpoint", () -> STARTS.get() > started);
        }
        finish();
        assertExact(1, 400);
        assertEquals(4, STARTS.get());
    }

    @Test
    void anUpgradedJobContinuesFromASavepoint(@TempDir Path folder) throws Exception {
        send(1, 4);
        // Window 4 is open at the savepoint, and has records before and after it.
        arrivals.counter("a", "c", "p", 4, 4);
        INPUT.addAll(arrivals.list());
        start("10s", "50", 2, null);
        allow(INPUT.size() - 1);
        waitFor("the first results", () -> RESULTS.containsKey(key("c,env=p;counter", 3)));
        // The source must not end: a job that has ended has no savepoint.
        INPUT.add(INPUT.get(INPUT.size() - 1));
        allow(INPUT.size() - 1);
        waitFor("the open window", () -> READ.get() == ALLOWED.get());
        // A savepoint is refused until all tasks run, and so is a checkpoint.
        waitFor("a checkpoint", () -> CHECKPOINTS.get() > 0);
        String savepoint = job.stopWithSavepoint(false, folder.toUri().toString(), SavepointFormatType.CANONICAL)
                .get(1, TimeUnit.MINUTES);
        INPUT.subList(arrivals.list().size(), INPUT.size()).clear();

        // Everything of before is a repeat, and late; a correction of a window of before the savepoint is not.
        List<Arrival> repeats = List.copyOf(arrivals.list());
        repeats.stream().filter(arrival -> arrival.problem == null).forEach(arrivals.list()::add);
        arrivals.counter("c", "c", "p", 2, 1000);
        arrivals.counter("b", "c", "p", 4, 0.25);
        arrivals.record("a", "timer", "t", "\"env\":\"p\"", 4,
                "\"count\":2,\"mean\":2,\"stddev\":1", Samples.timer(List.of(1.0, 3.0)));
        arrivals.time(4);
        send(5, 8);
        arrivals.time(12);
        INPUT.addAll(arrivals.list().subList(INPUT.size(), arrivals.list().size()));
        start("10s, 1m", "50, 99.9", 3, savepoint);
        finish();

        assertEquals(1000 + 2.25, field(key("c,env=p;counter", 2), "count"));
        assertExact(3, 8);
        assertEquals(3, field(key("t,env=p;timer", 5), "p99_9"));
        assertEquals(7 + 0.25, field("c,env=p;counter;60s;" + Arrivals.end(12), "count"));
    }

    @Test
    void aHostThatReturnsWithAnHourOfSpooledRecordsCorrectsEachWindow() throws Exception {
        for (int window = 1; window <= HOUR; window++) {
            arrivals.counter("a", "c", "p", window, window);
            arrivals.counter("stopped", "c", "p", window, window <= 10 ? 1000 : 0);
            arrivals.time(window);
        }
        for (int window = 1; window <= HOUR; window++) {
            arrivals.counter("returned", "c", "p", window, 0.25);
        }
        INPUT.addAll(arrivals.list());
        start("10s", "50", 1, null);
        allow(INPUT.size() - HOUR);
        waitFor("the last window without the host",
                () -> RESULTS.getOrDefault(key("c,env=p;counter", HOUR), "").contains("\"count\":360,"));
        assertEquals(11, field(key("c,env=p;counter", 11), "count"));
        finish();
        for (int window = 1; window <= HOUR; window++) {
            double stopped = window <= 10 ? 1000 : 0;
            assertEquals(window + stopped + 0.25, field(key("c,env=p;counter", window), "count"), "window " + window);
        }
    }
}
