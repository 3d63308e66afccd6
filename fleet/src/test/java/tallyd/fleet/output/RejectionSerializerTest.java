package tallyd.fleet.output;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;
import tallyd.fleet.ingest.Arrival;
import tallyd.fleet.ingest.Rejection;

class RejectionSerializerTest {
    private static Rejection rejection(String text) {
        Arrival arrival = new Arrival();
        arrival.instance = text;
        arrival.kind = text;
        arrival.series = text;
        arrival.topic = "metrics";
        return new Rejection(arrival, Rejection.MALFORMED, text);
    }

    @Test
    void theRejectionOfARecordOfAnySizeIsSmall() {
        var record = new RejectionSerializer("r").serialize(rejection("\u0001".repeat(1_000_000)), null, 0L);
        assertTrue(record.key().length + record.value().length < 50_000, () -> "" + record.value().length);
    }

    @Test
    void aRejectionNamesTheRecord() {
        String json = new String(new RejectionSerializer("r").serialize(rejection("x"), null, 0L).value(), UTF_8);
        assertEquals("{\"reason\":\"malformed\",\"detail\":\"x\",\"instance\":\"x\",\"kind\":\"x\",\"window\":0,"
                + "\"series\":\"x\",\"topic\":\"metrics\",\"partition\":0,\"offset\":0}", json);
    }
}
