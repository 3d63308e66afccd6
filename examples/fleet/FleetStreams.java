import static java.nio.charset.StandardCharsets.UTF_8;

import com.datadoghq.sketch.ddsketch.DDSketchWithExactSummaryStatistics;
import com.datadoghq.sketch.ddsketch.encoding.ByteArrayInput;
import com.datadoghq.sketch.ddsketch.encoding.GrowingByteArrayOutput;
import com.datadoghq.sketch.ddsketch.store.UnboundedSizeDenseStore;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.Base64;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.datasketches.hll.HllSketch;
import org.apache.datasketches.hll.TgtHllType;
import org.apache.datasketches.hll.Union;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Combines the counters, timers and sets of many tallyd with Kafka Streams, in windows of 10 s:
 * {@code FleetStreams BROKERS INPUT OUTPUT STATE_DIR TAG…}. A result counts records that differ only in tags
 * that are not listed, and has the key of the result that it corrects.
 */
public final class FleetStreams {
    private static final Duration WINDOW = Duration.ofSeconds(10);
    private static final Duration GRACE = Duration.ofMinutes(90);
    /** The size of tallyd's sketches: a smaller union is less accurate. */
    private static final int LG_REGISTERS = 16;
    private static final ObjectMapper JSON = new ObjectMapper();

    private FleetStreams() {}

