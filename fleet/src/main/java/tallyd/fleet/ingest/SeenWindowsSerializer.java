package tallyd.fleet.ingest;

import org.apache.flink.api.common.typeutils.SimpleTypeSerializerSnapshot;
import org.apache.flink.api.common.typeutils.TypeSerializerSnapshot;
import tallyd.fleet.state.StateSerializer;

/** Stores the runs of windows. */
public final class SeenWindowsSerializer extends StateSerializer<SeenWindows> {
    public static final SeenWindowsSerializer INSTANCE = new SeenWindowsSerializer();

    @Override
    public SeenWindows createInstance() {
        return new SeenWindows();
    }

    @Override
    protected byte[] toBytes(SeenWindows value) {
        return value.toBytes();
    }

    @Override
    protected SeenWindows fromBytes(byte[] bytes) {
        return SeenWindows.fromBytes(bytes);
    }

    @Override
    public TypeSerializerSnapshot<SeenWindows> snapshotConfiguration() {
        return new Snapshot();
    }

    /** Identifies the form in a checkpoint. */
    public static final class Snapshot extends SimpleTypeSerializerSnapshot<SeenWindows> {
        public Snapshot() {
            super(() -> INSTANCE);
        }
    }
}
