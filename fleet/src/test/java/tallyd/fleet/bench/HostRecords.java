package tallyd.fleet.bench;

import static java.nio.charset.StandardCharsets.ISO_8859_1;

import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.function.Consumer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;

/** The records of one window of one host, with keys, headers, timestamps and values as tallyd writes them. */
final class HostRecords {
    private static final List<Header> KINDS = List.of(
            kind("counter"), kind("gauge"), kind("timer"), kind("set"), kind("trace"));

    private final String topic;
    private final int interval;
    private final long seed;
    private final Templates templates;
    /** Hosts that run the same services have the same series. */
    private final List<List<HostSeries.Series>> series = new ArrayList<>();
    private final StringBuilder text = new StringBuilder();

    /** The sum of the counters {@code rpc.requests}, which the results must have too. */
    private long requests;
    private long bytes;

    HostRecords(String topic, int intervalSeconds, long seed) {
        this.topic = topic;
        this.interval = intervalSeconds;
        this.seed = seed;
        this.templates = new Templates(intervalSeconds, seed);
        for (int host = 0; host < HostSeries.SERVICES; host++) {
            series.add(HostSeries.of(host));
        }
    }

    void window(int host, long end, Consumer<ProducerRecord<byte[], byte[]>> out) {
        SplittableRandom random = new SplittableRandom(seed ^ end * 1_000_003 ^ host);
        String tags = "environment=" + environment(host) + ",host=" + name(host);
        String json = "\",\"timestamp\":" + end + ",\"interval\":" + interval + ",\"tags\":{\"environment\":\""
                + environment(host) + "\",\"host\":\"" + name(host) + "\",\"method\":\"m";
        List<Header> own = headers(instance(host), end);
        for (HostSeries.Series one : series.get(host % HostSeries.SERVICES)) {
            byte[] key = key(one, tags);
            byte[] value = value(one, json, random);
            bytes += key.length + value.length;
            out.accept(new ProducerRecord<>(topic, null, end, key, value, with(own, one.metric().kind())));
        }
    }

    /** A record of its own host for one partition, which tells the job that time went on there. */
    ProducerRecord<byte[], byte[]> end(int partition, long end) {
        String host = "end" + partition;
        byte[] key = ("bench.end,host=" + host).getBytes(ISO_8859_1);
        byte[] value = ("{\"name\":\"bench.end\",\"type\":\"counter\",\"timestamp\":" + end + ",\"interval\":" + interval
                + ",\"tags\":{\"host\":\"" + host + "\"},\"fields\":{\"count\":1,\"rate\":" + 1.0 / interval + "}}")
                .getBytes(ISO_8859_1);
        return new ProducerRecord<>(topic, partition, end, key, value, with(headers(host, end), "counter"));
    }

    long requests() {
        return requests;
    }

    /** Of keys and values. */
    long bytes() {
        return bytes;
    }

    private static String environment(int host) {
        return host % 4 == 3 ? "stage" : "prod";
    }

    private static String name(int host) {
        return String.format("host-%05d.example.net", host);
    }

    /** As random as tallyd's, so that it compresses as badly. */
    private String instance(int host) {
        return String.format("%016x", new SplittableRandom(seed + host).nextLong());
    }

    private static List<Header> headers(String instance, long end) {
        return List.of(
                new RecordHeader("tallyd.instance", instance.getBytes(ISO_8859_1)),
                new RecordHeader("tallyd.window", Long.toString(end).getBytes(ISO_8859_1)));
    }

    private static Header kind(String kind) {
        return new RecordHeader("tallyd.kind", kind.getBytes(ISO_8859_1));
    }

    private static List<Header> with(List<Header> own, String kind) {
        for (Header header : KINDS) {
            if (new String(header.value(), ISO_8859_1).equals(kind)) {
                return List.of(own.get(0), own.get(1), header);
            }
        }
        throw new IllegalArgumentException(kind);
    }

    private byte[] key(HostSeries.Series one, String tags) {
        text.setLength(0);
        text.append(one.metric().name()).append(',').append(tags).append(",method=m").append(one.method())
                .append(",service=s").append(one.service());
        return text.toString().getBytes(ISO_8859_1);
    }

    private byte[] value(HostSeries.Series one, String json, SplittableRandom random) {
        text.setLength(0);
        text.append("{\"name\":\"").append(one.metric().name()).append("\",\"type\":\"").append(one.metric().kind())
                .append(json).append(one.method()).append("\",\"service\":\"s").append(one.service()).append("\"},");
        switch (one.metric().kind()) {
            case "timer", "set" -> text.append(templates.of(one.metric(), random.nextInt(1 << 20)));
            case "gauge" -> gauge(one.metric().scale(), random);
            default -> count(one.metric(), random);
        }
        return text.toString().getBytes(ISO_8859_1);
    }

    private void gauge(double typical, SplittableRandom random) {
        text.append("\"fields\":{\"value\":");
        Numbers.append(text, Math.rint(typical * (0.5 + random.nextDouble())));
        text.append("}}");
    }

    private void count(HostSeries.Metric metric, SplittableRandom random) {
        // A skewed distribution with this mean.
        long count = 1 + (long) (-Math.log(1 - random.nextDouble()) * metric.scale());
        text.append("\"fields\":{\"count\":").append(count);
        if (metric.kind().equals("counter")) {
            Numbers.append(text.append(",\"rate\":"), (double) count / interval);
        }
        text.append("}}");
        if (metric.name().equals("rpc.requests")) {
            requests += count;
        }
    }
}
