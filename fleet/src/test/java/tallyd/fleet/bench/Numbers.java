package tallyd.fleet.bench;

/** Numbers as tallyd writes them. */
final class Numbers {
    private static final double EXACT = 1L << 53;

    private Numbers() {}

    /** A whole number up to 2^53 has no point. */
    static void append(StringBuilder out, double number) {
        if (number == Math.rint(number) && Math.abs(number) <= EXACT) {
            out.append((long) number);
        } else {
            out.append(number);
        }
    }
}
