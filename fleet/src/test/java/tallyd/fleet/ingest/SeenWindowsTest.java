package tallyd.fleet.ingest;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.stream.LongStream;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.IntRange;
import net.jqwik.api.constraints.Size;
import org.junit.jupiter.api.Test;

class SeenWindowsTest {
    private static final int MAX_RUNS = SeenWindows.maxRuns(0);

    @Property(tries = 2_000)
    void behavesAsASetOfTheWindowsAfterTheHorizon(
            @ForAll @Size(max = 60) List<@IntRange(max = 40) Integer> windows, @ForAll @IntRange(max = 30) int horizon) {
        SeenWindows seen = new SeenWindows();
        Set<Integer> expected = new HashSet<>();
        for (int i = 0; i < windows.size(); i++) {
            if (i == windows.size() / 2) {
                seen.forget(horizon);
                expected.removeIf(window -> window <= horizon);
            }
            boolean isNew = expected.add(windows.get(i));
            assertEquals(isNew ? SeenWindows.Added.NEW : SeenWindows.Added.DUPLICATE, seen.add(windows.get(i), MAX_RUNS));
            seen = SeenWindows.fromBytes(seen.toBytes());
        }
        assertEquals(expected.stream().mapToLong(i -> i).max().orElse(Long.MIN_VALUE), seen.latest());
    }

    @Test
    void consecutiveWindowsTakeOneRunInBothDirections() {
        SeenWindows seen = new SeenWindows();
        LongStream.range(1_000, 2_000).forEach(window -> seen.add(window * 10_000, MAX_RUNS));
        LongStream.range(1, 1_000).map(i -> 1_000 - i).forEach(window -> seen.add(window * 10_000, MAX_RUNS));
        assertEquals(1, seen.runs());
        assertEquals(SeenWindows.Added.DUPLICATE, seen.add(5_000_000, MAX_RUNS));
    }

    @Test
    void arbitraryWindowsOfAHostileHostAreBounded() {
        SeenWindows seen = new SeenWindows();
        long added = LongStream.range(0, 100_000)
                .filter(i -> seen.add(i * i * 7, MAX_RUNS) == SeenWindows.Added.NEW)
                .count();
        assertEquals(MAX_RUNS, seen.runs());
        assertEquals(true, added < 100_000);
    }

    @Test
    void anIrregularSeriesFitsIntoTheLongestGracePeriod() {
        long grace = Duration.ofDays(7).toMillis();
        SeenWindows seen = new SeenWindows();
        Random random = new Random(1);
        for (long window = 0; window < 2 * grace; window += 10_000) {
            seen.forget(window - grace);
            if (random.nextInt(3) > 0) {
                assertEquals(SeenWindows.Added.NEW, seen.add(window, SeenWindows.maxRuns(grace)));
            }
        }
    }
}
