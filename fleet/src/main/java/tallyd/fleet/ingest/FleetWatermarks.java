package tallyd.fleet.ingest;

import java.util.function.LongSupplier;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;

/**
 * How far the time of one partition has advanced.
 *
 * <p>While the job keeps up, time is the clock: a window is written {@code delay} after its end, and hosts that
 * do not report delay nothing. While the job is behind (it was stopped, or the brokers were), time is what the
 * records say, so that windows are written when the records that wait in the topic are in them.
 *
 * <p>A partition without records is idle: the others then advance without it. Before that, its time goes on to the
 * end of the windows of its last record, which would otherwise not be written when all hosts stop.
 */
public final class FleetWatermarks implements WatermarkGenerator<Arrival> {
    /** A job that reads a record at most this long after its arrival keeps up, also with a shorter delay. */
    private static final long SHORTEST_LAG = 5_000;

    private final long delay;
    private final long idleAfter;
    /** From the last record until all of its windows are written. */
    private final long untilWritten;
    private final LongSupplier clock;
    private final LongSupplier activity;

    private long latestReference = Long.MIN_VALUE;
    private long latestArrival;
    private long latestActivity;
    private boolean lastWindowsEnded;

    /**
     * @param longestWindowMillis how long after a record its last window may end
     * @param clock the wall clock, in Unix milliseconds
     * @param activity milliseconds in which the source could read. While the rest of the job slows it down, records
     *     wait: time stops, and the partition is not idle
     */
    public FleetWatermarks(
            long delayMillis,
            long idleAfterMillis,
            long longestWindowMillis,
            LongSupplier clock,
            LongSupplier activity) {
        this.delay = delayMillis;
        this.idleAfter = idleAfterMillis;
        this.untilWritten = delayMillis + longestWindowMillis;
        this.clock = clock;
        this.activity = activity;
        this.latestActivity = activity.getAsLong();
    }

    @Override
    public void onEvent(Arrival arrival, long timestamp, WatermarkOutput output) {
        if (arrival.problem == null) {
            latestReference = Math.max(latestReference, arrival.reference);
            latestArrival = clock.getAsLong();
            latestActivity = activity.getAsLong();
            lastWindowsEnded = false;
        }
    }

    @Override
    public void onPeriodicEmit(WatermarkOutput output) {
        long quiet = activity.getAsLong() - latestActivity;
        if (latestReference == Long.MIN_VALUE) {
            if (quiet > idleAfter) {
                output.markIdle();
            }
        } else if (keepsUp()) {
            keptUp(quiet, output);
        } else if (quiet <= idleAfter) {
            emit(latestReference, output);
        } else {
            caughtUp(quiet, output);
        }
    }

    private void keptUp(long quiet, WatermarkOutput output) {
        if (quiet > idleAfter + untilWritten) {
            output.markIdle();
        } else {
            emit(Math.max(latestArrival + quiet, latestReference), output);
        }
    }

    /** No more records wait, or the brokers cannot be reached. */
    private void caughtUp(long quiet, WatermarkOutput output) {
        if (lastWindowsEnded) {
            output.markIdle();
        } else {
            emit(Math.min(latestArrival + quiet, latestReference + untilWritten), output);
            lastWindowsEnded = true;
        }
    }

    private void emit(long time, WatermarkOutput output) {
        // A window's last millisecond is one before its end.
        output.emitWatermark(new Watermark(time - delay - 1));
    }

    /** Spooled records do not count, because they are older than the latest one. */
    private boolean keepsUp() {
        return latestArrival - latestReference <= Math.max(delay, SHORTEST_LAG);
    }
}
