package tallyd.fleet.record;

/** A value that is not a record in tallyd's JSON format. */
public final class MalformedRecordException extends Exception {
    public MalformedRecordException(String message) {
        super(message);
    }
}
