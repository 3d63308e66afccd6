package tallyd.fleet.aggregate;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import tallyd.fleet.config.FleetConfig;

/**
 * The queries of the job, one for each kind of metric and window.
 *
 * <p>The columns {@code kind, metric, grouping, window_end, sketch} identify a result and carry its sketch; every
 * other column is a field of the result under its own name.
 */
public final class FleetSql {
    /** A query and the name that its state has in savepoints. */
    public record NamedQuery(String name, Duration window, String sql) {}

    private FleetSql() {}

    public static List<NamedQuery> queries(FleetConfig config) {
        List<NamedQuery> queries = new ArrayList<>();
        for (Duration window : config.windows()) {
            String suffix = "-" + window.toSeconds() + "s";
            queries.add(new NamedQuery("sums" + suffix, window, sums(window)));
            queries.add(new NamedQuery("timers" + suffix, window, timers(window, config.percentiles())));
            queries.add(new NamedQuery("sets" + suffix, window, sets(window)));
            queries.add(new NamedQuery("gauges" + suffix, window, gauges(window)));
        }
        return queries;
    }

    private static String sums(Duration window) {
        return "SELECT kind, metric, `grouping`, window_end, `count`, `count` / " + seconds(window) + " AS rate FROM ("
                + grouped(window, "EXACT_SUM(amount) AS `count`", "'counter', 'trace'") + ")";
    }

    private static String timers(Duration window, List<Double> percentiles) {
        StringBuilder quantiles = new StringBuilder();
        for (double percentile : percentiles) {
            quantiles.append(", DDSKETCH_QUANTILE(sketch, ")
                    .append(String.format(Locale.ROOT, "%.10f", percentile / 100))
                    .append(") AS `").append(field(percentile)).append('`');
        }
        return "SELECT kind, metric, `grouping`, window_end, sketch, `count`, `count` / " + seconds(window)
                + " AS rate, `sum`, DDSKETCH_MIN(sketch) AS `min`, DDSKETCH_MAX(sketch) AS `max`,"
                + " `sum` / `count` AS mean, stddev" + quantiles
                + " FROM (SELECT *, DDSKETCH_COUNT(sketch) AS `count`, DDSKETCH_SUM(sketch) AS `sum` FROM ("
                + grouped(window, "DDSKETCH_MERGE(sketch) AS sketch, STDDEV_MERGE(amount, mean, stddev) AS stddev",
                        "'timer'")
                + "))";
    }

    private static String sets(Duration window) {
        return "SELECT kind, metric, `grouping`, window_end, sketch, ROUND(HLL_ESTIMATE(sketch), 0) AS `count` FROM ("
                + grouped(window, "HLL_MERGE(sketch) AS sketch", "'set'") + ")";
    }

    private static String gauges(Duration window) {
        return "SELECT kind, metric, `grouping`, window_end, g.`last` AS `last`, g.`min` AS `min`, g.`max` AS `max`,"
                + " g.`sum` AS `sum`, g.`mean` AS `mean`, CAST(g.`series` AS DOUBLE) AS `series` FROM ("
                + grouped(window, "GAUGE_MERGE(series, window_end, level) AS g", "'gauge'") + ")";
    }

    private static String grouped(Duration window, String aggregates, String kinds) {
        String tumble = "(row_time, INTERVAL '" + window.toSeconds() + "' SECOND(6))";
        return "SELECT kind, metric, `grouping`, TUMBLE_END" + tumble + " AS window_end, " + aggregates
                + " FROM points WHERE window_ms = " + window.toMillis() + " AND kind IN (" + kinds + ")"
                + " GROUP BY kind, metric, `grouping`, TUMBLE" + tumble;
    }

    private static String seconds(Duration window) {
        return "CAST(" + window.toSeconds() + " AS DOUBLE)";
    }

    /** As tallyd names it: {@code p99}, {@code p99_9}. */
    static String field(double percentile) {
        String number = percentile == Math.rint(percentile)
                ? Long.toString((long) percentile)
                : Double.toString(percentile);
        return "p" + number.replace('.', '_');
    }
}
