package tallyd.fleet.ingest;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class FleetWatermarksTest {
    private static final long DELAY = 3_000;
    private static final long IDLE_AFTER = 30_000;
    private static final long LONGEST = 60_000;

    private long now = 1_000_000;
    /** How long the rest of the job slowed the source down. */
    private long slowedDown;
    private final Output output = new Output();
    private final FleetWatermarks watermarks =
            new FleetWatermarks(DELAY, IDLE_AFTER, LONGEST, () -> now, () -> now - slowedDown);

    /** Keeps the last watermark. */
    private static final class Output implements WatermarkOutput {
        private long time = Long.MIN_VALUE;
        private boolean idle;

        @Override
        public void emitWatermark(Watermark watermark) {
            time = Math.max(time, watermark.getTimestamp());
            idle = false;
        }

        @Override
        public void markIdle() {
            idle = true;
        }

        @Override
        public void markActive() {
            idle = false;
        }
    }

    private void arrive(long reference, String problem) {
        Arrival arrival = new Arrival();
        arrival.reference = reference;
        arrival.problem = problem;
        watermarks.onEvent(arrival, reference, output);
        watermarks.onPeriodicEmit(output);
    }

    @Test
    void whileTheJobKeepsUpTimeIsTheClock() {
        arrive(now - 2_000, null);
        now += 8_000;
        watermarks.onPeriodicEmit(output);
        assertEquals(now - DELAY - 1, output.time);
    }

    @ParameterizedTest
    @ValueSource(longs = {5_001, 3_600_000})
    void whileTheJobIsBehindTimeIsThatOfTheRecords(long behind) {
        arrive(now - behind, null);
        assertEquals(now - behind - DELAY - 1, output.time);
        now += 8_000;
        watermarks.onPeriodicEmit(output);
        assertEquals(now - 8_000 - behind - DELAY - 1, output.time);
    }

    @Test
    void timeStopsWhileTheRestOfTheJobSlowsTheSourceDown() {
        arrive(now, null);
        long before = output.time;
        now += 3_600_000;
        slowedDown += 3_600_000;
        watermarks.onPeriodicEmit(output);
        assertEquals(before, output.time);
        assertEquals(false, output.idle);
    }

    @Test
    void spooledRecordsDoNotHoldTimeBack() {
        arrive(now, null);
        arrive(now - 3_600_000, null);
        assertEquals(now - DELAY - 1, output.time);
    }

    @Test
    void aRejectedRecordDoesNotAdvanceTime() {
        arrive(now, null);
        arrive(now + 86_400_000, Rejection.CLOCK_AHEAD);
        assertEquals(now - DELAY - 1, output.time);
    }

    @Test
    void aPartitionWithoutRecordsIsIdleUntilTheNextOne() {
        watermarks.onPeriodicEmit(output);
        assertEquals(false, output.idle);
        now += IDLE_AFTER + 1;
        watermarks.onPeriodicEmit(output);
        assertEquals(true, output.idle);
        arrive(now, null);
        assertEquals(false, output.idle);
    }

    @Test
    void theLongestWindowOfTheLastRecordEndsBeforeThePartitionIsIdle() {
        arrive(now, null);
        now += LONGEST + DELAY;
        watermarks.onPeriodicEmit(output);
        assertEquals(now - DELAY - 1, output.time);
        assertEquals(false, output.idle);
        now += IDLE_AFTER + 1;
        watermarks.onPeriodicEmit(output);
        assertEquals(true, output.idle);
    }

    @Test
    void aPartitionThatIsBehindAndHasNoMoreRecordsDoesNotHoldTheOthersBack() {
        arrive(now - 3_600_000, null);
        now += IDLE_AFTER + 1;
        watermarks.onPeriodicEmit(output);
        watermarks.onPeriodicEmit(output);
        assertEquals(true, output.idle);
    }

    @Test
    void theWindowsOfTheLastRecordEndAlsoIfTheJobIsBehind() {
        arrive(now - 3_600_000, null);
        long last = now - 3_600_000;
        now += IDLE_AFTER + 1;
        watermarks.onPeriodicEmit(output);
        assertEquals(last + LONGEST - 1, output.time);
    }
}
