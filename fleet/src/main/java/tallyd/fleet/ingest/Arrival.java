package tallyd.fleet.ingest;

import java.nio.charset.StandardCharsets;

/**
 * A record as it arrived: its headers are read, its value is not. Duplicates are removed before the value is
 * parsed.
 *
 * <p>The fields are public and not final because Flink's fast serializer requires it.
 */
public class Arrival {
    /** The run of the daemon that closed the window. */
    public String instance;
    public String kind;
    /** In Unix milliseconds. */
    public long windowEnd;
    public byte[] key;
    public byte[] value;

    public String topic;
    public int partition;
    public long offset;
    /** The moment that the record's window is compared with: see {@link ArrivalReader}. */
    public long reference;
    /** Why the record is not counted, or null. */
    public String problem;

    /** The identity of the series on its host, for the removal of duplicates. */
    public String series() {
        return instance + '\0' + kind + '\0' + keyText();
    }

    public String keyText() {
        return new String(key, StandardCharsets.UTF_8);
    }
}
