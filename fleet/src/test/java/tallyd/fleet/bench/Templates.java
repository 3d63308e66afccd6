package tallyd.fleet.bench;

import java.util.ArrayList;
import java.util.Base64;
import java.util.Collections;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;
import tallyd.fleet.sketch.Samples;

/**
 * The ends of records, from {@code "fields"} on, with sketches of real samples.
 *
 * <p>A sketch takes far longer to make than the job takes to read it. So there are some for each metric, which
 * hosts share; name, tags and window make each record a different one.
 */
final class Templates {
    private static final int TIMERS = 64;
    private static final int SETS = 256;
    private static final int MEMBERS = 20_000;
    private static final double[] PERCENTILES = {50, 90, 95, 99};

    private final double interval;
    private final Random random;
    private final Map<String, List<String>> byMetric = new HashMap<>();

    Templates(double intervalSeconds, long seed) {
        this.interval = intervalSeconds;
        this.random = new Random(seed);
    }

    /** One of the metric's templates; `choice` is any number from 0 on. */
    String of(HostSeries.Metric metric, int choice) {
        List<String> templates = byMetric.computeIfAbsent(metric.name(), any -> make(metric));
        return templates.get(choice % templates.size());
    }

    private List<String> make(HostSeries.Metric metric) {
        boolean timer = metric.kind().equals("timer");
        List<String> templates = new ArrayList<>();
        for (int n = 0; n < (timer ? TIMERS : SETS); n++) {
            templates.add(timer ? timer(metric.scale()) : set(metric.scale()));
        }
        return templates;
    }

    /** Of most timers about a hundred samples in a window, of few some thousand. */
    private String timer(double typical) {
        int count = (int) Math.max(1, Math.min(5_000, logNormal(100, 1.2)));
        List<Double> samples = new ArrayList<>(count);
        for (int n = 0; n < count; n++) {
            samples.add(Math.rint(logNormal(typical, 0.8) * 1_000) / 1_000);
        }
        Collections.sort(samples);
        double sum = samples.stream().mapToDouble(sample -> sample).sum();
        double mean = sum / count;
        double squares = samples.stream().mapToDouble(sample -> (sample - mean) * (sample - mean)).sum();
        StringBuilder text = new StringBuilder("\"fields\":{\"count\":").append(count);
        Numbers.append(text.append(",\"rate\":"), count / interval);
        Numbers.append(text.append(",\"sum\":"), sum);
        Numbers.append(text.append(",\"min\":"), samples.get(0));
        Numbers.append(text.append(",\"max\":"), samples.get(count - 1));
        Numbers.append(text.append(",\"mean\":"), mean);
        Numbers.append(text.append(",\"stddev\":"), Math.sqrt(squares / count));
        for (double percentile : PERCENTILES) {
            text.append(",\"p").append((int) percentile).append("\":");
            Numbers.append(text, Samples.nearestRank(samples, percentile / 100));
        }
        return end(text, Samples.timer(samples));
    }

    private String set(double typical) {
        int count = (int) Math.max(1, Math.min(2_000, logNormal(typical, 1)));
        List<String> members = IntStream.range(0, count).mapToObj(n -> "user" + random.nextInt(MEMBERS)).toList();
        long distinct = members.stream().distinct().count();
        return end(new StringBuilder("\"fields\":{\"count\":").append(distinct), Samples.set(members));
    }

    private double logNormal(double median, double sigma) {
        return median * Math.exp(sigma * random.nextGaussian());
    }

    private static String end(StringBuilder fields, byte[] sketch) {
        return fields.append("},\"sketch\":\"").append(Base64.getEncoder().encodeToString(sketch)).append("\"}")
                .toString();
    }
}
