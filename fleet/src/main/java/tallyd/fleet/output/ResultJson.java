package tallyd.fleet.output;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.Map;

/** Writes results in tallyd's own JSON format, with its order of members and its form of numbers. */
final class ResultJson {
    private static final JsonFactory JSON = new JsonFactory();
    /** Above this, doubles have gaps between whole numbers, and a decimal point shows that. */
    private static final double LARGEST_WHOLE = 9_007_199_254_740_992.0;

    private ResultJson() {}

    static byte[] write(ResultRecord result) {
        ByteArrayOutputStream out = new ByteArrayOutputStream(256);
        try (JsonGenerator json = JSON.createGenerator(out)) {
            json.writeStartObject();
            json.writeStringField("name", result.name());
            json.writeStringField("type", result.kind());
            json.writeNumberField("timestamp", result.windowEnd());
            json.writeFieldName("interval");
            writeNumber(json, result.windowMillis() / 1_000.0);
            writeTags(json, result);
            writeFields(json, result);
            if (result.sketch() != null) {
                json.writeBinaryField("sketch", result.sketch());
            }
            json.writeEndObject();
        } catch (IOException impossible) {
            throw new UncheckedIOException(impossible);
        }
        return out.toByteArray();
    }

    private static void writeTags(JsonGenerator json, ResultRecord result) throws IOException {
        json.writeObjectFieldStart("tags");
        for (Map.Entry<String, String> tag : result.tags().entrySet()) {
            json.writeStringField(tag.getKey(), tag.getValue());
        }
        json.writeEndObject();
    }

    private static void writeFields(JsonGenerator json, ResultRecord result) throws IOException {
        json.writeObjectFieldStart("fields");
        for (Map.Entry<String, Double> field : result.fields().entrySet()) {
            if (field.getValue() != null && !field.getValue().isNaN()) {
                json.writeFieldName(field.getKey());
                writeNumber(json, field.getValue());
            }
        }
        json.writeEndObject();
    }

    private static void writeNumber(JsonGenerator json, double number) throws IOException {
        // JSON has no infinity; tallyd clamps as well.
        double finite = Math.max(-Double.MAX_VALUE, Math.min(Double.MAX_VALUE, number));
        if (finite == Math.rint(finite) && Math.abs(finite) <= LARGEST_WHOLE) {
            json.writeNumber((long) finite);
        } else {
            json.writeNumber(finite);
        }
    }
}
