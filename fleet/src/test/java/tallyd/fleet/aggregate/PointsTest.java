package tallyd.fleet.aggregate;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.time.Instant;
import java.util.List;
import org.apache.flink.streaming.api.operators.ProcessOperator;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.apache.flink.types.Row;
import org.junit.jupiter.api.Test;
import tallyd.fleet.config.ConfigReader;
import tallyd.fleet.config.FleetConfig;
import tallyd.fleet.ingest.Arrival;

class PointsTest {
    private static final FleetConfig CONFIG = ConfigReader.parse("test.yaml", """
            kafka: {brokers: "unused:1"}
            input: {topic: metrics}
            output: {topic: metrics.fleet, not_before: "2027-01-15T08:00:00Z"}
            groups: [{by: []}]
            """);
    private static final long NOT_BEFORE = Instant.parse("2027-01-15T08:00:00Z").toEpochMilli();

    private static Arrival counter(long windowEnd) {
        Arrival arrival = new Arrival();
        arrival.instance = "a";
        arrival.kind = "counter";
        arrival.windowEnd = windowEnd;
        arrival.series = "c";
        arrival.value = ("{\"name\":\"c\",\"type\":\"counter\",\"timestamp\":" + windowEnd
                + ",\"tags\":{},\"fields\":{\"count\":1}}").getBytes(UTF_8);
        return arrival;
    }

    /** The lengths of the windows in which a record counts. */
    private static List<Object> windows(long windowEnd) throws Exception {
        Points points = new Points(CONFIG.groups(), CONFIG.output().notBefore().toEpochMilli());
        try (var harness = new OneInputStreamOperatorTestHarness<Arrival, Row>(new ProcessOperator<>(points))) {
            harness.open();
            harness.processElement(counter(windowEnd), windowEnd);
            return harness.extractOutputValues().stream().map(row -> row.getField(3)).toList();
        }
    }

    @Test
    void windowsThatBeginBeforeTheConfiguredTimeHaveNoResults() throws Exception {
        assertEquals(List.of(), windows(NOT_BEFORE));
        assertEquals(List.of(10_000L, 60_000L), windows(NOT_BEFORE + 10_000));
    }

    @Test
    void eachLengthOfWindowHasAStartOfItsOwn() throws Exception {
        Points points = new Points(CONFIG.groups(), NOT_BEFORE + 10_000);
        try (var harness = new OneInputStreamOperatorTestHarness<Arrival, Row>(new ProcessOperator<>(points))) {
            harness.open();
            harness.processElement(counter(NOT_BEFORE + 20_000), 0);
            assertEquals(List.of(10_000L), harness.extractOutputValues().stream().map(row -> row.getField(3)).toList());
        }
    }
}
