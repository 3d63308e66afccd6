package tallyd.fleet;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.IntStream;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.util.CloseableIterator;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import tallyd.fleet.config.ConfigReader;
import tallyd.fleet.ingest.Arrival;
import tallyd.fleet.ingest.Rejection;
import tallyd.fleet.output.Result;
import tallyd.fleet.sketch.Samples;

/**
 * One run of the job on a MiniCluster, with all that can happen to records; the tests look at its results.
 * Starting a job takes seconds, so there is one for all tests.
 */
class FleetPipelineTest {
    private static final long START = Arrivals.START;
    private static final String CONFIG = """
            kafka: {brokers: "unused:1"}
            input: {topic: metrics}
            output: {topic: metrics.fleet, prefix: "fleet.", tags: {fleet: all}}
            windows: [10s, 1m]
            percentiles: [50, 99.9]
            time: {grace: 10m, correct_every: 0ms, idle_after: 30s}
            groups:
              - {match: "sum.*", by: [env], windows: [10s], gauge: sum}
              - {match: "both", by: [[], [env]], windows: [10s]}
              - {match: "part", by: [[env], [env, service]], windows: [10s]}
              - {match: "ignored.*", by: [env], windows: [1m]}
              - {match: "[a-z]*", by: [env]}
              - {match: "*.x", by: [env, service], windows: [10s]}
            queries:
              - name: hosts
                window: 10s
                sql: >
                  SELECT 'gauge' AS kind, 'hosts' AS metric, `grouping`,
                         TUMBLE_END(row_time, INTERVAL '10' SECOND) AS window_end,
                         CAST(COUNT(DISTINCT SPLIT_INDEX(series, CHR(0), 0)) AS DOUBLE) AS `last`
                  FROM points WHERE window_ms = 10000
                  GROUP BY `grouping`, TUMBLE(row_time, INTERVAL '10' SECOND)
            """;
    private static final Arrivals INPUT = new Arrivals();
    /** The JSON of each key's results, in order. */
    private static final Map<String, List<String>> RESULTS = new TreeMap<>();
    private static final Map<String, List<String>> REJECTED = new TreeMap<>();

    private static void timer(String host, List<Double> samples) {
        double mean = samples.stream().mapToDouble(i -> i).average().orElseThrow();
        double squares = samples.stream().mapToDouble(i -> (i - mean) * (i - mean)).sum();
        INPUT.record(host, "timer", "sum.t.x", "\"env\":\"p\"", 1, "\"count\":" + samples.size() + ",\"mean\":" + mean
                + ",\"stddev\":" + Math.sqrt(squares / samples.size()), Samples.timer(samples));
    }

    private static List<Double> samples(int from, int to) {
        return IntStream.rangeClosed(from, to).mapToObj(i -> (double) i).toList();
    }

    private static List<String> members(int from, int to) {
        return IntStream.rangeClosed(from, to).mapToObj(i -> "m" + i).toList();
    }

