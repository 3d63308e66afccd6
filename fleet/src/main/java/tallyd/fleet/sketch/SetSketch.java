package tallyd.fleet.sketch;

import org.apache.datasketches.hll.HllSketch;
import org.apache.datasketches.hll.TgtHllType;
import org.apache.datasketches.hll.Union;
import org.apache.datasketches.memory.Memory;

/** The distinct members of a set, as the HLL sketch of Apache DataSketches that tallyd writes. */
public final class SetSketch {
    /** The size of tallyd's sketches: a smaller one in a union would make all of it less accurate. */
    private static final int LG_REGISTERS = 16;

    /** Positions in the binary form of the library. */
    private static final int PREAMBLE = 8;
    private static final int LG_K_AT = 3;
    private static final int LG_ARRAY_AT = 4;

    private final Union union;

    public SetSketch() {
        this(new Union(LG_REGISTERS));
    }

    private SetSketch(Union union) {
        this.union = union;
    }

    /**
     * Decodes a sketch.
     *
     * @throws InvalidSketchException if the bytes are not one that tallyd writes
     */
    public static SetSketch of(byte[] encoded) {
        SetSketch sketch = new SetSketch();
        sketch.merge(encoded);
        return sketch;
    }

    /** Throws {@link InvalidSketchException} if {@link #merge} would. */
    public static void check(byte[] encoded) {
        of(encoded);
    }

    /** Merges a sketch, or throws {@link InvalidSketchException} and leaves this one unchanged. */
    public void merge(byte[] encoded) {
        union.update(decode(encoded));
    }

    public void merge(SetSketch other) {
        union.update(other.union.getResult(TgtHllType.HLL_8));
    }

    /**
     * The estimated number of members.
     *
     * <p>The library's default estimate also depends on the order of the members if no sketch was merged.
     * This one is a function of the registers alone.
     */
    public double estimate() {
        return union.getCompositeEstimate();
    }

    /** The binary form that tallyd's records have too. */
    public byte[] toBytes() {
        return union.getResult(TgtHllType.HLL_8).toCompactByteArray();
    }

    private static HllSketch decode(byte[] encoded) {
        checkPreamble(encoded);
        try {
            return HllSketch.heapify(Memory.wrap(encoded));
        } catch (RuntimeException | AssertionError invalid) {
            // The library throws exceptions of several types for bytes that are not a sketch.
            throw new InvalidSketchException("not a set's sketch: " + invalid, invalid);
        }
    }

    /** The library allocates as the preamble says, up to gigabytes for a forged one. */
    private static void checkPreamble(byte[] encoded) {
        if (encoded.length < PREAMBLE) {
            throw new InvalidSketchException("not a set's sketch: only " + encoded.length + " bytes");
        }
        if (encoded[LG_K_AT] != LG_REGISTERS) {
            throw new InvalidSketchException(
                    "the sketch has 2^" + encoded[LG_K_AT] + " registers, not 2^" + LG_REGISTERS);
        }
        if (encoded[LG_ARRAY_AT] < 0 || encoded[LG_ARRAY_AT] > LG_REGISTERS) {
            throw new InvalidSketchException("the sketch announces 2^" + encoded[LG_ARRAY_AT] + " members");
        }
    }
}
