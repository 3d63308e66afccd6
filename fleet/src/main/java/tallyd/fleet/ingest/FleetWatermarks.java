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
 * records say, so that records that are only waiting in the topic are not late. A partition without records is
 * idle: the others then advance without it. One that kept up holds nobody back, and is idle only after the windows
 * of its last record ended: time would otherwise stop before the end of these windows when all hosts stop.
 */
public final class FleetWatermarks implements WatermarkGenerator<Arrival> {
    private final long delay;
    private final long idleAfter;
    private final long idleAfterKeepingUp;
    private final LongSupplier clock;

    private long latestReference = Long.MIN_VALUE;
    private long latestArrival;

    /** @param longestWindowMillis how long after a record its last window may end */
    public FleetWatermarks(long delayMillis, long idleAfterMillis, long longestWindowMillis, LongSupplier clock) {
        this.delay = delayMillis;
        this.idleAfter = idleAfterMillis;
        this.idleAfterKeepingUp = idleAfterMillis + delayMillis + longestWindowMillis;
        this.clock = clock;
        this.latestArrival = clock.getAsLong();
    }

    @Override
    public void onEvent(Arrival arrival, long timestamp, WatermarkOutput output) {
        if (arrival.problem == null) {
            latestReference = Math.max(latestReference, arrival.reference);
            latestArrival = clock.getAsLong();
        }
    }

    @Override
    public void onPeriodicEmit(WatermarkOutput output) {
        long now = clock.getAsLong();
        if (now - latestArrival > (keepsUp() ? idleAfterKeepingUp : idleAfter)) {
            output.markIdle();
        } else if (latestReference != Long.MIN_VALUE) {
            // A window's last millisecond is one before its end.
            output.emitWatermark(new Watermark(time(now) - delay - 1));
        }
    }

    private long time(long now) {
        return keepsUp() ? Math.max(now, latestReference) : latestReference;
    }

    private boolean keepsUp() {
        // The latest record was at most this old when it was read. Spooled records do not count, because
        // they are older than the latest one.
        return latestReference != Long.MIN_VALUE && latestArrival - latestReference <= idleAfter;
    }
}
