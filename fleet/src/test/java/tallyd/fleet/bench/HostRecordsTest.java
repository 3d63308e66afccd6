package tallyd.fleet.bench;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.junit.jupiter.api.Test;
import tallyd.fleet.record.MetricRecord;
import tallyd.fleet.record.RecordParser;
import tallyd.fleet.record.SeriesText;
import tallyd.fleet.sketch.SetSketch;
import tallyd.fleet.sketch.TimerSketch;

/** `fleet/scale.sh form` compares these records with those of a real tallyd as well. */
class HostRecordsTest {
    private static final long END = 1_800_000_000_000L;

    private static List<ProducerRecord<byte[], byte[]>> window(int host, long end) {
        List<ProducerRecord<byte[], byte[]>> records = new ArrayList<>();
        new HostRecords("metrics", 10, 1).window(host, end, records::add);
        return records;
    }

    private static String header(ProducerRecord<byte[], byte[]> record, String name) {
        return new String(record.headers().lastHeader(name).value());
    }

    @Test
    void aHostHasAThousandSeriesOfAllKindsWithDifferentKeys() {
        Set<String> keys = new HashSet<>();
        Map<String, Integer> kinds = new TreeMap<>();
        for (ProducerRecord<byte[], byte[]> record : window(7, END)) {
            keys.add(new String(record.key()));
            kinds.merge(header(record, "tallyd.kind"), 1, Integer::sum);
        }
        assertEquals(HostSeries.PER_HOST, keys.size());
        assertEquals(Map.of("counter", 500, "timer", 250, "gauge", 150, "set", 50, "trace", 50), kinds);
    }

    @Test
    void keyHeadersAndTimestampAgreeWithTheValue() throws Exception {
        for (ProducerRecord<byte[], byte[]> record : window(3, END)) {
            MetricRecord parsed = RecordParser.parse(record.value());
            assertEquals(SeriesText.of(parsed.name(), new TreeMap<>(parsed.tags())), new String(record.key()));
            assertEquals(parsed.type(), header(record, "tallyd.kind"));
            assertEquals(Long.toString(parsed.timestamp()), header(record, "tallyd.window"));
            assertEquals(16, header(record, "tallyd.instance").length());
            assertEquals(END, record.timestamp());
        }
    }

    @Test
    void aSketchHoldsWhatTheFieldsSay() throws Exception {
        for (ProducerRecord<byte[], byte[]> record : window(0, END)) {
            MetricRecord parsed = RecordParser.parse(record.value());
            double count = parsed.fields().getOrDefault("count", 0.0);
            if (parsed.type().equals("timer")) {
                TimerSketch sketch = TimerSketch.of(parsed.sketch());
                assertEquals(count, sketch.count());
                assertEquals(parsed.fields().get("sum"), sketch.sum(), 1e-9 * sketch.sum());
                assertEquals(parsed.fields().get("max"), sketch.max());
                double p99 = parsed.fields().get("p99");
                assertEquals(p99, sketch.quantile(0.99), 0.0055 * p99);
            } else if (parsed.type().equals("set")) {
                assertEquals(count, SetSketch.of(parsed.sketch()).estimate(), 0.001 * count);
            }
        }
    }

    @Test
    void theSameSeedRepeatsTheRecordsAndEachWindowAndHostHasOthers() {
        Map<String, byte[]> first = new HashMap<>();
        window(5, END).forEach(record -> first.put(new String(record.key()), record.value()));
        int changed = 0;
        List<ProducerRecord<byte[], byte[]>> again = window(5, END);
        List<ProducerRecord<byte[], byte[]>> next = window(5, END + 10_000);
        for (int n = 0; n < again.size(); n++) {
            String key = new String(again.get(n).key());
            assertArrayEquals(first.get(key), again.get(n).value());
            assertEquals(key, new String(next.get(n).key()));
            changed += fields(again.get(n)).equals(fields(next.get(n))) ? 0 : 1;
        }
        assertTrue(changed > 800, changed + " of 1000 series changed");
        assertNotEquals(header(again.get(0), "tallyd.instance"), header(window(6, END).get(0), "tallyd.instance"));
    }

    private static String fields(ProducerRecord<byte[], byte[]> record) {
        String value = new String(record.value());
        return value.substring(value.indexOf("\"fields\""));
    }
}
