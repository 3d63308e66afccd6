package tallyd.fleet.ingest;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.util.Optional;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.record.TimestampType;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ArrivalReaderTest {
    private static final long NOW = 1_000_000_000;
    private static final long MAX_AHEAD = 60_000;

    private static final String VALUE =
            "{\"name\":\"a\",\"type\":\"counter\",\"tags\":{\"b\":\"c\"},\"fields\":{\"count\":1}}";

    private static Arrival read(TimestampType type, long timestamp, String window, String instance) {
        return read(type, timestamp, window, instance, "a,b=c".getBytes(UTF_8), VALUE);
    }

    private static Arrival read(
            TimestampType type, long timestamp, String window, String instance, byte[] key, String value) {
        RecordHeaders headers = new RecordHeaders();
        headers.add("tallyd.instance", instance.getBytes(UTF_8)).add("tallyd.kind", "counter".getBytes(UTF_8));
        if (window != null) {
            headers.add("tallyd.window", window.getBytes(UTF_8));
        }
        var record = new ConsumerRecord<>(
                "metrics", 3, 17, timestamp, type, 1, 1, key, value.getBytes(UTF_8), headers, Optional.empty());
        return new ArrivalReader(MAX_AHEAD).read(record, () -> NOW);
    }

    private static Arrival created(long window) {
        return read(TimestampType.CREATE_TIME, window, Long.toString(window), "i1");
    }

    @Test
    void theIdentityOfARecordIsInItsHeadersAndValue() {
        Arrival arrival = created(NOW - 5_000);
        assertEquals("i1\0counter\0a,b=c", arrival.identity());
        assertEquals(NOW - 5_000, arrival.windowEnd);
        assertNull(arrival.problem);
    }

    @Test
    void aHostWhoseClockIsAheadIsRejected() {
        assertNull(created(NOW + MAX_AHEAD).problem);
        assertEquals(Rejection.CLOCK_AHEAD, created(NOW + MAX_AHEAD + 1).problem);
    }

    @Test
    void theBrokersTimeIsTheReferenceIfTheTopicHasIt() {
        long appended = NOW - 7_200_000;
        Arrival arrival = read(TimestampType.LOG_APPEND_TIME, appended, Long.toString(appended + MAX_AHEAD + 1), "i1");
        assertEquals(appended, arrival.reference);
        assertEquals(Rejection.CLOCK_AHEAD, arrival.problem);
    }

    @Test
    void withoutTheBrokersTimeAHostAheadDoesNotAdvanceTimeBeyondNow() {
        assertEquals(NOW, created(NOW + MAX_AHEAD).reference);
        assertEquals(NOW - 9_000, created(NOW - 9_000).reference);
    }

    @ParameterizedTest
    @ValueSource(strings = {"", "a", "a,b=c"})
    void theSeriesIsThatOfTheValueWhateverTheKeyIs(String key) {
        byte[] bytes = key.isEmpty() ? null : key.getBytes(UTF_8);
        Arrival arrival = read(TimestampType.CREATE_TIME, NOW, "1000", "i1", bytes, VALUE);
        assertEquals("a,b=c", arrival.series);
        assertEquals("i1\0counter\0a,b=c", arrival.identity());
        assertNull(arrival.problem);
    }

    @Test
    void aValueWithoutASeriesIsMalformedAndKeepsTheTextOfItsKey() {
        Arrival arrival = read(TimestampType.CREATE_TIME, NOW, "1000", "i1", "k".getBytes(UTF_8), "[1]");
        assertEquals(Rejection.MALFORMED, arrival.problem);
        assertEquals("k", arrival.series);
    }

    @Test
    void aRecordWithoutHeadersIsRejected() {
        assertEquals(Rejection.NO_HEADERS, read(TimestampType.CREATE_TIME, NOW, null, "i1").problem);
        assertEquals(Rejection.NO_HEADERS, read(TimestampType.CREATE_TIME, NOW, "soon", "i1").problem);
        assertEquals(Rejection.NO_HEADERS, read(TimestampType.CREATE_TIME, NOW, "1000", "").problem);
    }
}
