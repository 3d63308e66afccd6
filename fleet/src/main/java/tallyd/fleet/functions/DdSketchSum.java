package tallyd.fleet.functions;

import org.apache.flink.table.functions.ScalarFunction;
import tallyd.fleet.sketch.TimerSketch;

/** {@code DDSKETCH_SUM(sketch BYTES) -> DOUBLE}: the exact sum of the samples. */
public final class DdSketchSum extends ScalarFunction {
    public Double eval(byte[] sketch) {
        return sketch == null ? null : (Double) TimerSketch.of(sketch).sum();
    }
}
