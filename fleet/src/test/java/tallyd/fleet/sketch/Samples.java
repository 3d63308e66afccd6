package tallyd.fleet.sketch;

import com.datadoghq.sketch.ddsketch.DDSketchWithExactSummaryStatistics;
import com.datadoghq.sketch.ddsketch.encoding.GrowingByteArrayOutput;
import com.datadoghq.sketch.ddsketch.store.UnboundedSizeDenseStore;
import java.io.IOException;
import java.util.Collection;
import java.util.List;
import org.apache.datasketches.hll.HllSketch;
import org.apache.datasketches.hll.TgtHllType;

/** Sketches of samples, made by the libraries alone, and the exact results to compare with. */
public final class Samples {
    private Samples() {}

    public static byte[] timer(Collection<Double> samples) {
        var sketch = new DDSketchWithExactSummaryStatistics(DecodedTimer.MAPPING, UnboundedSizeDenseStore::new);
        samples.forEach(sketch::accept);
        return encoded(sketch);
    }

    /** As many samples of 1 as nobody sends. */
    public static byte[] timer(double count) {
        var sketch = new DDSketchWithExactSummaryStatistics(DecodedTimer.MAPPING, UnboundedSizeDenseStore::new);
        sketch.accept(1, count);
        return encoded(sketch);
    }

    private static byte[] encoded(DDSketchWithExactSummaryStatistics sketch) {
        GrowingByteArrayOutput out = GrowingByteArrayOutput.withDefaultInitialCapacity();
        try {
            sketch.encode(out, false);
        } catch (IOException impossible) {
            throw new IllegalStateException(impossible);
        }
        return out.trimmedCopy();
    }

    public static byte[] set(Collection<String> members) {
        return set(16, members);
    }

    static byte[] set(int lgRegisters, Collection<String> members) {
        HllSketch sketch = new HllSketch(lgRegisters, TgtHllType.HLL_8);
        members.forEach(sketch::update);
        return sketch.toCompactByteArray();
    }

    /** The smallest sample with at least this share of the samples at or below it. */
    public static double nearestRank(List<Double> samples, double quantile) {
        List<Double> sorted = samples.stream().sorted().toList();
        int rank = (int) Math.ceil(quantile * sorted.size() - 1e-9);
        return sorted.get(Math.max(rank, 1) - 1);
    }
}
