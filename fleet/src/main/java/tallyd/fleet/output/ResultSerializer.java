package tallyd.fleet.output;

import static java.nio.charset.StandardCharsets.UTF_8;

import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.utils.Utils;

/**
 * Writes a result as a Kafka record.
 *
 * <p>The key contains the window, so that a correction replaces its predecessor, in a compacted topic as well.
 * The partition depends on the series alone, so that its windows stay in order.
 */
public final class ResultSerializer implements KafkaRecordSerializationSchema<Result> {
    /** The value of the header {@code tallyd.instance} in all results. */
    static final String INSTANCE = "fleet";

    private final String topic;

    public ResultSerializer(String topic) {
        this.topic = topic;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(Result result, KafkaSinkContext context, Long timestamp) {
        int partition = partition(result.series, context.getPartitionsForTopic(topic));
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(
                topic, partition, result.windowEnd, result.key().getBytes(UTF_8), result.json);
        record.headers()
                .add("tallyd.instance", INSTANCE.getBytes(UTF_8))
                .add("tallyd.window", Long.toString(result.windowEnd).getBytes(UTF_8))
                .add("tallyd.kind", result.kind.getBytes(UTF_8));
        return record;
    }

    /** Kafka's own function of the key, applied to the series. */
    private static int partition(String series, int[] partitions) {
        return partitions[Utils.toPositive(Utils.murmur2(series.getBytes(UTF_8))) % partitions.length];
    }
}
