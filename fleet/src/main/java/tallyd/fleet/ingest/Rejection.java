package tallyd.fleet.ingest;

/** A record that no result contains, and the reason. */
public class Rejection {
    /** A header is missing: the record is not one of tallyd. */
    public static final String NO_HEADERS = "no_headers";
    /** The window ends too far in the future: the host's clock is wrong. */
    public static final String CLOCK_AHEAD = "clock_ahead";
    /** The window ended more than the grace period ago. */
    public static final String LATE = "late";
    /** One series has records of more windows than a daemon can have closed in the grace period. */
    public static final String TOO_MANY_WINDOWS = "too_many_windows";
    /** The value is not a record in tallyd's JSON format, or contradicts the headers. */
    public static final String MALFORMED = "malformed";
    /** The value of a timer or set has no sketch: {@code sketches: true} is missing. */
    public static final String NO_SKETCH = "no_sketch";
    /** The sketch cannot be decoded or merged. */
    public static final String INVALID_SKETCH = "invalid_sketch";

    public Arrival arrival;
    public String reason;
    /** More about the reason, or null. */
    public String detail;

    public Rejection() {}

    public Rejection(Arrival arrival, String reason, String detail) {
        this.arrival = arrival;
        this.reason = reason;
        this.detail = detail;
    }
}
