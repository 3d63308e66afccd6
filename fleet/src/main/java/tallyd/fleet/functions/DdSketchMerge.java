package tallyd.fleet.functions;

import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.functions.AggregateFunction;
import tallyd.fleet.sketch.TimerSketch;
import tallyd.fleet.sketch.TimerSketchSerializer;

/** {@code DDSKETCH_MERGE(sketch BYTES) -> BYTES}: the sketch of all timers of a group. */
@FunctionHint(
        input = @DataTypeHint("BYTES"),
        accumulator = @DataTypeHint(
                value = "RAW",
                bridgedTo = TimerSketch.class,
                rawSerializer = TimerSketchSerializer.class),
        output = @DataTypeHint("BYTES"))
public final class DdSketchMerge extends AggregateFunction<byte[], TimerSketch> {
    @Override
    public TimerSketch createAccumulator() {
        return new TimerSketch();
    }

    public void accumulate(TimerSketch accumulator, byte[] sketch) {
        if (sketch != null) {
            accumulator.merge(sketch);
        }
    }

    public void merge(TimerSketch accumulator, Iterable<TimerSketch> others) {
        for (TimerSketch other : others) {
            accumulator.merge(other);
        }
    }

    @Override
    public byte[] getValue(TimerSketch accumulator) {
        return accumulator.isEmpty() ? null : accumulator.toBytes();
    }
}
