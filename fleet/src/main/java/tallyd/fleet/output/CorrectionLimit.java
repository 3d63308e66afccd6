package tallyd.fleet.output;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.metrics.Counter;
import org.apache.flink.streaming.api.TimeDomain;
import org.apache.flink.streaming.api.TimerService;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/**
 * Passes a result at once, and its corrections at most once per pause: the latest one replaces those before it.
 *
 * <p>Flink limits the corrections of a window by itself only if the window had a result when time passed its end.
 * The window of a host whose records all come later, such as after an outage or while the job is behind, yields a
 * result for each record.
 *
 * <p>The key is the series, not the result, so that the windows of a series stay in order.
 */
public final class CorrectionLimit extends KeyedProcessFunction<String, Result, Result> {
    private final long pause;

    /** By {@link Result#key()}: the results that were passed within the last pause. */
    private transient MapState<String, Passed> passed;

    private transient Counter replaced;

    /** The fields are public and not final because Flink's fast serializer requires it. */
    public static class Passed {
        /** Processing time before which the next correction waits, in Unix milliseconds. */
        public long until;
        /** The correction that waits; null if there is none. */
        public Result next;
    }

    public CorrectionLimit(Duration pause) {
        this.pause = pause.toMillis();
    }

    @Override
    public void open(OpenContext context) {
        passed = getRuntimeContext()
                .getMapState(new MapStateDescriptor<>("passed", Types.STRING, TypeInformation.of(Passed.class)));
        replaced = getRuntimeContext().getMetricGroup().counter("tallyd_corrections_replaced");
    }

    @Override
    public void processElement(Result result, Context context, Collector<Result> out) throws Exception {
        String key = result.key();
        Passed before = passed.get(key);
        if (pause == 0 && before == null) {
            // The operator stays in the job without a pause, so that a savepoint fits after its change.
            out.collect(result);
            return;
        }
        if (before == null) {
            pass(key, result, context.timerService(), out);
            return;
        }
        if (before.next == null) {
            // `stop --drain` ends the stream: time then jumps to its end, and no pause has another one.
            context.timerService().registerEventTimeTimer(Long.MAX_VALUE);
        } else {
            replaced.inc();
        }
        before.next = result;
        passed.put(key, before);
    }

    @Override
    public void onTimer(long time, OnTimerContext context, Collector<Result> out) throws Exception {
        boolean atEnd = context.timeDomain() == TimeDomain.EVENT_TIME;
        List<Map.Entry<String, Passed>> due = new ArrayList<>();
        boolean othersWait = false;
        for (Map.Entry<String, Passed> entry : passed.entries()) {
            if (atEnd || entry.getValue().until <= time) {
                due.add(Map.entry(entry.getKey(), entry.getValue()));
            } else {
                othersWait |= entry.getValue().next != null;
            }
        }
        due.sort((one, other) -> Long.compare(windowEnd(one), windowEnd(other)));
        for (Map.Entry<String, Passed> entry : due) {
            passed.remove(entry.getKey());
            if (entry.getValue().next != null) {
                pass(entry.getKey(), entry.getValue().next, context.timerService(), out);
            }
        }
        if (!othersWait) {
            context.timerService().deleteEventTimeTimer(Long.MAX_VALUE);
        }
    }

    private static long windowEnd(Map.Entry<String, Passed> entry) {
        return entry.getValue().next == null ? Long.MIN_VALUE : entry.getValue().next.windowEnd;
    }

    private void pass(String key, Result result, TimerService timers, Collector<Result> out) throws Exception {
        out.collect(result);
        Passed now = new Passed();
        now.until = timers.currentProcessingTime() + pause;
        passed.put(key, now);
        timers.registerProcessingTimeTimer(now.until);
    }
}
