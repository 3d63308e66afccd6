package tallyd.fleet.sketch;

import java.nio.ByteBuffer;

/**
 * A sum of doubles without rounding, in any order.
 *
 * <p>Records of many hosts arrive in a different order in each run of a job, and plain addition would give
 * another last digit each time. The sum is kept as doubles that do not overlap, the smallest first
 * (Shewchuk's expansions), and rounded only when it is read. Most sums need one or two of them.
 */
public final class ExactSum {
    private double[] parts;
    private int length;

    public ExactSum() {
        parts = new double[2];
    }

    private ExactSum(double[] parts) {
        this.parts = parts;
        this.length = parts.length;
    }

    public void add(double value) {
        double carried = value;
        int kept = 0;
        for (int i = 0; i < length; i++) {
            double large = carried;
            double small = parts[i];
            if (Math.abs(large) < Math.abs(small)) {
                large = parts[i];
                small = carried;
            }
            double sum = large + small;
            if (Double.isInfinite(sum)) {
                // Beyond the range of a double, as in tallyd, the sum is the end of that range.
                set(Math.copySign(Double.MAX_VALUE, sum));
                return;
            }
            // The rounding error of large + small, which is itself a double.
            double error = small - (sum - large);
            if (error != 0) {
                parts[kept++] = error;
            }
            carried = sum;
        }
        append(kept, carried);
    }

    public void add(ExactSum other) {
        // A copy, because a sum may be added to itself.
        double[] added = other.partsCopy();
        for (double part : added) {
            add(part);
        }
    }

    /** The exact sum, rounded once. */
    public double value() {
        if (length == 0) {
            return 0;
        }
        int i = length - 1;
        double high = parts[i];
        double low = 0;
        while (i > 0 && low == 0) {
            double before = high;
            double next = parts[--i];
            high = before + next;
            low = next - (high - before);
        }
        return rounded(high, low, i);
    }

    /** Decides a tie by the parts that the addition of the highest ones did not see. */
    private double rounded(double high, double low, int i) {
        boolean sameSign = i > 0 && (low < 0 && parts[i - 1] < 0 || low > 0 && parts[i - 1] > 0);
        if (sameSign) {
            double twice = low * 2;
            double candidate = high + twice;
            if (twice == candidate - high) {
                return candidate;
            }
        }
        return high;
    }

    byte[] toBytes() {
        ByteBuffer out = ByteBuffer.allocate(length * Double.BYTES);
        for (int i = 0; i < length; i++) {
            out.putDouble(parts[i]);
        }
        return out.array();
    }

    static ExactSum fromBytes(ByteBuffer in) {
        double[] parts = new double[in.remaining() / Double.BYTES];
        for (int i = 0; i < parts.length; i++) {
            parts[i] = in.getDouble();
        }
        return new ExactSum(parts);
    }

    /** The parts, for a state that stores doubles. */
    public double[] partsCopy() {
        return java.util.Arrays.copyOf(parts, length);
    }

    public static ExactSum ofParts(double[] parts) {
        return new ExactSum(parts.clone());
    }

    private void append(int at, double part) {
        if (at == parts.length) {
            parts = java.util.Arrays.copyOf(parts, at + 2);
        }
        parts[at] = part;
        length = at + 1;
    }

    private void set(double only) {
        parts[0] = only;
        length = 1;
    }
}
