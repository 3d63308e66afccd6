package tallyd.fleet.functions;

import org.apache.flink.table.functions.AggregateFunction;
import tallyd.fleet.sketch.Moments;

/**
 * {@code STDDEV_MERGE(count DOUBLE, mean DOUBLE, stddev DOUBLE) -> DOUBLE}: the standard deviation of the
 * population of all samples, of which each row has these statistics.
 */
public final class StddevMerge extends AggregateFunction<Double, Moments> {
    @Override
    public Moments createAccumulator() {
        return new Moments();
    }

    public void accumulate(Moments accumulator, Double count, Double mean, Double stddev) {
        if (count != null && mean != null && stddev != null) {
            accumulator.add(count, mean, stddev);
        }
    }

    public void merge(Moments accumulator, Iterable<Moments> others) {
        for (Moments other : others) {
            accumulator.merge(other);
        }
    }

    @Override
    public Double getValue(Moments accumulator) {
        return accumulator.stddev();
    }
}
