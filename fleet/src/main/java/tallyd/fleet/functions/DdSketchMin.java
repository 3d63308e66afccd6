package tallyd.fleet.functions;

import org.apache.flink.table.functions.ScalarFunction;
import tallyd.fleet.sketch.TimerSketch;

/** {@code DDSKETCH_MIN(sketch BYTES) -> DOUBLE}: the smallest sample. */
public final class DdSketchMin extends ScalarFunction {
    public Double eval(byte[] sketch) {
        return sketch == null ? null : (Double) TimerSketch.of(sketch).min();
    }
}
