package tallyd.fleet;

import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.dag.Transformation;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.SingleOutputStreamOperator;
import org.apache.flink.streaming.api.transformations.PhysicalTransformation;
import org.apache.flink.table.api.DataTypes;
import org.apache.flink.table.api.Schema;
import org.apache.flink.table.api.Table;
import org.apache.flink.table.api.TableConfig;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import org.apache.flink.types.Row;
import tallyd.fleet.aggregate.FleetSql;
import tallyd.fleet.aggregate.Points;
import tallyd.fleet.config.FleetConfig;
import tallyd.fleet.functions.FleetFunctions;
import tallyd.fleet.ingest.Admission;
import tallyd.fleet.ingest.Arrival;
import tallyd.fleet.ingest.Rejection;
import tallyd.fleet.output.CorrectionLimit;
import tallyd.fleet.output.Result;
import tallyd.fleet.output.ResultMapper;

/** From arrivals to results: everything between the topics. */
final class FleetPipeline {
    /** The results, and the records that none of them contains. */
    record Streams(DataStream<Result> results, DataStream<Rejection> rejections) {}

    private final StreamTableEnvironment tables;
    private final FleetConfig config;

    FleetPipeline(StreamTableEnvironment tables, FleetConfig config) {
        this.tables = tables;
        this.config = config;
        configure(tables.getConfig());
        FleetFunctions.register(tables);
    }

    Streams build(DataStream<Arrival> arrivals) {
        SingleOutputStreamOperator<Arrival> admitted = arrivals
                .keyBy(Arrival::identity)
                .process(new Admission(config.time().grace().toMillis()))
                .returns(TypeInformation.of(Arrival.class))
                .uid("admission")
                .name("admission");
        SingleOutputStreamOperator<Row> points = admitted
                .process(new Points(config.groups(), notBefore()))
                .returns(Points.TYPE)
                .uid("points")
                .name("points");
        tables.createTemporaryView("points", points, schema());
        return new Streams(
                results(),
                admitted.getSideOutput(Admission.REJECTED).union(points.getSideOutput(Admission.REJECTED)));
    }

    private long notBefore() {
        return config.output().notBefore() == null ? Long.MIN_VALUE : config.output().notBefore().toEpochMilli();
    }

    /** Event time is the last millisecond of the window: its end is already in the next one. */
    private static Schema schema() {
        Schema.Builder schema = Schema.newBuilder();
        for (String column : Points.COLUMNS) {
            schema.column(column, switch (column) {
                case "window_ms", "window_end" -> DataTypes.BIGINT();
                case "amount", "level", "mean", "stddev" -> DataTypes.DOUBLE();
                case "sketch" -> DataTypes.BYTES();
                default -> DataTypes.STRING();
            });
        }
        return schema.columnByExpression("row_time", "TO_TIMESTAMP_LTZ(window_end - 1, 3)")
                .watermark("row_time", "SOURCE_WATERMARK()")
                .build();
    }

    private void configure(TableConfig options) {
        // Windows begin at full minutes of UTC, as tallyd's do.
        options.set("table.local-time-zone", "UTC");
        // A window's state is kept a little longer than the admission lets its records pass, so that the
        // aggregation itself never drops one.
        Duration kept = config.time().grace().plus(config.time().idleAfter()).plusSeconds(1);
        options.set("table.exec.emit.allow-lateness", kept.toMillis() + " ms");
        options.set("table.exec.emit.late-fire.enabled", "true");
        options.set("table.exec.emit.late-fire.delay", config.time().correctEvery().toMillis() + " ms");
        options.set("table.exec.uid.generation", "DISABLED");
    }

    private DataStream<Result> results() {
        List<DataStream<Result>> results = new ArrayList<>();
        for (FleetSql.NamedQuery query : queries()) {
            results.add(results(query));
        }
        DataStream<Result> first = results.remove(0);
        DataStream<Result> all = results.stream().reduce(first, (some, next) -> some.union(next));
        return all.keyBy(result -> result.series)
                .process(new CorrectionLimit(config.time().correctEvery()))
                .returns(TypeInformation.of(Result.class))
                .uid("corrections")
                .name("corrections");
    }

    private List<FleetSql.NamedQuery> queries() {
        List<FleetSql.NamedQuery> queries = new ArrayList<>(FleetSql.queries(config));
        for (FleetConfig.Query query : config.queries()) {
            queries.add(new FleetSql.NamedQuery("query-" + query.name(), query.window(), query.sql()));
        }
        return queries;
    }

    private DataStream<Result> results(FleetSql.NamedQuery query) {
        Table table = tables.sqlQuery(query.sql());
        DataStream<Row> rows = tables.toChangelogStream(table);
        name(rows.getTransformation(), query.name());
        return rows.flatMap(new ResultMapper(table.getResolvedSchema().getColumnNames(), query.window(), config))
                .returns(TypeInformation.of(Result.class))
                .uid("results-" + query.name())
                .name("results-" + query.name());
    }

    /**
     * Names the state of a query, so that a savepoint fits after other queries, or stateless parts of this one,
     * were added or removed. The planner numbers operators over all queries.
     */
    private static void name(Transformation<?> last, String query) {
        Map<String, Integer> operators = new HashMap<>();
        for (Transformation<?> each : last.getTransitivePredecessors()) {
            if (each instanceof PhysicalTransformation && each.getUid() == null) {
                // Such as `GroupWindowAggregate[4]`.
                String kind = each.getName().replaceAll("\\[.*", "");
                each.setUid(query + "-" + kind + "-" + operators.merge(kind, 1, Integer::sum));
            }
        }
    }
}
