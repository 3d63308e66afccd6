package tallyd.fleet;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.util.CloseableIterator;
import org.junit.jupiter.api.Test;
import tallyd.fleet.config.ConfigReader;
import tallyd.fleet.ingest.Arrival;
import tallyd.fleet.output.Result;

/** A window whose records all arrive after its end, as those of a host that was cut off, or of a job that is behind. */
class LateWindowTest {
    private static final int HOSTS = 200;
    private static final String CONFIG = """
            kafka: {brokers: "unused:1"}
            input: {topic: metrics}
            output: {topic: metrics.fleet}
            windows: [10s]
            time: {grace: 1h, correct_every: 1h}
            groups: [{by: [env]}]
            """;

    @Test
    void aLateWindowIsCorrectedAtMostOnceInAPauseAndItsLastResultIsComplete() throws Exception {
        Arrivals input = new Arrivals();
        input.time(5);
        for (int host = 1; host <= HOSTS; host++) {
            input.counter("host" + host, "calls", "p", 1, 1);
        }
        List<String> results = run(input);
        assertEquals(2, results.size(), results.toString());
        assertTrue(results.get(0).contains("\"count\":1,"), results.get(0));
        assertTrue(results.get(1).contains("\"count\":" + HOSTS + ","), results.get(1));
    }

    private static List<String> run(Arrivals input) throws Exception {
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment();
        environment.setParallelism(1);
        DataStream<Arrival> arrivals = environment
                .fromData(TypeInformation.of(Arrival.class), input.list().toArray(Arrival[]::new))
                .assignTimestampsAndWatermarks(Arrivals.watermarks());
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        DataStream<Result> stream =
                new FleetPipeline(tables, ConfigReader.parse("test.yaml", CONFIG)).build(arrivals).results();
        List<String> results = new ArrayList<>();
        try (CloseableIterator<Result> each = stream.collectAsync()) {
            environment.execute();
            each.forEachRemaining(result -> results.add(new String(result.json, UTF_8)));
        }
        return results;
    }
}
