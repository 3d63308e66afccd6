package tallyd.fleet.functions;

import org.apache.flink.table.functions.ScalarFunction;
import tallyd.fleet.sketch.SetSketch;

/** {@code HLL_ESTIMATE(sketch BYTES) -> DOUBLE}: the estimated number of distinct members. */
public final class HllEstimate extends ScalarFunction {
    public Double eval(byte[] sketch) {
        return sketch == null ? null : (Double) SetSketch.of(sketch).estimate();
    }
}
