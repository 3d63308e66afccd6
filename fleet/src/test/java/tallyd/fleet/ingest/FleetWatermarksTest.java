package tallyd.fleet.ingest;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.junit.jupiter.api.Test;

class FleetWatermarksTest {
    private static final long DELAY = 3_000;
    private static final long IDLE_AFTER = 30_000;
    private static final long LONGEST = 60_000;

    private long now = 1_000_000;
    private final Output output = new Output();
    private final FleetWatermarks watermarks = new FleetWatermarks(DELAY, IDLE_AFTER, LONGEST, () -> now);

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

    @Test
    void whileTheJobIsBehindTimeIsThatOfTheRecords() {
        arrive(now - 3_600_000, null);
        assertEquals(now - 3_600_000 - DELAY - 1, output.time);
        now += 8_000;
        watermarks.onPeriodicEmit(output);
        assertEquals(now - 3_608_000 - DELAY - 1, output.time);
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
        assertEquals(true, output.idle);
    }
}
