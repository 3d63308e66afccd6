package tallyd.fleet.config;

import java.io.Serializable;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;

/** The job's configuration, checked. docs/fleet.md describes the keys. */
public record FleetConfig(
        Kafka kafka,
        Input input,
        Output output,
        Time time,
        List<Duration> windows,
        List<Double> percentiles,
        List<GroupRule> groups,
        Checkpoints checkpoints,
        List<Query> queries,
        int parallelism)
        implements Serializable {

    /** How long brokers keep a transaction open unless `kafka.properties` says otherwise: their own default limit. */
    public static final Duration TRANSACTION_TIMEOUT = Duration.ofMinutes(15);

    /** Connects all clients. */
    public record Kafka(String brokers, Map<String, String> properties) implements Serializable {}

    /** Where the records of tallyd are. */
    public record Input(List<String> topics, String group, String start) implements Serializable {}

    /** Where and how results are written; {@code rejectedTopic} and {@code notBefore} may be null. */
    public record Output(
            String topic,
            String rejectedTopic,
            String prefix,
            Map<String, String> tags,
            boolean sketches,
            String delivery,
            int maxRecordBytes,
            Instant notBefore)
            implements Serializable {}

    /** How the job treats late, early and missing records. */
    public record Time(
            Duration delay, Duration grace, Duration correctEvery, Duration maxAhead, Duration idleAfter)
            implements Serializable {}

    public record Checkpoints(Duration interval, String directory) implements Serializable {}

    /** A query of the user, whose rows become results as well. */
    public record Query(String name, Duration window, String sql) implements Serializable {}

    /** The length of the longest window. */
    public Duration longestWindow() {
        return windows.stream().max(Duration::compareTo).orElseThrow();
    }
}
