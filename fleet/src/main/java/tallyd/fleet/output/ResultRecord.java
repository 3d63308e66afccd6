package tallyd.fleet.output;

import java.util.Map;
import java.util.SortedMap;

/** The content of a result; times are in (Unix) milliseconds, and {@code sketch} is null if there is none. */
record ResultRecord(
        String name,
        String kind,
        SortedMap<String, String> tags,
        long windowEnd,
        long windowMillis,
        Map<String, Double> fields,
        byte[] sketch) {

    ResultRecord withoutSketch() {
        return new ResultRecord(name, kind, tags, windowEnd, windowMillis, fields, null);
    }
}
