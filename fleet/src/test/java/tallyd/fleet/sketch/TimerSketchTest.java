package tallyd.fleet.sketch;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.datadoghq.sketch.ddsketch.encoding.GrowingByteArrayOutput;
import com.datadoghq.sketch.ddsketch.mapping.LogarithmicMapping;
import com.datadoghq.sketch.ddsketch.DDSketch;
import com.datadoghq.sketch.ddsketch.store.UnboundedSizeDenseStore;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;
import net.jqwik.api.constraints.DoubleRange;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TimerSketchTest {
    /** From tallyd's documentation: one sample of 12.75. */
    private static final String OF_TALLYD =
            "oAKIAAAAAACAKUCMAAAAAACAKUCEAAAAAACAKUACYYB3Ppos8D8AAAAAAAAAAAUB1gMC";

    @Provide
    Arbitrary<List<List<Double>>> hosts() {
        Arbitrary<Double> latencies = Arbitraries.doubles().between(0.001, 100_000).ofScale(3);
        Arbitrary<Double> signed = Arbitraries.doubles().between(-1e6, 1e6);
        Arbitrary<Double> whole = Arbitraries.integers().between(-20, 20).map(Integer::doubleValue);
        return Arbitraries.oneOf(latencies, signed, whole).list().ofMinSize(1).ofMaxSize(80)
                .list().ofMinSize(1).ofMaxSize(8);
    }

    @Property(tries = 300)
    void aMergedSketchIsTheSketchOfThePooledSamples(@ForAll("hosts") List<List<Double>> hosts) {
        TimerSketch merged = merge(hosts);
        List<Double> pooled = hosts.stream().flatMap(List::stream).toList();
        TimerSketch whole = TimerSketch.of(Samples.timer(pooled));
        assertEquals(pooled.size(), merged.count());
        assertEquals(Collections.min(pooled), merged.min());
        assertEquals(Collections.max(pooled), merged.max());
        assertEquals(whole.sum(), merged.sum(), 1e-9 * pooled.stream().mapToDouble(Math::abs).sum());
        for (double quantile : new double[] {0, 0.01, 0.5, 0.9, 0.99, 1}) {
            assertEquals(whole.quantile(quantile), merged.quantile(quantile));
        }
    }

    @Property(tries = 300)
    void theOrderOfMergingMakesNoDifference(@ForAll("hosts") List<List<Double>> hosts, @ForAll long seed) {
        List<List<Double>> shuffled = new ArrayList<>(hosts);
        Collections.shuffle(shuffled, new Random(seed));
        assertSame(merge(hosts), merge(shuffled));
    }

    @Property(tries = 300)
    void mergesMayBeGrouped(@ForAll("hosts") List<List<Double>> hosts) {
        int half = hosts.size() / 2;
        TimerSketch left = merge(hosts.subList(0, half));
        left.merge(merge(hosts.subList(half, hosts.size())));
        assertSame(merge(hosts), left);
    }

    @Property(tries = 300)
    void aQuantileIsWithinOnePercentOfTheSampleOfItsRank(
            @ForAll("hosts") List<List<Double>> hosts, @ForAll @DoubleRange(min = 0, max = 1) double quantile) {
        double exact = Samples.nearestRank(hosts.stream().flatMap(List::stream).toList(), quantile);
        assertEquals(exact, merge(hosts).quantile(quantile), 0.01 * Math.abs(exact));
    }

    @Property(tries = 200)
    void theStoredFormKeepsEverything(@ForAll("hosts") List<List<Double>> hosts) {
        TimerSketch sketch = merge(hosts);
        TimerSketch restored = TimerSketchSerializer.INSTANCE.copy(sketch);
        assertSame(sketch, restored);
        assertArrayEquals(sketch.exactSum().partsCopy(), restored.exactSum().partsCopy());
    }

    @Property(tries = 500)
    void anyBytesAreASketchOrInvalid(@ForAll byte[] bytes) {
        mergeOrReject(bytes);
    }

    @Property(tries = 500)
    void aDamagedSketchIsASketchOrInvalid(
            @ForAll("hosts") List<List<Double>> hosts, @ForAll int at, @ForAll byte value) {
        byte[] damaged = Samples.timer(hosts.get(0));
        damaged[Math.floorMod(at, damaged.length)] = value;
        mergeOrReject(damaged);
    }

    @Test
    void readsASketchOfTallyd() {
        TimerSketch sketch = TimerSketch.of(Base64.getDecoder().decode(OF_TALLYD));
        assertEquals(1, sketch.count());
        assertEquals(12.75, sketch.sum());
        assertEquals(12.75, sketch.quantile(0.99));
    }

    @Test
    void ranksAreThoseOfTallyd() {
        TimerSketch sketch =
                TimerSketch.of(Samples.timer(IntStream.rangeClosed(1, 10).mapToObj(i -> (double) i).toList()));
        assertEquals(5, sketch.quantile(0.5), 0.05);
        assertEquals(9, sketch.quantile(0.9), 0.09);
        assertEquals(10, sketch.quantile(0.95), 0.1);
    }

    @ParameterizedTest
    @ValueSource(ints = {Integer.MAX_VALUE, Integer.MIN_VALUE, 100_000})
    void aForgedIndexDoesNotTakeMemory(int index) throws Exception {
        var sketch = new DDSketch(DecodedTimer.MAPPING, com.datadoghq.sketch.ddsketch.store.SparseStore::new);
        sketch.getPositiveValueStore().add(index, 1);
        GrowingByteArrayOutput out = GrowingByteArrayOutput.withDefaultInitialCapacity();
        sketch.encode(out, false);
        assertThrows(InvalidSketchException.class, () -> TimerSketch.check(out.trimmedCopy()));
    }

    @ParameterizedTest
    @ValueSource(doubles = {1e308, 0x1p101})
    void aSketchOfMoreSamplesThanAllHostsCanCountIsInvalid(double count) {
        assertThrows(InvalidSketchException.class, () -> TimerSketch.check(Samples.timer(count)));
        assertThrows(InvalidSketchException.class, () -> new TimerSketch().merge(Samples.timer(count)));
    }

    @Test
    void theStoredFormOfManyLargeCountsIsReadBack() {
        TimerSketch sketch = new TimerSketch();
        byte[] largest = Samples.timer(0x1p100);
        for (int i = 0; i < 1_000; i++) {
            sketch.merge(largest);
            sketch = TimerSketchSerializer.INSTANCE.copy(sketch);
        }
        assertEquals(1_000 * 0x1p100, TimerSketch.of(sketch.toBytes()).count());
    }

    @Test
    void aNegativeCountOfZerosIsInvalid() throws Exception {
        byte[] one = Samples.timer(List.of(1.0));
        GrowingByteArrayOutput out = GrowingByteArrayOutput.withDefaultInitialCapacity();
        out.writeByte((byte) 0x04);
        com.datadoghq.sketch.ddsketch.encoding.VarEncodingHelper.encodeVarDouble(out, -0.5);
        byte[] forged = Arrays.copyOf(one, one.length + out.trimmedCopy().length);
        System.arraycopy(out.trimmedCopy(), 0, forged, one.length, out.trimmedCopy().length);
        assertThrows(InvalidSketchException.class, () -> TimerSketch.check(forged));
    }

    @Test
    void anotherBaseIsInvalid() throws Exception {
        var sketch = new DDSketch(new LogarithmicMapping(0.01), UnboundedSizeDenseStore::new);
        sketch.accept(1);
        GrowingByteArrayOutput out = GrowingByteArrayOutput.withDefaultInitialCapacity();
        sketch.encode(out, false);
        assertThrows(InvalidSketchException.class, () -> TimerSketch.check(out.trimmedCopy()));
    }

    @Test
    void anEmptySketchHasNoQuantile() {
        assertTrue(Double.isNaN(new TimerSketch().quantile(0.5)));
    }

    private static TimerSketch merge(List<List<Double>> hosts) {
        TimerSketch merged = new TimerSketch();
        hosts.forEach(samples -> merged.merge(Samples.timer(samples)));
        return merged;
    }

    /** Equal to the last bit; encoded forms may differ in the size of their empty ends. */
    private static void assertSame(TimerSketch expected, TimerSketch actual) {
        assertArrayEquals(expected.toBytes(), actual.toBytes());
        assertEquals(expected.sum(), actual.sum());
        for (int percent = 0; percent <= 100; percent++) {
            assertEquals(expected.quantile(percent / 100.0), actual.quantile(percent / 100.0));
        }
    }

    private static void mergeOrReject(byte[] bytes) {
        TimerSketch sketch = TimerSketch.of(Samples.timer(List.of(1.0, 2.0)));
        byte[] before = sketch.toBytes();
        try {
            sketch.merge(bytes);
            // Twice, as two forged records of one window; the state must be readable afterwards.
            sketch.merge(bytes);
            TimerSketchSerializer.INSTANCE.copy(sketch).merge(TimerSketch.of(sketch.toBytes()));
            sketch.quantile(0.5);
        } catch (InvalidSketchException invalid) {
            assertArrayEquals(before, sketch.toBytes(), Arrays.toString(bytes));
        }
    }
}
