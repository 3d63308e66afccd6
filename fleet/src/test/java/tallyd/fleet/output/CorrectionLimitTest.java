package tallyd.fleet.output;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;

import java.time.Duration;
import java.util.List;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.streaming.api.operators.KeyedProcessOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.util.KeyedOneInputStreamOperatorTestHarness;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class CorrectionLimitTest {
    private KeyedOneInputStreamOperatorTestHarness<String, Result, Result> harness;

    @BeforeEach
    void open() throws Exception {
        harness = harness();
        harness.open();
        harness.setProcessingTime(1_000);
    }

    @AfterEach
    void close() throws Exception {
        harness.close();
    }

    private static KeyedOneInputStreamOperatorTestHarness<String, Result, Result> harness() throws Exception {
        return harness(Duration.ofSeconds(5));
    }

    private static KeyedOneInputStreamOperatorTestHarness<String, Result, Result> harness(Duration pause)
            throws Exception {
        return new KeyedOneInputStreamOperatorTestHarness<>(
                new KeyedProcessOperator<>(new CorrectionLimit(pause)),
                result -> result.series, Types.STRING);
    }

    private void result(String series, long windowEnd, String json) throws Exception {
        Result result = new Result();
        result.series = series;
        result.kind = "counter";
        result.windowEnd = windowEnd;
        result.windowMillis = 10_000;
        result.json = json.getBytes(UTF_8);
        harness.processElement(result, 0);
    }

    /** The series and content of all results that passed, in order. */
    private List<String> passed() {
        return harness.extractOutputValues().stream()
                .map(result -> result.series + " " + new String(result.json, UTF_8))
                .toList();
    }

    @Test
    void theFirstResultPassesAtOnceAndOfItsCorrectionsOnlyTheLatestInEachPause() throws Exception {
        for (int number = 1; number <= 1_000; number++) {
            result("s", 10_000, "v" + number);
        }
        assertEquals(List.of("s v1"), passed());
        harness.setProcessingTime(5_999);
        assertEquals(List.of("s v1"), passed());
        harness.setProcessingTime(6_000);
        assertEquals(List.of("s v1", "s v1000"), passed());
        result("s", 10_000, "v1001");
        harness.setProcessingTime(10_999);
        assertEquals(List.of("s v1", "s v1000"), passed());
        harness.setProcessingTime(11_000);
        assertEquals(List.of("s v1", "s v1000", "s v1001"), passed());
    }

    @Test
    void aCorrectionAfterAQuietPausePassesAtOnceAndLeavesNoStateLater() throws Exception {
        result("s", 10_000, "v1");
        harness.setProcessingTime(6_000);
        result("s", 10_000, "v2");
        assertEquals(List.of("s v1", "s v2"), passed());
        harness.setProcessingTime(11_000);
        assertEquals(0, harness.numKeyedStateEntries());
        assertEquals(0, harness.numProcessingTimeTimers());
        assertEquals(0, harness.numEventTimeTimers());
    }

    @Test
    void otherWindowsAndSeriesDoNotWaitAndTheWindowsOfASeriesStayInOrder() throws Exception {
        result("s", 20_000, "w2");
        result("s", 10_000, "w1");
        result("t", 10_000, "t1");
        result("s", 20_000, "w2 corrected");
        result("s", 10_000, "w1 corrected");
        assertEquals(List.of("s w2", "s w1", "t t1"), passed());
        harness.setProcessingTime(6_000);
        assertEquals(List.of("s w2", "s w1", "t t1", "s w1 corrected", "s w2 corrected"), passed());
        assertEquals(0, harness.numEventTimeTimers());
    }

    @Test
    void aCorrectionThatWaitsSurvivesARestore() throws Exception {
        result("s", 10_000, "v1");
        result("s", 10_000, "v2");
        var snapshot = harness.snapshot(1, 1_000);
        harness.close();
        harness = harness();
        harness.initializeState(snapshot);
        harness.open();
        harness.setProcessingTime(60_000);
        assertEquals(List.of("s v2"), passed());
    }

    @Test
    void theEndOfTheStreamPassesWhatWaits() throws Exception {
        result("s", 10_000, "v1");
        result("s", 10_000, "v2");
        harness.processWatermark(Watermark.MAX_WATERMARK);
        assertEquals(List.of("s v1", "s v2"), passed());
    }

    @Test
    void aCorrectionThatWaitsPassesAfterThePauseWasRemoved() throws Exception {
        result("s", 10_000, "v1");
        result("s", 10_000, "v2");
        var snapshot = harness.snapshot(1, 1_000);
        harness.close();
        harness = harness(Duration.ZERO);
        harness.initializeState(snapshot);
        harness.open();
        harness.setProcessingTime(60_000);
        result("s", 10_000, "v3");
        result("s", 10_000, "v4");
        harness.setProcessingTime(60_001);
        assertEquals("s v4", passed().get(passed().size() - 1), passed().toString());
        assertEquals("s v2", passed().get(0));
    }
}
