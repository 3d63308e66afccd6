package tallyd.fleet.output;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.time.LocalDateTime;
import java.util.List;
import org.apache.flink.streaming.api.operators.StreamFlatMap;
import org.apache.flink.streaming.util.OneInputStreamOperatorTestHarness;
import org.apache.flink.types.Row;
import org.junit.jupiter.api.Test;
import tallyd.fleet.config.ConfigReader;

/** Results that brokers would refuse. */
class ResultMapperTest {
    private static final int LIMIT = 10_000;
    private static final List<String> COLUMNS = List.of("kind", "metric", "grouping", "window_end", "sketch", "count");

    private static List<Result> results(String grouping, int sketchBytes) throws Exception {
        var config = ConfigReader.parse("test.yaml", """
                kafka: {brokers: "unused:1"}
                input: {topic: metrics}
                output: {topic: metrics.fleet, max_record_bytes: %d}
                groups: [{by: [env]}]
                """.formatted(LIMIT));
        ResultMapper mapper = new ResultMapper(COLUMNS, Duration.ofSeconds(10), config);
        try (var harness = new OneInputStreamOperatorTestHarness<Row, Result>(new StreamFlatMap<>(mapper))) {
            harness.open();
            List<Object> values = List.of(
                    "set", "users", grouping, LocalDateTime.of(2027, 1, 15, 8, 0), new byte[sketchBytes], 3.0);
            Row row = Row.withNames();
            for (int i = 0; i < values.size(); i++) {
                row.setField(COLUMNS.get(i), values.get(i));
            }
            harness.processElement(row, 0);
            return harness.extractOutputValues();
        }
    }

    private static boolean hasSketch(Result result) {
        return new String(result.json, UTF_8).contains("\"sketch\":");
    }

    @Test
    void aResultWithinTheLimitHasItsSketch() throws Exception {
        assertTrue(hasSketch(results("env=p", 6_000).get(0)));
    }

    @Test
    void aResultBeyondTheLimitIsWrittenWithoutItsSketch() throws Exception {
        Result result = results("env=p", 8_000).get(0);
        assertFalse(hasSketch(result));
        assertTrue(new String(result.json, UTF_8).contains("\"count\":3"));
    }

    @Test
    void aResultWhoseNamesAloneAreTooLargeIsNotWritten() throws Exception {
        assertEquals(List.of(), results("env=" + "x".repeat(LIMIT), 10));
    }
}
