package tallyd.fleet.functions;

import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.functions.AggregateFunction;
import tallyd.fleet.sketch.SetSketch;
import tallyd.fleet.sketch.SetSketchSerializer;

/** {@code HLL_MERGE(sketch BYTES) -> BYTES}: the union of all sets of a group. */
@FunctionHint(
        input = @DataTypeHint("BYTES"),
        accumulator = @DataTypeHint(
                value = "RAW",
                bridgedTo = SetSketch.class,
                rawSerializer = SetSketchSerializer.class),
        output = @DataTypeHint("BYTES"))
public final class HllMerge extends AggregateFunction<byte[], SetSketch> {
    @Override
    public SetSketch createAccumulator() {
        return new SetSketch();
    }

    public void accumulate(SetSketch accumulator, byte[] sketch) {
        if (sketch != null) {
            accumulator.merge(sketch);
        }
    }

    public void merge(SetSketch accumulator, Iterable<SetSketch> others) {
        for (SetSketch other : others) {
            accumulator.merge(other);
        }
    }

    @Override
    public byte[] getValue(SetSketch accumulator) {
        return accumulator.toBytes();
    }
}
