package tallyd.fleet.record;

import java.util.SortedMap;
import java.util.TreeMap;

/** A parsed record: one series in one window. */
public final class MetricRecord {
    String name;
    String type;
    long timestamp = -1;
    final SortedMap<String, String> tags = new TreeMap<>();
    final SortedMap<String, Double> fields = new TreeMap<>();
    byte[] sketch;

    public String name() {
        return name;
    }

    public String type() {
        return type;
    }

    public long timestamp() {
        return timestamp;
    }

    public SortedMap<String, String> tags() {
        return tags;
    }

    public SortedMap<String, Double> fields() {
        return fields;
    }

    /** Null if the record has none. */
    public byte[] sketch() {
        return sketch;
    }
}
