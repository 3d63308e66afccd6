package tallyd.fleet.functions;

import static org.apache.flink.table.api.DataTypes.BIGINT;
import static org.apache.flink.table.api.DataTypes.BYTES;
import static org.apache.flink.table.api.DataTypes.DOUBLE;
import static org.apache.flink.table.api.DataTypes.FIELD;
import static org.apache.flink.table.api.DataTypes.ROW;
import static org.apache.flink.table.api.DataTypes.STRING;
import static org.apache.flink.table.api.Expressions.row;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import org.apache.flink.table.api.EnvironmentSettings;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.types.Row;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import tallyd.fleet.sketch.Samples;

/** Every function as users call it: from SQL. */
class FunctionsInSqlTest {
    private static TableEnvironment tables;

    @BeforeAll
    static void registerFunctions() {
        tables = TableEnvironment.create(EnvironmentSettings.inBatchMode());
        tables.getConfig().set("parallelism.default", "1");
        FleetFunctions.register(tables);
        tables.createTemporaryView("timers", timers());
        tables.createTemporaryView("sets", sets());
        tables.createTemporaryView("gauges", gauges());
    }

    private static Table timers() {
        return tables.fromValues(
                ROW(FIELD("host", STRING()), FIELD("count", DOUBLE()), FIELD("mean", DOUBLE()),
                        FIELD("stddev", DOUBLE()), FIELD("sketch", BYTES())),
                row("a", 4.0, 2.5, Math.sqrt(1.25), Samples.timer(List.of(1.0, 2.0, 3.0, 4.0))),
                row("b", 2.0, 150.0, 50.0, Samples.timer(List.of(100.0, 200.0))),
                row("c", null, null, null, null));
    }

    private static Table sets() {
        return tables.fromValues(
                ROW(FIELD("sketch", BYTES())),
                row(Samples.set(List.of("x", "y"))),
                row(Samples.set(List.of("y", "z"))));
    }

    private static Table gauges() {
        return tables.fromValues(
                ROW(FIELD("series", STRING()), FIELD("time", BIGINT()), FIELD("value", DOUBLE())),
                row("a", 1L, 100.0), row("a", 3L, 5.0), row("a", 2L, 7.0), row("b", 2L, -1.0),
                row("c", 3L, 8.0));
    }

    private List<Object> select(String query) {
        List<Row> rows = new ArrayList<>();
        tables.executeSql(query).collect().forEachRemaining(rows::add);
        assertEquals(1, rows.size());
        List<Object> fields = new ArrayList<>();
        for (int i = 0; i < rows.get(0).getArity(); i++) {
            fields.add(rows.get(0).getField(i));
        }
        return fields;
    }

    @Test
    void mergedTimersHaveStatisticsAndQuantiles() {
        List<Object> row = select("SELECT DDSKETCH_COUNT(s), DDSKETCH_SUM(s), DDSKETCH_MIN(s), DDSKETCH_MAX(s), d,"
                + " DDSKETCH_QUANTILE(s, 0.5) FROM (SELECT DDSKETCH_MERGE(sketch) AS s,"
                + " STDDEV_MERGE(`count`, mean, stddev) AS d FROM timers)");
        assertEquals(List.of(6.0, 310.0, 1.0, 200.0), row.subList(0, 4));
        assertEquals(75.292, (double) row.get(4), 0.001);
        assertEquals(3.0, (double) row.get(5), 0.03);
    }

    @Test
    void anUnreadableQuantileIsAnErrorThatNamesTheUnit() {
        Exception error = assertThrows(Exception.class,
                () -> select("SELECT DDSKETCH_QUANTILE(DDSKETCH_MERGE(sketch), 99.0) FROM timers"));
        assertTrue(causes(error).contains("the 99th percentile is 0.99"), causes(error));
    }

    private static String causes(Throwable error) {
        return error == null ? "" : error.getMessage() + "\n" + causes(error.getCause());
    }

    @Test
    void aSketchOfNothingIsNull() {
        List<Object> row = select("SELECT s IS NULL, DDSKETCH_COUNT(s) IS NULL, DDSKETCH_QUANTILE(s, 0.5) IS NULL"
                + " FROM (SELECT DDSKETCH_MERGE(sketch) AS s FROM timers WHERE host = 'c')");
        assertEquals(List.of(true, true, true), row);
    }

    @Test
    void mergedSetsCountMembersOnce() {
        assertEquals(3.0, (double) select("SELECT HLL_ESTIMATE(HLL_MERGE(sketch)) FROM sets").get(0), 0.001);
    }

    @Test
    void sumsAreRoundedOnce() {
        assertEquals(List.of(1.0), select("SELECT EXACT_SUM(x) FROM (VALUES (1e300), (1e0), (-1e300)) AS t(x)"));
    }

    @Test
    void ofEachGaugeTheLatestValueCounts() {
        List<Object> row = select("SELECT g.`last`, g.`min`, g.`max`, g.`sum`, g.`mean`, g.`series`"
                + " FROM (SELECT GAUGE_MERGE(series, `time`, `value`) AS g FROM gauges)");
        assertEquals(List.of(8.0, -1.0, 8.0, 12.0, 4.0, 3L), row);
    }

    @Test
    void everyFunctionIsRegistered() {
        List<String> registered = List.of(tables.listUserDefinedFunctions());
        for (String name : FleetFunctions.BY_NAME.keySet()) {
            assertTrue(registered.contains(name.toLowerCase(Locale.ROOT)), name);
        }
    }
}
