package tallyd.fleet.sketch;

import java.nio.ByteBuffer;
import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import tallyd.fleet.state.StateSerializer;

/** Stores a timer with its sums as they are: the form of the records would round them. */
public final class TimerSketchSerializer extends StateSerializer<TimerSketch> {
    public static final TimerSketchSerializer INSTANCE = new TimerSketchSerializer();

    @Override
    public TimerSketch createInstance() {
        return new TimerSketch();
    }

    @Override
    protected byte[] toBytes(TimerSketch value) {
        byte[] count = value.exactCount().toBytes();
        byte[] sum = value.exactSum().toBytes();
        byte[] sketch = value.toBytes();
        return ByteBuffer.allocate(2 * Short.BYTES + count.length + sum.length + sketch.length)
                .putShort((short) count.length)
                .put(count)
                .putShort((short) sum.length)
                .put(sum)
                .put(sketch)
                .array();
    }

    @Override
    protected TimerSketch fromBytes(byte[] bytes) {
        ByteBuffer in = ByteBuffer.wrap(bytes);
        ExactSum count = ExactSum.fromBytes(part(in, in.getShort()));
        ExactSum sum = ExactSum.fromBytes(part(in, in.getShort()));
        byte[] sketch = new byte[in.remaining()];
        in.get(sketch);
        return TimerSketch.of(sketch, count, sum);
    }

    private static ByteBuffer part(ByteBuffer in, int length) {
        ByteBuffer part = in.slice(in.position(), length);
        in.position(in.position() + length);
        return part;
    }

    @Override
    public TypeSerializerSnapshot<TimerSketch> snapshotConfiguration() {
        return new Snapshot();
    }

    /** Identifies the form in a checkpoint. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<TimerSketch> {
        public Snapshot() {
            super(() -> INSTANCE);
        }
    }
}