    private static void input() {
        INPUT.counter("a", "sum.c", "p", 1, 3);
        INPUT.counter("b", "sum.c", "p", 1, 4.5);
        INPUT.counter("b", "sum.c", "q", 1, 100);
        // A repeat of the same record.
        INPUT.counter("a", "sum.c", "p", 1, 3);
        INPUT.counter("a", "both", "p", 1, 1);
        INPUT.counter("a", "both", "q", 1, 2);
        INPUT.counter("a", "ignored.x", "p", 1, 5);
        INPUT.counter("a", "unmatched", "p", 1, 5);
        INPUT.record("a", "trace", "sum.c", "\"env\":\"p\"", 1, "\"count\":7");
        timer("a", samples(1, 500));
        timer("b", samples(501, 1000));
        INPUT.record("c", "timer", "sum.t.x", "\"env\":\"p\"", 1, "\"count\":0,\"rate\":0");
        INPUT.record("c", "set", "sum.s.x", "\"env\":\"p\"", 1, "\"count\":0");
        INPUT.record("a", "set", "sum.s.x", "\"env\":\"p\"", 1, "\"count\":3000", Samples.set(members(1, 3000)));
        INPUT.record("b", "set", "sum.s.x", "\"env\":\"p\"", 1, "\"count\":3000", Samples.set(members(2001, 5000)));
        INPUT.record("a", "gauge", "sum.g.x", "\"env\":\"p\"", 1, "\"value\":10");
        INPUT.record("b", "gauge", "sum.g.x", "\"env\":\"p\"", 1, "\"value\":-4");
        INPUT.record("a", "timer", "no.sketch", "", 1, "\"count\":1");
        INPUT.record("a", "timer", "bad.sketch", "", 1, "\"count\":1", new byte[] {1, 2, 3});
        for (String host : List.of("a", "b")) {
            INPUT.record(host, "timer", "sum.t.x", "\"env\":\"forged\"", 1, "\"count\":1", Samples.timer(1e308));
        }
        INPUT.record("c", "timer", "sum.t.x", "\"env\":\"forged\"", 1, "\"count\":1", Samples.timer(1));
        INPUT.record("a", "counter", "part", "\"env\":\"p\"", 1, "\"count\":1");
        INPUT.record("a", "counter", "part", "\"env\":\"p\",\"service\":\"s\"", 1, "\"count\":2");
        INPUT.arrival("a", "counter", "k", START + 10_000, "not json");
        INPUT.arrival("a", "gauge", "k", START + 10_000,
                "{\"name\":\"x\",\"type\":\"counter\",\"timestamp\":" + (START + 10_000) + ",\"fields\":{\"count\":1}}");
        INPUT.arrival("a", "counter", "k", START + 900_000, "{}").problem = Rejection.CLOCK_AHEAD;
        INPUT.time(2);
        // Late, but within the grace period: a host that was cut off. And its repeat.
        INPUT.counter("c", "sum.c", "p", 1, 0.5);
        INPUT.counter("c", "sum.c", "p", 1, 0.5);
        INPUT.counter("a", "sum.c", "p", 30, 1);
        INPUT.time(59);
        // 9 min 40 s late, then beyond the grace period.
        INPUT.counter("d", "sum.c", "p", 1, 1000);
        INPUT.time(62);
        INPUT.counter("e", "sum.c", "p", 1, 5000);
    }

    @BeforeAll
    static void run() throws Exception {
        input();
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment();
        environment.setParallelism(1);
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        DataStream<Arrival> arrivals = environment
                .fromData(TypeInformation.of(Arrival.class), INPUT.list().toArray(Arrival[]::new))
                .assignTimestampsAndWatermarks(Arrivals.watermarks());
        FleetPipeline.Streams streams =
                new FleetPipeline(tables, ConfigReader.parse("test.yaml", CONFIG)).build(arrivals);
        try (CloseableIterator<Result> results = streams.results().collectAsync();
                CloseableIterator<Rejection> rejections = streams.rejections().collectAsync()) {
            environment.execute();
            results.forEachRemaining(result -> RESULTS
                    .computeIfAbsent(key(result), any -> new ArrayList<>())
                    .add(new String(result.json, UTF_8)));
            rejections.forEachRemaining(rejection -> REJECTED
                    .computeIfAbsent(rejection.reason, any -> new ArrayList<>())
                    .add(rejection.detail));
        }
    }

    /** The key, with the number of the window instead of its end. */
    private static String key(Result result) {
        return result.key().replace(
                ";" + result.windowEnd, ";" + (result.windowEnd - START) / result.windowMillis);
    }

    private static String only(String key) {
        assertTrue(RESULTS.containsKey(key), key + " in " + RESULTS.keySet());
        assertEquals(1, RESULTS.get(key).size(), () -> RESULTS.get(key).toString());
        return RESULTS.get(key).get(0);
    }

    private static double field(String json, String name) {
        String from = json.substring(json.indexOf("\"" + name + "\":") + name.length() + 3);
        return Double.parseDouble(from.split("[,}]")[0]);
    }

    @Test
    void aCounterIsTheExactSumOfItsGroupInTallydsFormat() {
        assertEquals("{\"name\":\"fleet.sum.c\",\"type\":\"counter\",\"timestamp\":" + (START + 10_000)
                + ",\"interval\":10,\"tags\":{\"env\":\"q\",\"fleet\":\"all\"},\"fields\":{\"count\":100,\"rate\":10}}",
                only("fleet.sum.c,env=q,fleet=all;counter;10s;1"));
    }

    @Test
    void aTraceWithTheNameOfACounterIsASeriesOfItsOwn() {
        assertEquals(7, field(only("fleet.sum.c,env=p,fleet=all;trace;10s;1"), "count"));
    }

