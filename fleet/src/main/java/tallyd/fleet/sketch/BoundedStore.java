package tallyd.fleet.sketch;

import com.datadoghq.sketch.ddsketch.store.UnboundedSizeDenseStore;

/**
 * The buckets of one sign of a timer.
 *
 * <p>The library allocates an array from the lowest to the highest index, so one forged record with an
 * index of 2^31 would take all memory. No finite double has an index outside of these limits.
 */
final class BoundedStore extends UnboundedSizeDenseStore {
    /** 64 buckets for each of the 2,098 powers of two of a double, subnormal ones included. */
    private static final int LIMIT = 64 * 1_100;

    /** The library calls this method for the form without counts. */
    @Override
    public void add(int index) {
        add(index, 1.0);
    }

    @Override
    public void add(int index, double count) {
        if (index < -LIMIT || index > LIMIT) {
            throw new InvalidSketchException("bucket " + index + " is outside of the range of a double");
        }
        if (!(count >= 0) || Double.isInfinite(count)) {
            throw new InvalidSketchException("bucket " + index + " has the count " + count);
        }
        super.add(index, count);
    }
}
