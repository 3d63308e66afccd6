package tallyd.fleet.sketch;

import com.datadoghq.sketch.ddsketch.DDSketch;
import com.datadoghq.sketch.ddsketch.DDSketchWithExactSummaryStatistics;
import com.datadoghq.sketch.ddsketch.encoding.GrowingByteArrayOutput;
import com.datadoghq.sketch.ddsketch.store.Bin;
import com.datadoghq.sketch.ddsketch.store.Store;
import java.io.IOException;
import java.util.Iterator;

/**
 * The samples of a timer, as the DDSketch that tallyd writes with {@code sketches: true}.
 *
 * <p>A merged sketch has the buckets that one daemon would have with the samples of all hosts: merging adds
 * no error, and its order makes no difference.
 */
public final class TimerSketch {
    private final DDSketch buckets = new DDSketch(DecodedTimer.MAPPING, BoundedStore::new);
    private final ExactSum count;
    private final ExactSum sum;
    private double min = Double.POSITIVE_INFINITY;
    private double max = Double.NEGATIVE_INFINITY;

    public TimerSketch() {
        this(new ExactSum(), new ExactSum());
    }

    private TimerSketch(ExactSum count, ExactSum sum) {
        this.count = count;
        this.sum = sum;
    }

    /**
     * Decodes a sketch, also one that was merged from many.
     *
     * @throws InvalidSketchException if the bytes are not a timer's sketch
     */
    public static TimerSketch of(byte[] encoded) {
        TimerSketch sketch = new TimerSketch();
        sketch.add(DecodedTimer.trusted(encoded));
        return sketch;
    }

    /** Throws {@link InvalidSketchException} if {@link #merge} would. */
    public static void check(byte[] encoded) {
        DecodedTimer.of(encoded);
    }

    /** A sketch with these buckets, but with sums that were kept without rounding. */
    static TimerSketch of(byte[] encoded, ExactSum count, ExactSum sum) {
        TimerSketch sketch = new TimerSketch(count, sum);
        sketch.mergeBuckets(DecodedTimer.trusted(encoded));
        return sketch;
    }

    /** Merges a sketch, or throws {@link InvalidSketchException} and leaves this one unchanged. */
    public void merge(byte[] encoded) {
        add(DecodedTimer.of(encoded));
    }

    private void add(DecodedTimer decoded) {
        mergeBuckets(decoded);
        count.add(decoded.getCount());
        sum.add(decoded.getCount() > 0 ? decoded.getSum() : 0);
    }

    public void merge(TimerSketch other) {
        buckets.mergeWith(other.buckets);
        min = Math.min(min, other.min);
        max = Math.max(max, other.max);
        count.add(other.count);
        sum.add(other.sum);
    }

    private void mergeBuckets(DecodedTimer decoded) {
        buckets.mergeWith(decoded.buckets());
        if (decoded.getCount() > 0) {
            min = Math.min(min, decoded.getMinValue());
            max = Math.max(max, decoded.getMaxValue());
        }
    }

    public boolean isEmpty() {
        return count() == 0;
    }

    public double count() {
        return count.value();
    }

    public double sum() {
        return sum.value();
    }

    public double min() {
        return min;
    }

    public double max() {
        return max;
    }

    /**
     * The smallest value with at least this share of the samples at or below it, as in tallyd
     * (nearest rank), within the 0.55 % of a bucket; {@code NaN} for an empty sketch.
     *
     * <p>The library's own quantile selects the rank {@code quantile * (count - 1)}, which of few samples is
     * another one: of 1 to 10, its 95th percentile is 9.
     */
    public double quantile(double quantile) {
        if (isEmpty()) {
            return Double.NaN;
        }
        double rank = quantile * buckets.getCount();
        // A share times a whole number can exceed a whole number by a rounding error, which must not select
        // the next sample.
        return Math.min(Math.max(valueAt(rank - rank * 1e-12), min), max);
    }

    private double valueAt(double rank) {
        Store negative = buckets.getNegativeValueStore();
        Store positive = buckets.getPositiveValueStore();
        // Exact: tallyd counts in units of 1/1024 samples.
        double atOrBelowZero = buckets.getCount() - positive.getTotalCount();
        if (!negative.isEmpty() && rank <= negative.getTotalCount()) {
            return -bucketAt(negative.getDescendingIterator(), rank);
        }
        if (atOrBelowZero > negative.getTotalCount() && rank <= atOrBelowZero) {
            return 0;
        }
        return bucketAt(positive.getAscendingIterator(), rank - atOrBelowZero);
    }

    private static double bucketAt(Iterator<Bin> bins, double rank) {
        Bin bin = bins.next();
        for (double passed = bin.getCount(); passed < rank && bins.hasNext(); passed += bin.getCount()) {
            bin = bins.next();
        }
        return DecodedTimer.MAPPING.value(bin.getIndex());
    }

    /** The binary form that tallyd's records have too. */
    public byte[] toBytes() {
        GrowingByteArrayOutput out = GrowingByteArrayOutput.withDefaultInitialCapacity();
        try {
            forLibrary().encode(out, false);
        } catch (IOException impossible) {
            throw new IllegalStateException(impossible);
        }
        return out.trimmedCopy();
    }

    private DDSketchWithExactSummaryStatistics forLibrary() {
        return isEmpty()
                // The library's `of` refuses the minimum and maximum of no samples.
                ? new DDSketchWithExactSummaryStatistics(DecodedTimer.MAPPING, BoundedStore::new)
                : DDSketchWithExactSummaryStatistics.of(buckets, count(), min, max, sum());
    }

    ExactSum exactCount() {
        return count;
    }

    ExactSum exactSum() {
        return sum;
    }
}
