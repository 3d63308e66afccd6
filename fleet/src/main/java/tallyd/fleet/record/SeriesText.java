package tallyd.fleet.record;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.SortedMap;
import java.util.TreeMap;

/**
 * Names and tags as one text, as in the keys of tallyd's records: {@code name,key=value,key=value} with a
 * backslash before each comma, equals sign and backslash inside them.
 */
public final class SeriesText {
    private SeriesText() {}

    /** The tags alone: {@code key=value,key=value}, in the order of the map. */
    public static String ofTags(SortedMap<String, String> tags) {
        StringBuilder text = new StringBuilder();
        for (Map.Entry<String, String> tag : tags.entrySet()) {
            text.append(text.isEmpty() ? "" : ",");
            append(text, tag.getKey());
            append(text.append('='), tag.getValue());
        }
        return text.toString();
    }

    public static String of(String name, SortedMap<String, String> tags) {
        StringBuilder text = new StringBuilder();
        append(text, name);
        return tags.isEmpty() ? text.toString() : text.append(',').append(ofTags(tags)).toString();
    }

    public static SortedMap<String, String> parseTags(String text) {
        SortedMap<String, String> tags = new TreeMap<>();
        List<String> parts = text.isEmpty() ? List.of() : parts(text);
        for (int i = 0; i + 1 < parts.size(); i += 2) {
            tags.put(parts.get(i), parts.get(i + 1));
        }
        return tags;
    }

    /** Splits at each comma and equals sign without a backslash before it. */
    private static List<String> parts(String text) {
        List<String> parts = new ArrayList<>();
        StringBuilder part = new StringBuilder();
        for (int i = 0; i < text.length(); i++) {
            char letter = text.charAt(i);
            if (letter == '\\' && i + 1 < text.length()) {
                part.append(text.charAt(++i));
            } else if (letter == ',' || letter == '=') {
                parts.add(part.toString());
                part.setLength(0);
            } else {
                part.append(letter);
            }
        }
        parts.add(part.toString());
        return parts;
    }

    private static void append(StringBuilder out, String text) {
        for (int i = 0; i < text.length(); i++) {
            char letter = text.charAt(i);
            if (letter == ',' || letter == '=' || letter == '\\') {
                out.append('\\');
            }
            out.append(letter);
        }
    }
}
