package tallyd.fleet.ingest;

import java.nio.charset.StandardCharsets;
import java.util.function.LongSupplier;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.record.TimestampType;
import tallyd.fleet.record.MalformedRecordException;
import tallyd.fleet.record.RecordParser;

/**
 * Reads the headers of records and the identity of their series, and finds records of hosts whose clock is ahead.
 *
 * <p>A record's window is compared with the moment at which the broker appended it, if the topic stores that
 * ({@code message.timestamp.type=LogAppendTime}). It is the best reference: it depends neither on the clocks of
 * hosts nor on how far the job is behind. Otherwise the reference is now.
 */
public final class ArrivalReader implements KafkaRecordDeserializationSchema<Arrival> {
    private static final byte[] NOTHING = {};

    private final long maxAhead;

    public ArrivalReader(long maxAheadMillis) {
        this.maxAhead = maxAheadMillis;
    }

    @Override
    public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Arrival> out) {
        out.collect(read(record, System::currentTimeMillis));
    }

    Arrival read(ConsumerRecord<byte[], byte[]> record, LongSupplier clock) {
        Arrival arrival = new Arrival();
        arrival.topic = record.topic();
        arrival.partition = record.partition();
        arrival.offset = record.offset();
        arrival.value = record.value() == null ? NOTHING : record.value();
        arrival.instance = header(record, "tallyd.instance");
        arrival.kind = header(record, "tallyd.kind");
        arrival.windowEnd = window(header(record, "tallyd.window"));
        long appended = record.timestampType() == TimestampType.LOG_APPEND_TIME ? record.timestamp() : -1;
        arrival.reference = appended >= 0 ? appended : clock.getAsLong();
        arrival.problem = problem(arrival);
        identify(arrival, record);
        if (appended < 0) {
            // Only for progress: while the job is behind, now says nothing about the record's age.
            arrival.reference = Math.min(arrival.reference, Math.max(arrival.windowEnd, 0));
        }
        return arrival;
    }

    private String problem(Arrival arrival) {
        if (arrival.instance.isEmpty() || arrival.kind.isEmpty() || arrival.windowEnd < 0) {
            return Rejection.NO_HEADERS;
        }
        return arrival.windowEnd > arrival.reference + maxAhead ? Rejection.CLOCK_AHEAD : null;
    }

    private static void identify(Arrival arrival, ConsumerRecord<byte[], byte[]> record) {
        try {
            arrival.series = RecordParser.series(arrival.value);
        } catch (MalformedRecordException malformed) {
            arrival.series = text(record.key());
            if (arrival.problem == null) {
                arrival.problem = Rejection.MALFORMED;
                arrival.detail = malformed.getMessage();
            }
        }
    }

    private static String header(ConsumerRecord<byte[], byte[]> record, String name) {
        Header header = record.headers().lastHeader(name);
        return header == null ? "" : text(header.value());
    }

    private static String text(byte[] bytes) {
        return bytes == null ? "" : new String(bytes, StandardCharsets.UTF_8);
    }

    private static long window(String text) {
        try {
            return Long.parseLong(text);
        } catch (NumberFormatException notANumber) {
            return -1;
        }
    }

    @Override
    public TypeInformation<Arrival> getProducedType() {
        return TypeInformation.of(Arrival.class);
    }
}
