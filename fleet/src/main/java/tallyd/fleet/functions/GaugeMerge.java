package tallyd.fleet.functions;

import java.util.Map;
import org.apache.flink.table.annotation.DataTypeHint;
import org.apache.flink.table.annotation.FunctionHint;
import org.apache.flink.table.api.dataview.MapView;
import org.apache.flink.table.functions.AggregateFunction;
import org.apache.flink.types.Row;
import tallyd.fleet.sketch.ExactSum;

/**
 * {@code GAUGE_MERGE(series STRING, time BIGINT, value DOUBLE) -> ROW<last, min, max, sum, mean, series>}.
 *
 * <p>A gauge is a level, so adding up its windows would be meaningless. Of each series (a gauge on one host),
 * only the value with the latest time counts; {@code sum}, {@code mean}, {@code min} and {@code max} are those
 * of these values, and {@code last} is the value with the latest time of all series.
 */
@FunctionHint(output = @DataTypeHint(
        "ROW<`last` DOUBLE, `min` DOUBLE, `max` DOUBLE, `sum` DOUBLE, `mean` DOUBLE, `series` BIGINT>"))
public final class GaugeMerge extends AggregateFunction<Row, GaugeMerge.Levels> {
    /** The latest value of each series. */
    public static final class Levels {
        public MapView<String, Level> bySeries = new MapView<>();
    }

    /** A value and its time. */
    public static final class Level {
        public long time;
        public double value;

        public Level() {}

        Level(long time, double value) {
            this.time = time;
            this.value = value;
        }

        /** Of two values with the same time, the greater one counts: the order of arrival must not matter. */
        boolean isBefore(Level other) {
            return time < other.time || time == other.time && value < other.value;
        }
    }

    @Override
    public Levels createAccumulator() {
        return new Levels();
    }

    public void accumulate(Levels accumulator, String series, Long time, Double value) throws Exception {
        if (series != null && time != null && value != null) {
            put(accumulator, series, new Level(time, value));
        }
    }

    public void merge(Levels accumulator, Iterable<Levels> others) throws Exception {
        for (Levels other : others) {
            for (Map.Entry<String, Level> entry : other.bySeries.entries()) {
                put(accumulator, entry.getKey(), entry.getValue());
            }
        }
    }

    private static void put(Levels levels, String series, Level level) throws Exception {
        Level known = levels.bySeries.get(series);
        if (known == null || known.isBefore(level)) {
            levels.bySeries.put(series, level);
        }
    }

    @Override
    public Row getValue(Levels accumulator) {
        Summary summary = new Summary();
        try {
            for (Level level : accumulator.bySeries.values()) {
                summary.add(level);
            }
        } catch (Exception unreadable) {
            throw new IllegalStateException("the state of GAUGE_MERGE cannot be read", unreadable);
        }
        return summary.series == 0 ? null : summary.row();
    }

    /** The result of the series that were added. */
    private static final class Summary {
        private Level last;
        private double min = Double.POSITIVE_INFINITY;
        private double max = Double.NEGATIVE_INFINITY;
        private final ExactSum sum = new ExactSum();
        private long series;

        void add(Level level) {
            last = last == null || last.isBefore(level) ? level : last;
            min = Math.min(min, level.value);
            max = Math.max(max, level.value);
            sum.add(level.value);
            series++;
        }

        Row row() {
            double total = sum.value();
            return Row.of(last.value, min, max, total, total / series, series);
        }
    }
}