    public static void main(String[] arguments) throws InterruptedException {
        var settings = new Properties();
        settings.put("application.id", "fleet-" + arguments[1]);
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("state.dir", arguments[3]);
        settings.put("processing.guarantee", "exactly_once_v2");
        settings.put("default.timestamp.extractor", WindowOfHeader.class);
        settings.put("auto.offset.reset", "earliest");
        var tags = java.util.List.of(arguments).subList(4, arguments.length);
        var streams = new KafkaStreams(topology(arguments[1], arguments[2], tags), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
        new CountDownLatch(1).await();
    }

    private static Topology topology(String input, String output, java.util.List<String> tags) {
        var builder = new StreamsBuilder();
        builder.addStateStore(Stores.windowStoreBuilder(
                Stores.persistentWindowStore("seen", GRACE, WINDOW, false), Serdes.String(), Serdes.ByteArray()));
        builder.stream(input, Consumed.with(Serdes.String(), Serdes.ByteArray()))
                .processValues(Once::new, "seen")
                .filter((key, value) -> hasTotal(parse(value)))
                .groupBy((key, value) -> group(parse(value), tags), Grouped.with(Serdes.String(), Serdes.ByteArray()))
                .windowedBy(TimeWindows.ofSizeAndGrace(WINDOW, GRACE))
                .aggregate(() -> new byte[0], (group, value, total) -> merge(parse(value), total),
                        Materialized.with(Serdes.String(), Serdes.ByteArray()))
                .toStream()
                .map(FleetStreams::result)
                .to(output, Produced.with(Serdes.String(), Serdes.String()));
        return builder.build();
    }

    /** Event time is the last millisecond of tallyd's window: its end is already in the next one. */
    public static final class WindowOfHeader implements org.apache.kafka.streams.processor.TimestampExtractor {
        @Override
        public long extract(org.apache.kafka.clients.consumer.ConsumerRecord<Object, Object> record, long time) {
            var header = record.headers().lastHeader("tallyd.window");
            // A negative time makes Kafka Streams skip the record. Its own topics have the time already.
            return header == null ? record.timestamp() : Long.parseLong(new String(header.value(), UTF_8)) - 1;
        }
    }

    /** Drops repeats: instance, window, kind and key are the same in a repeat and in no other record. */
    private static final class Once implements FixedKeyProcessor<String, byte[], byte[]> {
        private FixedKeyProcessorContext<String, byte[]> context;
        private WindowStore<String, byte[]> seen;

        @Override
        public void init(FixedKeyProcessorContext<String, byte[]> context) {
            this.context = context;
            this.seen = context.getStateStore("seen");
        }

        @Override
        public void process(FixedKeyRecord<String, byte[]> record) {
            var headers = record.headers();
            String identity = record.key();
            for (String name : new String[] {"tallyd.instance", "tallyd.kind"}) {
                identity += '\0' + new String(headers.lastHeader(name).value(), UTF_8);
            }
            if (seen.fetch(identity, record.timestamp()) == null) {
                seen.put(identity, new byte[0], record.timestamp());
                context.forward(record);
            }
        }
    }

    private static JsonNode parse(byte[] value) {
        try {
            return JSON.readTree(value);
        } catch (IOException malformed) {
            throw new UncheckedIOException(malformed);
        }
    }

    /** The total of a gauge is not a sum, and idle timers have nothing to merge. */
    private static boolean hasTotal(JsonNode record) {
        return switch (record.get("type").textValue()) {
            case "timer", "set" -> record.has("sketch");
            case "gauge" -> false;
            default -> true;
        };
    }

    private static String group(JsonNode record, java.util.List<String> tags) {
        var group = JSON.createObjectNode();
        group.set("name", record.get("name"));
        group.set("type", record.get("type"));
        var kept = group.putObject("tags");
        tags.stream().filter(record.get("tags")::has).forEach(tag -> kept.set(tag, record.get("tags").get(tag)));
        return group.toString();
    }

    /** The total after a record: a double, or a sketch. */
    private static byte[] merge(JsonNode record, byte[] total) {
        String type = record.get("type").textValue();
        if (!type.equals("timer") && !type.equals("set")) {
            double before = total.length == 0 ? 0 : ByteBuffer.wrap(total).getDouble();
            return ByteBuffer.allocate(8).putDouble(before + record.get("fields").get("count").doubleValue()).array();
        }
        byte[] sketch = Base64.getDecoder().decode(record.get("sketch").textValue());
        if (total.length == 0) {
            return sketch;
        }
        return type.equals("timer") ? mergeTimers(total, sketch) : mergeSets(total, sketch);
    }

    private static byte[] mergeTimers(byte[] total, byte[] sketch) {
        try {
            var merged = timer(total);
            merged.decodeAndMergeWith(ByteArrayInput.wrap(sketch));
            var out = GrowingByteArrayOutput.withDefaultInitialCapacity();
            merged.encode(out, false);
            return out.trimmedCopy();
        } catch (IOException invalid) {
            throw new UncheckedIOException(invalid);
        }
    }

    private static DDSketchWithExactSummaryStatistics timer(byte[] sketch) throws IOException {
        return DDSketchWithExactSummaryStatistics.decode(ByteArrayInput.wrap(sketch), UnboundedSizeDenseStore::new);
    }

    private static byte[] mergeSets(byte[] total, byte[] sketch) {
        var union = new Union(LG_REGISTERS);
        union.update(HllSketch.heapify(total));
        union.update(HllSketch.heapify(sketch));
        return union.getResult(TgtHllType.HLL_8).toCompactByteArray();
    }

    private static KeyValue<String, String> result(Windowed<String> group, byte[] total) {
        ObjectNode result = (ObjectNode) parse(group.key().getBytes(UTF_8));
        result.put("timestamp", group.window().end()).put("interval", WINDOW.toSeconds());
        ObjectNode fields = result.putObject("fields");
        try {
            switch (result.get("type").textValue()) {
                case "timer" -> {
                    var timer = timer(total);
                    fields.put("count", timer.getCount()).put("sum", timer.getSum());
                    fields.put("p50", timer.getValueAtQuantile(0.5)).put("p99", timer.getValueAtQuantile(0.99));
                }
                case "set" -> fields.put("count", Math.round(HllSketch.heapify(total).getEstimate()));
                default -> fields.put("count", ByteBuffer.wrap(total).getDouble());
            }
        } catch (IOException invalid) {
            throw new UncheckedIOException(invalid);
        }
        return KeyValue.pair(group.key() + ';' + group.window().end(), result.toString());
    }
}
