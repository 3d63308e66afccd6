import static java.nio.charset.StandardCharsets.UTF_8;

import com.datadoghq.sketch.ddsketch.mapping.LogarithmicMapping;
import java.io.BufferedReader;
import java.io.InputStreamReader;

/**
 * Reads the bits of doubles and the indexes of their buckets in tallyd, and prints those that
 * sketches-java puts into another bucket.
 */
public final class BucketIndexes {
    public static void main(String[] arguments) {
        var mapping = new LogarithmicMapping(Math.pow(2, 1 / 64.0), 0);
        new BufferedReader(new InputStreamReader(System.in, UTF_8)).lines().forEach(line -> {
            String[] words = line.split(" ");
            double value = Double.longBitsToDouble(Long.parseUnsignedLong(words[0], 16));
            // Its bucket 0 begins at 1, and tallyd's ends there.
            int ours = Integer.parseInt(words[1]) - 1;
            // Smaller values count as zero there, larger ones are refused.
            boolean hasIndex = value >= mapping.minIndexableValue() && value <= mapping.maxIndexableValue();
            if (hasIndex && mapping.index(value) != ours) {
                System.out.println(words[0] + " " + mapping.index(value) + " " + ours);
            }
        });
    }
}
