package tallyd.fleet.sketch;

/**
 * Count, mean and squared distances from the mean, of which the standard deviation of all hosts follows.
 *
 * <p>The sum of squares would be simpler to merge, but loses all digits if the deviation is small relative to
 * the mean, as of timestamps.
 */
public final class Moments {
    public double count;
    public double mean;
    public double squares;

    /** Adds samples with these statistics; {@code stddev} is that of the population. */
    public void add(double addedCount, double addedMean, double stddev) {
        merge(addedCount, addedMean, addedCount * stddev * stddev);
    }

    public void merge(Moments other) {
        merge(other.count, other.mean, other.squares);
    }

    private void merge(double addedCount, double addedMean, double addedSquares) {
        if (!(addedCount > 0)) {
            return;
        }
        double total = count + addedCount;
        double distance = addedMean - mean;
        squares += addedSquares + distance * distance * (count / total) * addedCount;
        mean += distance * (addedCount / total);
        count = total;
    }

    /** The standard deviation of the population, at most the largest double, and 0 without samples. */
    public double stddev() {
        double stddev = count > 0 ? Math.sqrt(Math.max(squares, 0) / count) : 0;
        // Squares of forged or extreme values exceed the range of a double.
        return Double.isFinite(stddev) ? stddev : Double.MAX_VALUE;
    }
}
