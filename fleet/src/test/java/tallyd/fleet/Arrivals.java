package tallyd.fleet;

import static java.nio.charset.StandardCharsets.UTF_8;

import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import org.apache.flink.api.common.eventtime.Watermark;
import org.apache.flink.api.common.eventtime.WatermarkGenerator;
import org.apache.flink.api.common.eventtime.WatermarkOutput;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import tallyd.fleet.ingest.Arrival;

/** Records of tallyd in the order of their arrival, and the times that watermarks reach between them. */
final class Arrivals {
    static final long START = 1_800_000_000_000L - 1_800_000_000_000L % 60_000;
    private static final String CLOCK = "clock";

    private final List<Arrival> arrivals = new ArrayList<>();

    List<Arrival> list() {
        return arrivals;
    }

    /** The end of a window of 10 s. */
    static long end(int window) {
        return START + window * 10_000L;
    }

    void record(String host, String kind, String name, String tags, int window, String fields) {
        record(host, kind, name, tags, window, fields, null);
    }

    void record(String host, String kind, String name, String tags, int window, String fields, byte[] sketch) {
        String json = "{\"name\":\"" + name + "\",\"type\":\"" + kind + "\",\"timestamp\":" + end(window)
                + ",\"interval\":10,\"tags\":{" + tags + "},\"fields\":{" + fields + "}"
                + (sketch == null ? "" : ",\"sketch\":\"" + Base64.getEncoder().encodeToString(sketch) + "\"") + "}";
        arrival(host, kind, name + "," + tags, end(window), json);
    }

    Arrival arrival(String host, String kind, String series, long end, String json) {
        Arrival arrival = new Arrival();
        arrival.instance = host;
        arrival.kind = kind;
        arrival.windowEnd = end;
        arrival.series = series;
        arrival.value = json.getBytes(UTF_8);
        arrival.topic = "metrics";
        arrival.reference = end;
        arrivals.add(arrival);
        return arrival;
    }

    void counter(String host, String name, String env, int window, double count) {
        String tags = "\"env\":\"" + env + "\",\"host\":\"" + host + "\"";
        record(host, "counter", name, tags, window, "\"count\":" + count);
    }

    /** The time that the watermarks reach next. */
    void time(int window) {
        arrival(CLOCK, "counter", CLOCK, end(window), "{}").problem = CLOCK;
    }

    /** Time advances only with the records that {@link #time} adds. */
    static WatermarkStrategy<Arrival> watermarks() {
        return WatermarkStrategy
                .<Arrival>forGenerator(any -> new Clock())
                .withTimestampAssigner((arrival, any) -> arrival.windowEnd - 1);
    }

    private static final class Clock implements WatermarkGenerator<Arrival> {
        @Override
        public void onEvent(Arrival arrival, long timestamp, WatermarkOutput output) {
            if (CLOCK.equals(arrival.problem)) {
                output.emitWatermark(new Watermark(arrival.reference));
            }
        }

        @Override
        public void onPeriodicEmit(WatermarkOutput output) {}
    }
}
