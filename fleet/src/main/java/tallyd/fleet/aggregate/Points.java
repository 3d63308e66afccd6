package tallyd.fleet.aggregate;

import java.time.Duration;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.SortedMap;
import java.util.TreeMap;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.metrics.Counter;
import org.apache.flink.streaming.api.functions.ProcessFunction;
import org.apache.flink.types.Row;
import org.apache.flink.util.Collector;
import tallyd.fleet.config.GroupRule;
import tallyd.fleet.ingest.Admission;
import tallyd.fleet.ingest.Arrival;
import tallyd.fleet.ingest.Rejection;
import tallyd.fleet.record.MalformedRecordException;
import tallyd.fleet.record.MetricRecord;
import tallyd.fleet.record.RecordParser;
import tallyd.fleet.record.SeriesText;
import tallyd.fleet.sketch.InvalidSketchException;
import tallyd.fleet.sketch.SetSketch;
import tallyd.fleet.sketch.TimerSketch;

/** Parses records and makes a row for each group and window that a record counts in: the table `points`. */
public final class Points extends ProcessFunction<Arrival, Row> {
    public static final String[] COLUMNS = {
        "metric", "kind", "grouping", "window_ms", "series", "window_end", "amount", "level", "mean", "stddev", "sketch"
    };
    public static final TypeInformation<Row> TYPE = Types.ROW_NAMED(
            COLUMNS, Types.STRING, Types.STRING, Types.STRING, Types.LONG, Types.STRING, Types.LONG, Types.DOUBLE,
            Types.DOUBLE, Types.DOUBLE, Types.DOUBLE, Types.PRIMITIVE_ARRAY(Types.BYTE));

    private final List<GroupRule> rules;
    private final long notBefore;
    private transient Counter ungrouped;
    private transient Counter before;

    /** @param notBeforeMillis windows that begin before this Unix time have no rows */
    public Points(List<GroupRule> rules, long notBeforeMillis) {
        this.rules = rules;
        this.notBefore = notBeforeMillis;
    }

    @Override
    public void open(OpenContext context) {
        ungrouped = getRuntimeContext().getMetricGroup().counter("tallyd_ungrouped");
        before = getRuntimeContext().getMetricGroup().counter("tallyd_before");
    }

    @Override
    public void processElement(Arrival arrival, Context context, Collector<Row> out) {
        try {
            MetricRecord record = RecordParser.parse(arrival.value);
            check(record, arrival);
            if (!isIdle(record)) {
                emit(record, arrival, out);
            }
        } catch (MalformedRecordException malformed) {
            reject(arrival, Rejection.MALFORMED, malformed.getMessage(), context);
        } catch (MissingSketchException missing) {
            reject(arrival, Rejection.NO_SKETCH, missing.getMessage(), context);
        } catch (InvalidSketchException invalid) {
            reject(arrival, Rejection.INVALID_SKETCH, invalid.getMessage(), context);
        }
    }

    /** A timer or set of no samples, which tallyd writes with `idle: zero`: there is nothing to merge. */
    private static boolean isIdle(MetricRecord record) {
        return record.sketch() == null && hasSketch(record) && record.fields().get("count") == 0;
    }

    private static boolean hasSketch(MetricRecord record) {
        return record.type().equals("timer") || record.type().equals("set");
    }

    private void emit(MetricRecord record, Arrival arrival, Collector<Row> out) {
        // The first rule that matches decides, as with tallyd's own rules.
        for (GroupRule rule : rules) {
            if (rule.matches(record.name())) {
                emit(rule, record, arrival, out);
                return;
            }
        }
        ungrouped.inc();
    }

    private void emit(GroupRule rule, MetricRecord record, Arrival arrival, Collector<Row> out) {
        for (String grouping : groupings(rule, record.tags())) {
            for (Duration window : rule.windows()) {
                if (start(arrival.windowEnd, window) >= notBefore) {
                    out.collect(row(grouping, window, record, arrival));
                } else {
                    before.inc();
                }
            }
        }
    }

    /** Two lists of tags select the same ones of a record that lacks some: it counts once in that group. */
    private static Set<String> groupings(GroupRule rule, SortedMap<String, String> tags) {
        Set<String> groupings = new LinkedHashSet<>();
        for (List<String> by : rule.by()) {
            groupings.add(SeriesText.ofTags(selected(tags, by)));
        }
        return groupings;
    }

    /** The start of the job's window that contains the last millisecond of a record's window. */
    private static long start(long windowEnd, Duration window) {
        long last = windowEnd - 1;
        return last - Math.floorMod(last, window.toMillis());
    }

    /** Tags that a record lacks are missing in its group too. */
    private static SortedMap<String, String> selected(SortedMap<String, String> tags, List<String> by) {
        SortedMap<String, String> selected = new TreeMap<>();
        for (String tag : by) {
            if (tags.containsKey(tag)) {
                selected.put(tag, tags.get(tag));
            }
        }
        return selected;
    }

    private static Row row(String grouping, Duration window, MetricRecord record, Arrival arrival) {
        return Row.of(
                record.name(),
                record.type(),
                grouping,
                window.toMillis(),
                arrival.instance + '\0' + arrival.series,
                arrival.windowEnd,
                record.fields().get("count"),
                record.fields().get("value"),
                record.fields().get("mean"),
                record.fields().get("stddev"),
                record.sketch());
    }

    /** The aggregation must not meet a record that it cannot merge: the job would fail on it forever. */
    private static void check(MetricRecord record, Arrival arrival)
            throws MalformedRecordException, MissingSketchException {
        if (!record.type().equals(arrival.kind) || record.timestamp() != arrival.windowEnd) {
            throw new MalformedRecordException("the value contradicts the headers tallyd.kind or tallyd.window");
        }
        if (!hasSketch(record) || isIdle(record)) {
            return;
        }
        if (record.sketch() == null) {
            throw new MissingSketchException();
        }
        if (record.type().equals("timer")) {
            TimerSketch.check(record.sketch());
        } else {
            SetSketch.check(record.sketch());
        }
    }

    private static void reject(
            Arrival arrival, String reason, String detail, ProcessFunction<Arrival, Row>.Context context) {
        context.output(Admission.REJECTED, new Rejection(arrival, reason, detail));
    }

    /** Tallyd was configured without sketches. */
    private static final class MissingSketchException extends Exception {
        MissingSketchException() {
            super("set `sketches: true` in tallyd's kafka section");
        }
    }
}
