package tallyd.fleet.sketch;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.math.BigDecimal;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.DoubleRange;
import net.jqwik.api.constraints.Size;
import org.junit.jupiter.api.Test;

class ExactSumTest {
    @Property
    void isTheExactSumRoundedOnce(@ForAll @Size(max = 60) List<@DoubleRange(min = -1e200, max = 1e200) Double> values) {
        BigDecimal exact = values.stream().map(BigDecimal::new).reduce(BigDecimal.ZERO, BigDecimal::add);
        assertEquals(exact.doubleValue(), sum(values).value());
    }

    @Property
    void doesNotDependOnTheOrder(@ForAll @Size(min = 2, max = 60) List<Double> values, @ForAll long seed) {
        List<Double> finite = values.stream().map(value -> value / 1e10).toList();
        List<Double> shuffled = new ArrayList<>(finite);
        Collections.shuffle(shuffled, new Random(seed));
        assertEquals(sum(finite).value(), sum(shuffled).value());
    }

    @Test
    void tenTimesATenthIsOne() {
        assertEquals(1.0, sum(Collections.nCopies(10, 0.1)).value());
    }

    @Test
    void aSmallNumberSurvivesLargeOnesThatCancelOut() {
        assertEquals(1.0, sum(List.of(1e300, 1.0, -1e300)).value());
    }

    @Test
    void endsAtTheRangeOfADouble() {
        assertEquals(Double.MAX_VALUE, sum(List.of(Double.MAX_VALUE, Double.MAX_VALUE)).value());
    }

    private static ExactSum sum(List<Double> values) {
        ExactSum sum = new ExactSum();
        values.forEach(sum::add);
        return sum;
    }
}
