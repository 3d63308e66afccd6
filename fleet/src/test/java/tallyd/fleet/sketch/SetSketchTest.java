package tallyd.fleet.sketch;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.constraints.IntRange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SetSketchTest {
    /** Hosts with as many members each, of which half are also on the host before. */
    private static List<List<String>> hosts(int hosts, int members, long seed) {
        return IntStream.range(0, hosts)
                .mapToObj(host -> members(seed + (long) host * members / 2, members))
                .toList();
    }

    private static List<String> members(long first, int count) {
        return IntStream.range(0, count).mapToObj(i -> "member-" + (first + i)).toList();
    }

    private static SetSketch merge(List<List<String>> hosts) {
        SetSketch merged = new SetSketch();
        hosts.forEach(members -> merged.merge(Samples.set(members)));
        return merged;
    }

    @ParameterizedTest
    @CsvSource({"3,10", "3,2000", "10,5000", "40,20000"})
    void theEstimateIsWithinTwoPercent(int count, int members) {
        List<List<String>> hosts = hosts(count, members, 7);
        long exact = hosts.stream().flatMap(List::stream).distinct().count();
        assertEquals(exact, merge(hosts).estimate(), 0.02 * exact);
    }

    @Property(tries = 60)
    void theOrderOfMergingMakesNoDifference(
            @ForAll @IntRange(min = 1, max = 8) int count,
            @ForAll @IntRange(min = 0, max = 9_000) int members,
            @ForAll long seed) {
        List<List<String>> hosts = hosts(count, members, seed % 1_000_000);
        List<List<String>> shuffled = new ArrayList<>(hosts);
        Collections.shuffle(shuffled, new Random(seed));
        double expected = merge(hosts).estimate();
        // The library adds up fractions in the order of arrival.
        assertEquals(expected, merge(shuffled).estimate(), 1e-7 * expected);
    }

    @Property(tries = 60)
    void mergingTwiceChangesNothing(@ForAll @IntRange(min = 0, max = 9_000) int members) {
        List<List<String>> hosts = hosts(3, members, 0);
        SetSketch merged = merge(hosts);
        double once = merged.estimate();
        hosts.forEach(host -> merged.merge(Samples.set(host)));
        assertEquals(once, merged.estimate(), 1e-7 * once);
    }

    @Property(tries = 500)
    void anyBytesAreASketchOrInvalid(@ForAll byte[] bytes) {
        decodeOrReject(bytes);
    }

    @Property(tries = 300)
    void aDamagedSketchIsASketchOrInvalid(
            @ForAll("sizes") int members, @ForAll @IntRange(max = 60) int at, @ForAll byte value, @ForAll byte other) {
        byte[] damaged = Samples.set(members(0, members));
        damaged[at % damaged.length] = value;
        damaged[(at * 31 + 5) % damaged.length] = other;
        decodeOrReject(damaged);
    }

    /** A list, a table, and registers: the binary forms of the library. */
    @Provide
    Arbitrary<Integer> sizes() {
        return Arbitraries.of(0, 1, 5, 8, 20, 1_000, 5_000, 7_000, 9_000);
    }

    private static void decodeOrReject(byte[] bytes) {
        try {
            SetSketch.check(bytes);
        } catch (InvalidSketchException expected) {
            // The only exception that callers handle.
            return;
        }
        // A sketch that was not rejected must not stop the job later, whatever it is merged with.
        for (int others : new int[] {0, 3, 500, 5_000}) {
            SetSketch merged = SetSketch.of(Samples.set(members(0, others)));
            merged.merge(bytes);
            merged = SetSketchSerializer.INSTANCE.copy(merged);
            merged.merge(bytes);
            merged.merge(Samples.set(members(7, others)));
            double estimate = SetSketch.of(merged.toBytes()).estimate();
            assertEquals(true, Double.isFinite(estimate), () -> "an estimate of " + estimate);
        }
    }

    @Test
    void aSmallerSketchIsInvalid() {
        byte[] small = Samples.set(4, List.of("a"));
        assertThrows(InvalidSketchException.class, () -> SetSketch.of(small));
    }

    @Test
    void theStoredFormKeepsTheEstimate() {
        SetSketch sketch = merge(hosts(5, 8_000, 1));
        assertEquals(sketch.estimate(), SetSketchSerializer.INSTANCE.copy(sketch).estimate());
    }
}
