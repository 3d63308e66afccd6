package tallyd.fleet.sketch;

import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import tallyd.fleet.state.StateSerializer;

/** Stores a set in the form of the records. */
public final class SetSketchSerializer extends StateSerializer<SetSketch> {
    public static final SetSketchSerializer INSTANCE = new SetSketchSerializer();

    @Override
    public SetSketch createInstance() {
        return new SetSketch();
    }

    @Override
    protected byte[] toBytes(SetSketch value) {
        return value.toBytes();
    }

    @Override
    protected SetSketch fromBytes(byte[] bytes) {
        return SetSketch.of(bytes);
    }

    @Override
    public TypeSerializerSnapshot<SetSketch> snapshotConfiguration() {
        return new Snapshot();
    }

    /** Identifies the form in a checkpoint. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<SetSketch> {
        public Snapshot() {
            super(() -> INSTANCE);
        }
    }
}
