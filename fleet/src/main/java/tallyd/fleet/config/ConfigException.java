package tallyd.fleet.config;

/** A mistake in the configuration file, with its place: {@code FILE:LINE:COLUMN: message}. */
public final class ConfigException extends RuntimeException {
    public ConfigException(String message) {
        super(message);
    }
}
