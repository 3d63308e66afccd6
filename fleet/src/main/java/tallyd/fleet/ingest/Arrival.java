package tallyd.fleet.ingest;

/**
 * A record as it arrived: its headers and the identity of its series are read. The rest of the value is parsed
 * after duplicates were removed.
 *
 * <p>The fields are public and not final because Flink's fast serializer requires it.
 */
public class Arrival {
    /** The run of the daemon that closed the window. */
    public String instance;
    public String kind;
    /** In Unix milliseconds. */
    public long windowEnd;
    /**
     * Name and tags as one text, from the value: the record's key has them only with {@code key: series} in tallyd's
     * configuration. The text of the key if the value is not a record.
     */
    public String series;
    public byte[] value;

    public String topic;
    public int partition;
    public long offset;
    /** The moment that the record's window is compared with: see {@link ArrivalReader}. */
    public long reference;
    /** Why the record is not counted, or null. */
    public String problem;
    /** More about the problem, or null. */
    public String detail;

    /** The identity of the series on its host, for the removal of duplicates. */
    public String identity() {
        return instance + '\0' + kind + '\0' + series;
    }
}
