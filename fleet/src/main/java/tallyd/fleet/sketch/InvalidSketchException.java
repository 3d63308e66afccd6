package tallyd.fleet.sketch;

/** Bytes that are not a sketch as tallyd writes it. */
public final class InvalidSketchException extends IllegalArgumentException {
    public InvalidSketchException(String message) {
        super(message);
    }

    public InvalidSketchException(String message, Throwable cause) {
        super(message, cause);
    }
}
