package tallyd.fleet.ingest;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;

/**
 * The windows of which one series has been counted.
 *
 * <p>They are kept as runs (start, step, count), so that a series that reports every window takes one run
 * for the whole grace period instead of hundreds of entries.
 */
public final class SeenWindows {
    /** The shortest interval of a daemon whose irregular series are never rejected, whatever the grace period. */
    private static final int INTERVAL_MILLIS = 10_000;
    private static final int LEAST_MAX_RUNS = 4_320;
    private static final int BYTES_PER_RUN = 2 * Long.BYTES + Integer.BYTES;

    /** Windows that end at {@code first}, {@code first + step} and so on. */
    private static final class Run {
        long first;
        long step;
        int count;

        Run(long first, long step, int count) {
            this.first = first;
            this.step = step;
            this.count = count;
        }

        long last() {
            return first + step * (count - 1);
        }

        boolean contains(long end) {
            return end >= first && end <= last() && (count == 1 || (end - first) % step == 0);
        }

        /** Adds a window if the run continues with it in either direction. */
        boolean extend(long end) {
            if (count == 1) {
                step = Math.abs(end - first);
                first = Math.min(first, end);
            } else if (end == first - step) {
                first = end;
            } else if (end != last() + step) {
                return false;
            }
            count++;
            return true;
        }

        /** Removes the windows up to the horizon; none may remain. */
        void forget(long horizon) {
            if (last() <= horizon) {
                count = 0;
            } else if (first <= horizon) {
                int passed = (int) ((horizon - first) / step) + 1;
                first += step * passed;
                count -= passed;
            }
        }
    }

    private final List<Run> runs = new ArrayList<>(1);

    /** What {@link #add} found. */
    public enum Added {
        NEW,
        DUPLICATE,
        FULL
    }

    /**
     * The number of runs that bounds the state of one series: 20 bytes each. A run has two windows at least (but one of
     * them all), so the windows of a grace period need half as many, however irregular they are.
     */
    static int maxRuns(long graceMillis) {
        return (int) Math.max(LEAST_MAX_RUNS, graceMillis / INTERVAL_MILLIS);
    }

    public Added add(long end, int maxRuns) {
        for (Run run : runs) {
            if (run.contains(end)) {
                return Added.DUPLICATE;
            }
        }
        // From the end: most windows continue the latest run.
        for (int i = runs.size() - 1; i >= 0; i--) {
            if (runs.get(i).extend(end)) {
                return Added.NEW;
            }
        }
        if (runs.size() >= maxRuns) {
            return Added.FULL;
        }
        runs.add(new Run(end, 0, 1));
        return Added.NEW;
    }

    /** Removes the windows that end at or before the horizon: their records are late in any case. */
    public void forget(long horizon) {
        runs.forEach(run -> run.forget(horizon));
        runs.removeIf(run -> run.count == 0);
    }

    /** The end of the latest window, or {@link Long#MIN_VALUE}. */
    public long latest() {
        return runs.stream().mapToLong(Run::last).max().orElse(Long.MIN_VALUE);
    }

    int runs() {
        return runs.size();
    }

    byte[] toBytes() {
        ByteBuffer out = ByteBuffer.allocate(runs.size() * BYTES_PER_RUN);
        runs.forEach(run -> out.putLong(run.first).putLong(run.step).putInt(run.count));
        return out.array();
    }

    static SeenWindows fromBytes(byte[] bytes) {
        SeenWindows seen = new SeenWindows();
        for (ByteBuffer in = ByteBuffer.wrap(bytes); in.hasRemaining(); ) {
            seen.runs.add(new Run(in.getLong(), in.getLong(), in.getInt()));
        }
        return seen;
    }
}
