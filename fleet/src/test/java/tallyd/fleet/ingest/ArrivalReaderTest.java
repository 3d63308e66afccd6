package tallyd.fleet.ingest;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.util.Optional;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.internals.RecordHeaders;
import org.apache.kafka.common.record.TimestampType;
import org.junit.jupiter.api.Test;

class ArrivalReaderTest {
    private static final long NOW = 1_000_000_000;
    private static final long MAX_AHEAD = 60_000;

    private static Arrival read(TimestampType type, long timestamp, String window, String instance) {
        RecordHeaders headers = new RecordHeaders();
        headers.add("tallyd.instance", instance.getBytes(UTF_8)).add("tallyd.kind", "counter".getBytes(UTF_8));
        if (window != null) {
            headers.add("tallyd.window", window.getBytes(UTF_8));
        }
        var record = new ConsumerRecord<>(
                "metrics", 3, 17, timestamp, type, 1, 1, "a,b=c".getBytes(UTF_8), new byte[1], headers, Optional.empty());
        return new ArrivalReader(MAX_AHEAD).read(record, () -> NOW);
    }

    private static Arrival created(long window) {
        return read(TimestampType.CREATE_TIME, window, Long.toString(window), "i1");
    }

    @Test
    void theIdentityOfARecordIsInItsHeadersAndKey() {
        Arrival arrival = created(NOW - 5_000);
        assertEquals("i1\0counter\0a,b=c", arrival.series());
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

    @Test
    void aRecordWithoutHeadersIsRejected() {
        assertEquals(Rejection.NO_HEADERS, read(TimestampType.CREATE_TIME, NOW, null, "i1").problem);
        assertEquals(Rejection.NO_HEADERS, read(TimestampType.CREATE_TIME, NOW, "soon", "i1").problem);
        assertEquals(Rejection.NO_HEADERS, read(TimestampType.CREATE_TIME, NOW, "1000", "").problem);
    }
}
