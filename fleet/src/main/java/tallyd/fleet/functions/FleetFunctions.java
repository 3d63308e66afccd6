package tallyd.fleet.functions;

import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.flink.table.api.TableEnvironment;
import org.apache.flink.table.functions.UserDefinedFunction;

/** The SQL names of all functions. */
public final class FleetFunctions {
    public static final Map<String, Class<? extends UserDefinedFunction>> BY_NAME = byName();

    private FleetFunctions() {}

    private static Map<String, Class<? extends UserDefinedFunction>> byName() {
        Map<String, Class<? extends UserDefinedFunction>> names = new LinkedHashMap<>();
        names.put("DDSKETCH_MERGE", DdSketchMerge.class);
        names.put("DDSKETCH_QUANTILE", DdSketchQuantile.class);
        names.put("DDSKETCH_COUNT", DdSketchCount.class);
        names.put("DDSKETCH_SUM", DdSketchSum.class);
        names.put("DDSKETCH_MIN", DdSketchMin.class);
        names.put("DDSKETCH_MAX", DdSketchMax.class);
        names.put("HLL_MERGE", HllMerge.class);
        names.put("HLL_ESTIMATE", HllEstimate.class);
        names.put("EXACT_SUM", ExactSumFunction.class);
        names.put("STDDEV_MERGE", StddevMerge.class);
        names.put("GAUGE_MERGE", GaugeMerge.class);
        return names;
    }

    /** Makes the functions available to the queries of this environment. */
    public static void register(TableEnvironment tables) {
        BY_NAME.forEach(tables::createTemporarySystemFunction);
    }
}
