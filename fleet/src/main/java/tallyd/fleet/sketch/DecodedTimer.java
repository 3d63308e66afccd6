package tallyd.fleet.sketch;

import com.datadoghq.sketch.ddsketch.DDSketch;
import com.datadoghq.sketch.ddsketch.DDSketchWithExactSummaryStatistics;
import com.datadoghq.sketch.ddsketch.encoding.ByteArrayInput;
import com.datadoghq.sketch.ddsketch.mapping.LogarithmicMapping;
import java.io.IOException;

/** A decoded timer of one record: the library's sketch, with access to its buckets, and checked. */
final class DecodedTimer extends DDSketchWithExactSummaryStatistics {
    /** 2^(1/64), with the bits that tallyd writes: the library merges only equal mappings. */
    private static final double BASE = 1.010_889_286_051_700_5;
    static final LogarithmicMapping MAPPING = new LogarithmicMapping(BASE, 0.0);
    /** More than all hosts together can count, and so little that sums of forged records stay far from infinity. */
    private static final double LARGEST_COUNT = 0x1p100;
    /** Of all counts: the count of zeros is a difference, with an error of rounding. */
    private static final double ROUNDING = 1e-9;

    private DecodedTimer() {
        super(MAPPING, BoundedStore::new);
    }

    /** Decodes a sketch that was not made by this program, or throws {@link InvalidSketchException}. */
    static DecodedTimer of(byte[] encoded) {
        DecodedTimer timer = trusted(encoded);
        timer.check();
        return timer;
    }

    /** Decodes a sketch that this program made of valid ones, such as one in its state: its counts may be greater. */
    static DecodedTimer trusted(byte[] encoded) {
        DecodedTimer timer = new DecodedTimer();
        try {
            timer.decodeAndMergeWith(ByteArrayInput.wrap(encoded));
        } catch (InvalidSketchException invalid) {
            throw invalid;
        } catch (IOException | RuntimeException invalid) {
            // The library throws exceptions of several types for bytes that are not a sketch.
            throw new InvalidSketchException("not a timer's sketch: " + invalid, invalid);
        }
        return timer;
    }

    DDSketch buckets() {
        return sketch();
    }

    private void check() {
        double buckets = sketch().getCount();
        if (!isCount(getCount()) || !isCount(buckets)) {
            throw new InvalidSketchException("the sketch counts " + getCount() + ", its buckets " + buckets);
        }
        double zeros = buckets - sketch().getPositiveValueStore().getTotalCount()
                - sketch().getNegativeValueStore().getTotalCount();
        if (!(zeros >= -ROUNDING * buckets)) {
            throw new InvalidSketchException("the sketch counts " + zeros + " zeros");
        }
        if (getCount() > 0 != buckets > 0) {
            throw new InvalidSketchException("the sketch counts " + getCount() + ", its buckets " + buckets);
        }
        if (getCount() > 0 && !hasSummary()) {
            throw new InvalidSketchException("the sketch's sum, minimum or maximum is invalid");
        }
    }

    private static boolean isCount(double count) {
        return count >= 0 && count <= LARGEST_COUNT;
    }

    private boolean hasSummary() {
        return Double.isFinite(sum()) && Double.isFinite(min()) && Double.isFinite(max()) && min() <= max();
    }
}
