package tallyd.fleet.sketch;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.List;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.DoubleRange;
import net.jqwik.api.constraints.Size;

class MomentsTest {
    @Property
    void theDeviationIsThatOfThePooledSamples(
            @ForAll @Size(min = 1, max = 6)
                    List<@Size(min = 1, max = 20) List<@DoubleRange(min = -1e6, max = 1e6) Double>> hosts) {
        Moments merged = new Moments();
        hosts.forEach(samples -> merged.add(samples.size(), mean(samples), stddev(samples)));
        List<Double> pooled = hosts.stream().flatMap(List::stream).toList();
        assertEquals(stddev(pooled), merged.stddev(), 1e-4);
        assertEquals(mean(pooled), merged.mean, 1e-6);
    }

    private static double mean(List<Double> samples) {
        return samples.stream().mapToDouble(Double::doubleValue).average().orElseThrow();
    }

    private static double stddev(List<Double> samples) {
        double mean = mean(samples);
        return Math.sqrt(samples.stream().mapToDouble(sample -> (sample - mean) * (sample - mean)).sum()
                / samples.size());
    }
}
