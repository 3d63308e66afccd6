import static java.nio.charset.StandardCharsets.UTF_8;

import com.datadoghq.sketch.ddsketch.DDSketchWithExactSummaryStatistics;
import com.datadoghq.sketch.ddsketch.encoding.ByteArrayInput;
import com.datadoghq.sketch.ddsketch.store.UnboundedSizeDenseStore;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.Base64;
import java.util.Map;
import java.util.TreeMap;
import org.apache.datasketches.hll.HllSketch;
import org.apache.datasketches.hll.Union;

/**
 * Merges the sketches of all hosts and windows, by metric. Reads tallyd's Kafka records from standard
 * input, one per line, and prints a JSON object per metric. The arguments are percentiles, by default
 * 50, 90, 95 and 99.
 */
public final class MergeSketches {
    private static final String[] PERCENTILES = {"50", "90", "95", "99"};
    /** The size of tallyd's sketches: a smaller union is less accurate. */
    private static final int LG_REGISTERS = 16;

    private final String[] percentiles;
    private final ObjectMapper json = new ObjectMapper();
    private final Map<String, DDSketchWithExactSummaryStatistics> timers = new TreeMap<>();
    private final Map<String, Union> sets = new TreeMap<>();

    private MergeSketches(String[] percentiles) {
        this.percentiles = percentiles;
    }

    public static void main(String[] arguments) throws IOException {
        var merged = new MergeSketches(arguments.length == 0 ? PERCENTILES : arguments);
        var records = new BufferedReader(new InputStreamReader(System.in, UTF_8));
        for (String line; (line = records.readLine()) != null; ) {
            merged.add(merged.json.readTree(line));
        }
        merged.print();
    }

    private void add(JsonNode record) throws IOException {
        if (!record.has("sketch")) {
            return;
        }
        String name = record.get("name").textValue();
        byte[] sketch = Base64.getDecoder().decode(record.get("sketch").textValue());
        if (record.get("type").textValue().equals("timer")) {
            addTimer(name, ByteArrayInput.wrap(sketch));
        } else {
            sets.computeIfAbsent(name, any -> new Union(LG_REGISTERS)).update(HllSketch.heapify(sketch));
        }
    }

    private void addTimer(String name, ByteArrayInput sketch) throws IOException {
        var timer = timers.get(name);
        if (timer == null) {
            timers.put(name, DDSketchWithExactSummaryStatistics.decode(sketch, UnboundedSizeDenseStore::new));
        } else {
            timer.decodeAndMergeWith(sketch);
        }
    }

    private void print() {
        timers.forEach((name, timer) -> {
            ObjectNode object = json.createObjectNode().put("name", name).put("type", "timer");
            object.put("count", timer.getCount()).put("sum", timer.getSum());
            object.put("min", timer.getMinValue()).put("max", timer.getMaxValue());
            for (String percentile : percentiles) {
                double quantile = Double.parseDouble(percentile) / 100;
                object.put("p" + percentile, timer.getValueAtQuantile(quantile));
            }
            System.out.println(object);
        });
        sets.forEach((name, set) -> {
            ObjectNode object = json.createObjectNode().put("name", name).put("type", "set");
            System.out.println(object.put("count", set.getEstimate()));
        });
    }
}
