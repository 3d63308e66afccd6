package tallyd.fleet.output;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.time.Duration;
import java.time.Instant;
import java.time.LocalDateTime;
import java.time.ZoneOffset;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.functions.RichFlatMapFunction;
import org.apache.flink.metrics.Counter;
import org.apache.flink.types.Row;
import org.apache.flink.types.RowKind;
import org.apache.flink.util.Collector;
import tallyd.fleet.config.FleetConfig;
import tallyd.fleet.config.GroupRule;
import tallyd.fleet.record.SeriesText;

/** Makes results of the rows of a query. */
public final class ResultMapper extends RichFlatMapFunction<Row, Result> {
    /** Columns that are not fields of the result. */
    private static final Set<String> IDENTITY = Set.of("kind", "metric", "grouping", "window_end", "sketch");

    /** Of a Kafka record besides key and value: its headers, and the framing of a batch. */
    private static final int OVERHEAD = 512;

    private final List<String> columns;
    private final long windowMillis;
    private final FleetConfig config;
    private transient Counter withoutSketch;
    private transient Counter tooLarge;

    public ResultMapper(List<String> columns, Duration window, FleetConfig config) {
        this.columns = columns;
        this.windowMillis = window.toMillis();
        this.config = config;
    }

    @Override
    public void open(OpenContext context) {
        withoutSketch = getRuntimeContext().getMetricGroup().counter("tallyd_results_without_sketch");
        tooLarge = getRuntimeContext().getMetricGroup().counter("tallyd_results_too_large");
    }

    @Override
    public void flatMap(Row row, Collector<Result> out) {
        // The row before a correction: the correction has the same key and replaces it.
        if (row.getKind() == RowKind.UPDATE_BEFORE || row.getKind() == RowKind.DELETE) {
            return;
        }
        ResultRecord content = content(row);
        Result result = result(content);
        if (!fits(result) && content.sketch() != null) {
            result = result(content.withoutSketch());
            withoutSketch.inc();
        }
        if (fits(result)) {
            out.collect(result);
        } else {
            tooLarge.inc();
        }
    }

    /** Brokers refuse a larger record, and the job would fail on it after each restart. */
    private boolean fits(Result result) {
        return result.json.length + result.key().getBytes(UTF_8).length + OVERHEAD <= config.output().maxRecordBytes();
    }

    private static Result result(ResultRecord content) {
        Result result = new Result();
        result.series = SeriesText.of(content.name(), content.tags());
        result.kind = content.kind();
        result.windowEnd = content.windowEnd();
        result.windowMillis = content.windowMillis();
        result.json = ResultJson.write(content);
        return result;
    }

    private ResultRecord content(Row row) {
        String metric = row.getFieldAs("metric");
        String kind = row.getFieldAs("kind");
        Map<String, Double> fields = fields(row);
        if (kind.equals("gauge")) {
            fields.put("value", fields.get(gaugeField(metric)));
        }
        return new ResultRecord(
                config.output().prefix() + metric,
                kind,
                tags(row.getFieldAs("grouping")),
                millis(row.getField("window_end")),
                windowMillis,
                fields,
                sketch(row));
    }

    private byte[] sketch(Row row) {
        return config.output().sketches() && columns.contains("sketch") ? row.getFieldAs("sketch") : null;
    }

    private SortedMap<String, String> tags(String grouping) {
        SortedMap<String, String> tags = SeriesText.parseTags(grouping);
        tags.putAll(config.output().tags());
        return tags;
    }

    private Map<String, Double> fields(Row row) {
        Map<String, Double> fields = new LinkedHashMap<>();
        for (String column : columns) {
            if (!IDENTITY.contains(column) && row.getField(column) instanceof Number number) {
                fields.put(column, number.doubleValue());
            }
        }
        return fields;
    }

    private String gaugeField(String metric) {
        return config.groups().stream()
                .filter(rule -> rule.matches(metric))
                .map(GroupRule::gauge)
                .findFirst()
                .orElse("last");
    }

    /** The session's time zone is UTC. */
    private static long millis(Object time) {
        return time instanceof Instant instant
                ? instant.toEpochMilli()
                : ((LocalDateTime) time).toInstant(ZoneOffset.UTC).toEpochMilli();
    }
}
