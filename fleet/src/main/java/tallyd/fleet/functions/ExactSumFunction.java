package tallyd.fleet.functions;

import org.apache.flink.table.functions.AggregateFunction;
import tallyd.fleet.sketch.ExactSum;

/**
 * {@code EXACT_SUM(value DOUBLE) -> DOUBLE}: a sum that is rounded once. {@code SUM} rounds at each addition,
 * so its last digits depend on the order of the records.
 */
public final class ExactSumFunction extends AggregateFunction<Double, ExactSumFunction.Parts> {
    /** The parts of an {@link ExactSum}. */
    public static final class Parts {
        public double[] parts = {};
    }

    @Override
    public Parts createAccumulator() {
        return new Parts();
    }

    public void accumulate(Parts accumulator, Double value) {
        if (value != null) {
            ExactSum sum = ExactSum.ofParts(accumulator.parts);
            sum.add(value);
            accumulator.parts = sum.partsCopy();
        }
    }

    public void merge(Parts accumulator, Iterable<Parts> others) {
        ExactSum sum = ExactSum.ofParts(accumulator.parts);
        for (Parts other : others) {
            sum.add(ExactSum.ofParts(other.parts));
        }
        accumulator.parts = sum.partsCopy();
    }

    @Override
    public Double getValue(Parts accumulator) {
        return ExactSum.ofParts(accumulator.parts).value();
    }
}
