package tallyd.fleet.bench;

import java.util.Map;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes the records of many hosts to a topic: {@code Generate BROKERS TOPIC HOSTS INTERVAL WINDOWS [live]}.
 *
 * <p>With {@code live}, each window is written when it ends, all hosts at once, as tallyd does. Otherwise the windows
 * of the past are written as fast as possible, and one more record for each partition, whose window ends later than
 * theirs, so that the job can complete them. The records are the same in each run, except for their times. The program
 * ends with a line of JSON about what it wrote.
 */
public final class Generate {
    private static final long SEED = 18;
    /** So old that the job considers itself behind, and follows the time of the records. */
    private static final long AGE_MS = 300_000;
    private static final long MINUTE_MS = 60_000;

    private final KafkaProducer<byte[], byte[]> producer;
    private final HostRecords records;
    private final String topic;
    private final int hosts;
    private final long intervalMs;
    private volatile Exception failure;
    private long written;

    private Generate(String brokers, String topic, int hosts, int intervalSeconds) {
        this.producer = new KafkaProducer<>(properties(brokers), new ByteArraySerializer(), new ByteArraySerializer());
        this.records = new HostRecords(topic, intervalSeconds, SEED);
        this.topic = topic;
        this.hosts = hosts;
        this.intervalMs = intervalSeconds * 1_000L;
    }

    public static void main(String[] arguments) throws Exception {
        Generate generate = new Generate(
                arguments[0], arguments[1], Integer.parseInt(arguments[2]), Integer.parseInt(arguments[3]));
        int windows = Integer.parseInt(arguments[4]);
        long began = System.nanoTime();
        long last = arguments.length > 5 ? generate.live(windows) : generate.past(windows);
        generate.finish(last, (System.nanoTime() - began) / 1e9);
    }

    /** tallyd's own settings: librdkafka fills batches for 5 ms, up to 1 MB. */
    private static Map<String, Object> properties(String brokers) {
        return Map.of(
                "bootstrap.servers", brokers,
                "acks", "all",
                "compression.type", "lz4",
                "linger.ms", 5,
                "batch.size", 1_000_000,
                "buffer.memory", 128L << 20);
    }

    private long past(int windows) {
        long newest = (System.currentTimeMillis() - AGE_MS) / MINUTE_MS * MINUTE_MS;
        for (int n = windows - 1; n >= 0; n--) {
            window(newest - n * intervalMs);
        }
        for (int partition = 0; partition < producer.partitionsFor(topic).size(); partition++) {
            producer.send(records.end(partition, newest + 2 * MINUTE_MS), this::sent);
        }
        return newest;
    }

    private long live(int windows) throws InterruptedException {
        long end = (System.currentTimeMillis() / MINUTE_MS + 1) * MINUTE_MS;
        for (int n = 0; n < windows; n++, end += intervalMs) {
            Thread.sleep(Math.max(0, end - System.currentTimeMillis()));
            window(end);
            producer.flush();
            System.err.printf("window %d: %d records within %d ms of its end%n",
                    end, hosts * HostSeries.PER_HOST, System.currentTimeMillis() - end);
        }
        return end - intervalMs;
    }

    private void window(long end) {
        for (int host = 0; host < hosts; host++) {
            records.window(host, end, record -> producer.send(record, this::sent));
            written += HostSeries.PER_HOST;
        }
    }

    private void sent(Object metadata, Exception error) {
        if (error != null) {
            failure = error;
        }
    }

    private void finish(long last, double seconds) throws Exception {
        producer.close();
        if (failure != null) {
            throw failure;
        }
        System.out.printf("{\"records\": %d, \"bytes\": %d, \"requests\": %d, \"last\": %d, \"seconds\": %.1f}%n",
                written, records.bytes(), records.requests(), last, seconds);
    }
}
