package tallyd.fleet.ingest;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ListState;
import org.apache.flink.api.common.state.ListStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.metrics.Counter;
import org.apache.flink.runtime.state.FunctionInitializationContext;
import org.apache.flink.runtime.state.FunctionSnapshotContext;
import org.apache.flink.streaming.api.checkpoint.CheckpointedFunction;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.flink.util.OutputTag;

/**
 * Lets each record pass once: removes duplicates, and rejects records that are later than the grace period.
 *
 * <p>Both use the same horizon. Windows before it are forgotten, so the state is bounded; a duplicate of a
 * forgotten window is late, so it is not counted either.
 */
public final class Admission extends KeyedProcessFunction<String, Arrival, Arrival> implements CheckpointedFunction {
    public static final OutputTag<Rejection> REJECTED = new OutputTag<>("rejected") {};

    private final long grace;
    private final int maxRuns;

    private transient ValueState<SeenWindows> seen;
    private transient Counter admitted;
    private transient Counter duplicates;

    /**
     * The time that had been reached. After a restart, watermarks begin at the start of time again. Without
     * this one, a very late record would pass, and its window, whose state is gone, would be written again
     * with this record alone.
     */
    private transient ListState<Long> storedTime;
    private transient long time;

    public Admission(long graceMillis) {
        this.grace = graceMillis;
        this.maxRuns = SeenWindows.maxRuns(graceMillis);
    }

    @Override
    public void open(OpenContext context) {
        seen = getRuntimeContext().getState(new ValueStateDescriptor<>("windows", SeenWindowsSerializer.INSTANCE));
        admitted = getRuntimeContext().getMetricGroup().counter("tallyd_admitted");
        duplicates = getRuntimeContext().getMetricGroup().counter("tallyd_duplicates");
    }

    @Override
    public void processElement(Arrival arrival, Context context, Collector<Arrival> out) throws Exception {
        time = Math.max(time, context.timerService().currentWatermark());
        if (arrival.problem != null) {
            context.output(REJECTED, new Rejection(arrival, arrival.problem, arrival.detail));
        } else if (arrival.windowEnd <= horizon()) {
            reject(arrival, Rejection.LATE, context);
        } else {
            admit(arrival, context, out);
        }
    }

    private void admit(Arrival arrival, Context context, Collector<Arrival> out) throws Exception {
        SeenWindows windows = seen.value();
        if (windows == null) {
            windows = new SeenWindows();
            context.timerService().registerEventTimeTimer(arrival.windowEnd + grace);
        }
        windows.forget(horizon());
        switch (windows.add(arrival.windowEnd, maxRuns)) {
            case NEW -> {
                seen.update(windows);
                admitted.inc();
                out.collect(arrival);
            }
            case DUPLICATE -> duplicates.inc();
            case FULL -> reject(arrival, Rejection.TOO_MANY_WINDOWS, context);
        }
    }

    /** Clears the state of a series that ended. One timer per series is enough: it is renewed if necessary. */
    @Override
    public void onTimer(long timestamp, OnTimerContext context, Collector<Arrival> out) throws Exception {
        SeenWindows windows = seen.value();
        if (windows == null) {
            return;
        }
        long end = windows.latest() + grace;
        if (end > timestamp) {
            context.timerService().registerEventTimeTimer(end);
        } else {
            seen.clear();
        }
    }

    private long horizon() {
        // `time` is the start of time at first, of which nothing can be subtracted.
        return time == Long.MIN_VALUE ? time : time - grace;
    }

    private static void reject(Arrival arrival, String reason, KeyedProcessFunction<?, ?, ?>.Context context) {
        context.output(REJECTED, new Rejection(arrival, reason, null));
    }

    @Override
    public void initializeState(FunctionInitializationContext context) throws Exception {
        storedTime = context.getOperatorStateStore()
                .getUnionListState(new ListStateDescriptor<>("time", Types.LONG));
        time = Long.MIN_VALUE;
        for (long stored : storedTime.get()) {
            time = Math.max(time, stored);
        }
    }

    @Override
    public void snapshotState(FunctionSnapshotContext context) throws Exception {
        storedTime.clear();
        storedTime.add(time);
    }
}