    @Test
    void duplicatesCountOnceAndLateWindowsCorrectTheResult() {
        List<Double> counts = RESULTS.get("fleet.sum.c,env=p,fleet=all;counter;10s;1").stream()
                .map(json -> field(json, "count"))
                .toList();
        assertEquals(List.of(7.5, 8.0, 1008.0), counts);
    }

    @Test
    void aRecordBeyondTheGracePeriodIsRejected() {
        assertEquals(1, REJECTED.get(Rejection.LATE).size());
    }

    @Test
    void rejectedRecordsHaveTheirReasons() {
        assertEquals(1, REJECTED.get(Rejection.CLOCK_AHEAD).size());
        assertEquals(2, REJECTED.get(Rejection.MALFORMED).size());
        assertEquals(List.of("set `sketches: true` in tallyd's kafka section"), REJECTED.get(Rejection.NO_SKETCH));
        assertEquals(3, REJECTED.get(Rejection.INVALID_SKETCH).size());
    }

    @Test
    void mergedTimersHaveThePercentilesOfAllSamples() {
        String json = only("fleet.sum.t.x,env=p,fleet=all;timer;10s;1");
        assertEquals(1000, field(json, "count"));
        assertEquals(500_500, field(json, "sum"));
        assertEquals(1, field(json, "min"));
        assertEquals(1000, field(json, "max"));
        assertEquals(500.5, field(json, "mean"));
        assertEquals(Math.sqrt((1000.0 * 1000 - 1) / 12), field(json, "stddev"), 1e-6);
        assertEquals(500, field(json, "p50"), 5);
        assertEquals(999, field(json, "p99_9"), 10);
        assertTrue(json.contains("\"sketch\":\""), json);
    }

    @Test
    void mergedSetsCountEachMemberOnce() {
        assertEquals(5000, field(only("fleet.sum.s.x,env=p,fleet=all;set;10s;1"), "count"), 100);
    }

    @Test
    void theValueOfAGaugeIsTheFieldThatItsGroupSelects() {
        String json = only("fleet.sum.g.x,env=p,fleet=all;gauge;10s;1");
        assertEquals(6, field(json, "value"));
        assertEquals(6, field(json, "sum"));
        assertEquals(3, field(json, "mean"));
        assertEquals(-4, field(json, "min"));
        assertEquals(10, field(json, "max"));
        assertEquals(10, field(json, "last"));
        assertEquals(2, field(json, "series"));
    }

    @Test
    void aMetricMayHaveSeveralGroupings() {
        assertEquals(3, field(only("fleet.both,fleet=all;counter;10s;1"), "count"));
        assertEquals(1, field(only("fleet.both,env=p,fleet=all;counter;10s;1"), "count"));
        assertEquals(2, field(only("fleet.both,env=q,fleet=all;counter;10s;1"), "count"));
    }

    @Test
    void aRecordWithoutATagCountsOnceInTheGroupThatLacksItToo() {
        assertEquals(3, field(only("fleet.part,env=p,fleet=all;counter;10s;1"), "count"));
        assertEquals(2, field(only("fleet.part,env=p,fleet=all,service=s;counter;10s;1"), "count"));
    }

    @Test
    void sketchesWhoseSumWouldOverflowAreRejectedAndTheJobGoesOn() {
        assertEquals(1, field(only("fleet.sum.t.x,env=forged,fleet=all;timer;10s;1"), "count"));
    }

    @Test
    void theFirstMatchingRuleDecidesTheWindows() {
        assertEquals(5, field(only("fleet.ignored.x,env=p,fleet=all;counter;60s;1"), "count"));
        assertFalse(RESULTS.containsKey("fleet.ignored.x,env=p,fleet=all;counter;10s;1"));
    }

    @Test
    void rowsOfUsersQueriesAreResults() {
        List<String> hosts = RESULTS.get("fleet.hosts,env=p,fleet=all;gauge;10s;1");
        assertEquals(2, field(hosts.get(0), "value"));
        assertEquals(4, field(hosts.get(hosts.size() - 1), "value"));
    }

    @Test
    void aMetricWithoutARuleHasNoResult() {
        assertTrue(RESULTS.keySet().stream().noneMatch(key -> key.contains("unmatched")), RESULTS.keySet().toString());
    }
}
