package tallyd.fleet.functions;

import org.apache.flink.table.functions.ScalarFunction;
import tallyd.fleet.sketch.TimerSketch;

/**
 * {@code DDSKETCH_QUANTILE(sketch BYTES, quantile DOUBLE) -> DOUBLE}: the sample of this rank by tallyd's
 * rule (nearest rank), within 0.55 %. 0.99 is the 99th percentile.
 */
public final class DdSketchQuantile extends ScalarFunction {
    public Double eval(byte[] sketch, Double quantile) {
        if (sketch == null || quantile == null) {
            return null;
        }
        if (!(quantile >= 0 && quantile <= 1)) {
            throw new IllegalArgumentException(
                    "DDSKETCH_QUANTILE takes a quantile from 0 to 1 (the 99th percentile is 0.99), not " + quantile);
        }
        return TimerSketch.of(sketch).quantile(quantile);
    }
}
