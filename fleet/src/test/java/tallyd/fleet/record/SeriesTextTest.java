package tallyd.fleet.record;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Map;
import java.util.TreeMap;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.constraints.NotEmpty;
import org.junit.jupiter.api.Test;

class SeriesTextTest {
    @Property
    void tagsAreReadBackAsTheyWere(@ForAll Map<@NotEmpty String, @NotEmpty String> tags) {
        assertEquals(tags, SeriesText.parseTags(SeriesText.ofTags(new TreeMap<>(tags))));
    }

    @Test
    void theFormIsThatOfTallydsKeys() {
        var tags = new TreeMap<>(Map.of("a,b", "x=y", "stage", "login\\"));
        assertEquals("user.logins,a\\,b=x\\=y,stage=login\\\\", SeriesText.of("user.logins", tags));
        assertEquals("user.logins", SeriesText.of("user.logins", new TreeMap<>()));
    }
}
