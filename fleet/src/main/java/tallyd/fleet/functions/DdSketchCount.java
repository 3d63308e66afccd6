package tallyd.fleet.functions;

import org.apache.flink.table.functions.ScalarFunction;
import tallyd.fleet.sketch.TimerSketch;

/** {@code DDSKETCH_COUNT(sketch BYTES) -> DOUBLE}: the number of samples, weighted by their sample rates. */
public final class DdSketchCount extends ScalarFunction {
    public Double eval(byte[] sketch) {
        return sketch == null ? null : (Double) TimerSketch.of(sketch).count();
    }
}
