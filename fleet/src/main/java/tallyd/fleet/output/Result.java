package tallyd.fleet.output;

/**
 * A result: one group in one window, ready to be written. A later result with the same key replaces it.
 *
 * <p>The fields are public and not final because Flink's fast serializer requires it.
 */
public class Result {
    /** Name and tags, which select the partition. */
    public String series;
    public String kind;
    /** In Unix milliseconds. */
    public long windowEnd;
    public long windowMillis;
    public byte[] json;

    /** The group and metric as tallyd writes them, then kind, window length and window end. */
    public String key() {
        return series + ";" + kind + ";" + windowMillis / 1_000 + "s;" + windowEnd;
    }
}
