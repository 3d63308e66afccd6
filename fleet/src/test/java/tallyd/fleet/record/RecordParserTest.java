package tallyd.fleet.record;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Map;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class RecordParserTest {
    /** From tallyd's documentation. */
    private static final String TIMER = """
            {"name":"user.latency","type":"timer","timestamp":1490114074000,"interval":10,\
            "tags":{"name":"x","stage":"login"},"fields":{"count":1,"rate":0.1,"sum":12.75,"min":12.75,"max":12.75,\
            "mean":12.75,"stddev":0,"p50":12.75},"sketch":"oAKIAAAAAACAKUCMAAAAAACAKUCEAAAAAACAKUACYYB3Ppos8D8AAAAAAAAAAAUB1gMC"}""";

    private static MetricRecord parse(String value) throws MalformedRecordException {
        return RecordParser.parse(value.getBytes(UTF_8));
    }

    @Test
    void readsARecordOfTallyd() throws Exception {
        MetricRecord record = parse(TIMER);
        assertEquals("user.latency", record.name());
        assertEquals("timer", record.type());
        assertEquals(1_490_114_074_000L, record.timestamp());
        assertEquals(Map.of("name", "x", "stage", "login"), record.tags());
        assertEquals(12.75, record.fields().get("sum"));
        assertEquals(51, record.sketch().length);
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "{\"name\":\"x\",\"tags\":{\"b\":\"1\",\"a\":\"2\"},\"fields\":?",
        "{\"fields\":{\"count\":1},\"tags\":{\"a\":\"2\",\"b\":\"1\"},\"type\":\"gauge\",\"name\":\"x\"}"
    })
    void theSeriesIsReadFromAnyOrderAndWithoutTheRest(String value) throws Exception {
        assertEquals("x,a=2,b=1", RecordParser.series(value.getBytes(UTF_8)));
    }

    @Test
    void aSeriesNeedsNoTagsButAName() throws Exception {
        assertEquals("x", RecordParser.series("{\"name\":\"x\"}".getBytes(UTF_8)));
        assertThrows(MalformedRecordException.class, () -> RecordParser.series("{\"tags\":{}}".getBytes(UTF_8)));
    }

    @Test
    void unknownMembersAreSkipped() throws Exception {
        assertEquals("x", parse("{\"new\":{\"a\":[1,{}]},\"name\":\"x\",\"type\":\"counter\",\"timestamp\":1,"
                + "\"fields\":{\"count\":1}}").name());
    }

    @ParameterizedTest
    @ValueSource(strings = {
        "", "null", "[]", "{}", "{\"name\":1}", "{\"name\":\"x\",\"type\":\"counter\",\"timestamp\":1}",
        "{\"name\":\"x\",\"type\":\"median\",\"timestamp\":1,\"fields\":{\"count\":1}}",
        "{\"name\":\"x\",\"type\":\"counter\",\"timestamp\":1,\"fields\":{\"count\":1e999}}",
        "{\"name\":\"x\",\"type\":\"counter\",\"timestamp\":1,\"fields\":{\"count\":\"1\"}}",
        "{\"name\":\"x\",\"type\":\"set\",\"timestamp\":1,\"fields\":{\"count\":1},\"sketch\":\"?\"}",
        "{\"name\":\"x\",\"type\":\"counter\",\"timestamp\":1,\"tags\":{\"a\":{}},\"fields\":{\"count\":1}}"
    })
    void anythingElseIsMalformed(String value) {
        assertThrows(MalformedRecordException.class, () -> parse(value));
    }

    @Property(tries = 1_000)
    void aDamagedRecordIsARecordOrMalformed(@ForAll int at, @ForAll byte value) {
        byte[] damaged = TIMER.getBytes(UTF_8);
        damaged[Math.floorMod(at, damaged.length)] = value;
        try {
            assertFalse(RecordParser.series(damaged).isEmpty());
            assertTrue(RecordParser.parse(damaged).timestamp() >= 0);
        } catch (MalformedRecordException expected) {
            // The only exception that callers handle.
        }
    }
}
