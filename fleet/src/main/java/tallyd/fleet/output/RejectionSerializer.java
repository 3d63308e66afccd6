package tallyd.fleet.output;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.kafka.clients.producer.ProducerRecord;
import tallyd.fleet.ingest.Arrival;
import tallyd.fleet.ingest.Rejection;

/** Writes why a record was not counted, and where in the input it is. */
public final class RejectionSerializer implements KafkaRecordSerializationSchema<Rejection> {
    private static final JsonFactory JSON = new JsonFactory();

    private final String topic;

    public RejectionSerializer(String topic) {
        this.topic = topic;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(Rejection rejection, KafkaSinkContext context, Long timestamp) {
        return new ProducerRecord<>(topic, rejection.arrival.instance.getBytes(UTF_8), write(rejection));
    }

    static byte[] write(Rejection rejection) {
        Arrival arrival = rejection.arrival;
        ByteArrayOutputStream out = new ByteArrayOutputStream(256);
        try (JsonGenerator json = JSON.createGenerator(out)) {
            json.writeStartObject();
            json.writeStringField("reason", rejection.reason);
            json.writeStringField("detail", rejection.detail);
            json.writeStringField("instance", arrival.instance);
            json.writeStringField("kind", arrival.kind);
            json.writeNumberField("window", arrival.windowEnd);
            json.writeStringField("key", arrival.keyText());
            json.writeStringField("topic", arrival.topic);
            json.writeNumberField("partition", arrival.partition);
            json.writeNumberField("offset", arrival.offset);
            json.writeEndObject();
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible);
        }
        return out.toByteArray();
    }
}
