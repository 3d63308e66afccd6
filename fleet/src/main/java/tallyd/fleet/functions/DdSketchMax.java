package tallyd.fleet.functions;

import org.apache.flink.table.functions.ScalarFunction;
import tallyd.fleet.sketch.TimerSketch;

/** {@code DDSKETCH_MAX(sketch BYTES) -> DOUBLE}: the largest sample. */
public final class DdSketchMax extends ScalarFunction {
    public Double eval(byte[] sketch) {
        return sketch == null ? null : (Double) TimerSketch.of(sketch).max();
    }
}
