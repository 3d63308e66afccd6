package tallyd.fleet.record;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.util.Set;

/** Parses records in tallyd's JSON format, token by token: no tree is built for each record. */
public final class RecordParser {
    private static final JsonFactory JSON = new JsonFactory();
    private static final Set<String> TYPES = Set.of("counter", "gauge", "timer", "set", "trace");

    private RecordParser() {}

    public static MetricRecord parse(byte[] value) throws MalformedRecordException {
        return read(value, Reading::record);
    }

    /**
     * Reads only the name and the tags of a record, and returns them as one text. tallyd writes them first, so most of
     * the value is neither read nor checked.
     */
    public static String series(byte[] value) throws MalformedRecordException {
        return read(value, Reading::series);
    }

    private interface Part<T> {
        T of(Reading reading) throws IOException, MalformedRecordException;
    }

    private static <T> T read(byte[] value, Part<T> part) throws MalformedRecordException {
        try (JsonParser json = JSON.createParser(value)) {
            return part.of(new Reading(json));
        } catch (JsonProcessingException invalid) {
            throw new MalformedRecordException("not JSON: " + invalid.getOriginalMessage());
        } catch (IOException | IllegalArgumentException invalid) {
            throw new MalformedRecordException("not JSON: " + invalid.getMessage());
        }
    }

    /** One pass over a value. */
    private static final class Reading {
        private final JsonParser json;
        private final MetricRecord record = new MetricRecord();

        Reading(JsonParser json) {
            this.json = json;
        }

        MetricRecord record() throws IOException, MalformedRecordException {
            expect(json.nextToken(), JsonToken.START_OBJECT, "the record");
            while (json.nextToken() != JsonToken.END_OBJECT) {
                String member = json.currentName();
                json.nextToken();
                read(member);
            }
            check();
            return record;
        }

        String series() throws IOException, MalformedRecordException {
            expect(json.nextToken(), JsonToken.START_OBJECT, "the record");
            boolean hasTags = false;
            while (!(hasTags && record.name != null) && json.nextToken() != JsonToken.END_OBJECT) {
                String member = json.currentName();
                json.nextToken();
                switch (member) {
                    case "name" -> record.name = text(member);
                    case "tags" -> {
                        tags();
                        hasTags = true;
                    }
                    default -> json.skipChildren();
                }
            }
            if (record.name == null || record.name.isEmpty()) {
                throw new MalformedRecordException("`name` is missing");
            }
            return SeriesText.of(record.name, record.tags);
        }

        private void read(String member) throws IOException, MalformedRecordException {
            switch (member) {
                case "name" -> record.name = text(member);
                case "type" -> record.type = text(member);
                case "timestamp" -> record.timestamp = (long) number(member);
                case "tags" -> tags();
                case "fields" -> fields();
                case "sketch" -> {
                    expect(json.currentToken(), JsonToken.VALUE_STRING, member);
                    record.sketch = json.getBinaryValue();
                }
                default -> json.skipChildren();
            }
        }

        private void tags() throws IOException, MalformedRecordException {
            expect(json.currentToken(), JsonToken.START_OBJECT, "tags");
            while (json.nextToken() != JsonToken.END_OBJECT) {
                String tag = json.currentName();
                json.nextToken();
                record.tags.put(tag, text(tag));
            }
        }

        private void fields() throws IOException, MalformedRecordException {
            expect(json.currentToken(), JsonToken.START_OBJECT, "fields");
            while (json.nextToken() != JsonToken.END_OBJECT) {
                String field = json.currentName();
                json.nextToken();
                record.fields.put(field, number(field));
            }
        }

        private String text(String member) throws IOException, MalformedRecordException {
            expect(json.currentToken(), JsonToken.VALUE_STRING, member);
            return json.getText();
        }

        private double number(String member) throws IOException, MalformedRecordException {
            if (!json.currentToken().isNumeric() || !Double.isFinite(json.getDoubleValue())) {
                throw new MalformedRecordException("`" + member + "` is not a finite number");
            }
            return json.getDoubleValue();
        }

        private void check() throws MalformedRecordException {
            if (record.name == null || record.name.isEmpty() || record.timestamp < 0) {
                throw new MalformedRecordException("`name` or `timestamp` is missing");
            }
            if (record.type == null || !TYPES.contains(record.type)) {
                throw new MalformedRecordException("`type` is none of tallyd's");
            }
            String needed = record.type.equals("gauge") ? "value" : "count";
            if (!record.fields.containsKey(needed)) {
                throw new MalformedRecordException("the field `" + needed + "` is missing");
            }
        }

        private static void expect(JsonToken token, JsonToken expected, String what)
                throws MalformedRecordException {
            if (token != expected) {
                throw new MalformedRecordException("`" + what + "` is not " + expected.name());
            }
        }
    }
}
