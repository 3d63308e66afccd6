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
    /** Of each text: a rejected record may be as large as brokers allow, and its rejection must still fit. */
    private static final int MAX_LENGTH = 1_024;

    private final String topic;

    public RejectionSerializer(String topic) {
        this.topic = topic;
    }

    @Override
    public ProducerRecord<byte[], byte[]> serialize(Rejection rejection, KafkaSinkContext context, Long timestamp) {
        return new ProducerRecord<>(topic, bounded(rejection.arrival.instance).getBytes(UTF_8), write(rejection));
    }

    static byte[] write(Rejection rejection) {
        Arrival arrival = rejection.arrival;
        ByteArrayOutputStream out = new ByteArrayOutputStream(256);
        try (JsonGenerator json = JSON.createGenerator(out)) {
            json.writeStartObject();
            json.writeStringField("reason", rejection.reason);
            json.writeStringField("detail", bounded(rejection.detail));
            json.writeStringField("instance", bounded(arrival.instance));
            json.writeStringField("kind", bounded(arrival.kind));
            json.writeNumberField("window", arrival.windowEnd);
            json.writeStringField("series", bounded(arrival.series));
            json.writeStringField("topic", arrival.topic);
            json.writeNumberField("partition", arrival.partition);
            json.writeNumberField("offset", arrival.offset);
            json.writeEndObject();
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible);
        }
        return out.toByteArray();
    }

    private static String bounded(String text) {
        if (text == null) {
            return "";
        }
        return text.length() <= MAX_LENGTH ? text : text.substring(0, MAX_LENGTH) + "…";
    }
}
