package tallyd.fleet.config;

import java.time.Duration;
import java.time.Instant;
import java.time.format.DateTimeParseException;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import org.snakeyaml.engine.v2.common.FlowStyle;
import org.snakeyaml.engine.v2.nodes.MappingNode;
import org.snakeyaml.engine.v2.nodes.Node;
import org.snakeyaml.engine.v2.nodes.NodeTuple;
import org.snakeyaml.engine.v2.nodes.ScalarNode;
import org.snakeyaml.engine.v2.nodes.SequenceNode;
import org.snakeyaml.engine.v2.nodes.Tag;

/**
 * A mapping of the configuration file. Each method takes one key; {@link #finish} then reports keys that no
 * method asked for.
 */
final class YamlSection {
    private final String file;
    private final String path;
    private final Node node;
    private final Map<String, Node> values = new LinkedHashMap<>();
    private final Map<String, Node> keys = new LinkedHashMap<>();
    private final Set<String> known = new TreeSet<>();

    YamlSection(String file, String path, Node node) {
        this.file = file;
        this.path = path;
        this.node = node;
        if (!(node instanceof MappingNode mapping)) {
            throw error(node, "`" + path + "` must be a section with keys");
        }
        for (NodeTuple tuple : mapping.getValue()) {
            String key = scalar(tuple.getKeyNode(), "a key");
            if (keys.put(key, tuple.getKeyNode()) != null) {
                throw error(tuple.getKeyNode(), "the key `" + name(key) + "` occurs twice");
            }
            values.put(key, tuple.getValueNode());
        }
    }

    String required(String key) {
        Node value = take(key);
        if (value == null) {
            throw error(node, "`" + name(key) + "` is missing");
        }
        return scalar(value, name(key));
    }

    String text(String key, String otherwise) {
        Node value = take(key);
        return value == null ? otherwise : scalar(value, name(key));
    }

    boolean flag(String key, boolean otherwise) {
        String text = text(key, Boolean.toString(otherwise));
        return switch (text) {
            case "true", "True" -> true;
            case "false", "False" -> false;
            default -> throw wrong(key, "must be true or false, not `" + text + "`");
        };
    }

    String choice(String key, String otherwise, Collection<String> allowed) {
        String text = text(key, otherwise);
        if (!allowed.contains(text)) {
            throw wrong(key, "must be one of " + String.join(", ", allowed) + ", not `" + text + "`");
        }
        return text;
    }

    Duration duration(String key, Duration otherwise, Duration least, Duration most) {
        Node value = take(key);
        return value == null ? otherwise : duration(value, name(key), least, most);
    }

    List<Duration> durations(String key, List<Duration> otherwise, Duration least, Duration most) {
        Node value = take(key);
        return value == null
                ? otherwise
                : items(value, name(key)).stream().map(item -> duration(item, name(key), least, most)).toList();
    }

    private Duration duration(Node value, String name, Duration least, Duration most) {
        String text = scalar(value, name);
        Duration duration = Durations.parse(text).orElseThrow(() -> error(value,
                "`" + name + "` must be a duration such as 250ms, 10s, 1m or 2h, not `" + text + "`"));
        if (duration.compareTo(least) < 0 || duration.compareTo(most) > 0) {
            throw error(value, "`" + name + "` must be from " + Durations.write(least) + " to "
                    + Durations.write(most) + ", not " + text);
        }
        return duration;
    }

    /** A moment such as {@code 2027-01-31T12:00:00Z}, or null. */
    Instant time(String key) {
        String text = text(key, null);
        try {
            return text == null ? null : Instant.parse(text);
        } catch (DateTimeParseException invalid) {
            throw wrong(key, "must be a time in UTC such as 2027-01-31T12:00:00Z, not `" + text + "`");
        }
    }

    List<Double> numbers(String key, List<Double> otherwise, double above, double most) {
        Node value = take(key);
        if (value == null) {
            return otherwise;
        }
        List<Double> numbers = new ArrayList<>();
        for (Node item : items(value, name(key))) {
            String text = scalar(item, name(key));
            double number = parse(text);
            if (!(number > above && number <= most)) {
                throw error(item, "`" + name(key) + "` must be numbers greater than " + plain(above)
                        + " and at most " + plain(most) + ", not `" + text + "`");
            }
            numbers.add(number);
        }
        return numbers;
    }

    int whole(String key, int otherwise, int least, int most) {
        String text = text(key, Integer.toString(otherwise));
        double number = parse(text);
        if (number != Math.rint(number) || !(number >= least && number <= most)) {
            throw wrong(key, "must be a whole number from " + least + " to " + most + ", not `" + text + "`");
        }
        return (int) number;
    }

    /** A text or a list of texts. */
    List<String> texts(String key) {
        Node value = take(key);
        if (value == null) {
            return List.of();
        }
        return value instanceof ScalarNode
                ? List.of(scalar(value, name(key)))
                : items(value, name(key)).stream().map(item -> scalar(item, name(key))).toList();
    }

    /** A list of texts, or a list of such lists. */
    List<List<String>> groupings(String key) {
        Node value = take(key);
        if (value == null) {
            throw error(node, "`" + name(key) + "` is missing");
        }
        List<Node> items = items(value, name(key));
        boolean nested = items.stream().anyMatch(SequenceNode.class::isInstance);
        List<Node> lists = nested ? items : List.of(value);
        return lists.stream()
                .map(list -> items(list, name(key)).stream().map(item -> scalar(item, name(key))).toList())
                .toList();
    }

    Map<String, String> pairs(String key) {
        Node value = take(key);
        Map<String, String> pairs = new LinkedHashMap<>();
        if (value != null) {
            YamlSection section = new YamlSection(file, name(key), value);
            section.values.keySet().forEach(each -> pairs.put(each, section.required(each)));
        }
        return pairs;
    }

    /** A section; an empty one if it is missing. */
    YamlSection section(String key) {
        Node value = take(key);
        return new YamlSection(file, name(key), value == null ? empty() : value);
    }

    List<YamlSection> sections(String key) {
        Node value = take(key);
        List<YamlSection> sections = new ArrayList<>();
        if (value != null) {
            for (Node item : items(value, name(key))) {
                sections.add(new YamlSection(file, name(key) + "[" + sections.size() + "]", item));
            }
        }
        return sections;
    }

    /** Reports a key that does not exist. */
    void finish() {
        for (Map.Entry<String, Node> key : keys.entrySet()) {
            if (!known.contains(key.getKey())) {
                throw error(key.getValue(), "unknown key `" + name(key.getKey()) + "`" + suggestion(key.getKey())
                        + "; allowed: " + String.join(", ", known));
            }
        }
    }

    /** An error at a key's value, or at the section if the key is missing. */
    ConfigException wrong(String key, String message) {
        Node value = values.get(key);
        return error(value == null ? node : value, "`" + name(key) + "` " + message);
    }

    private String suggestion(String key) {
        return known.stream()
                .filter(candidate -> Spelling.distance(key, candidate) <= 2)
                .min((a, b) -> Spelling.distance(key, a) - Spelling.distance(key, b))
                .map(nearest -> ", did you mean `" + nearest + "`?")
                .orElse("");
    }

    private Node take(String key) {
        known.add(key);
        Node value = values.get(key);
        return value != null && value.getTag().equals(Tag.NULL) ? null : value;
    }

    private List<Node> items(Node value, String name) {
        if (!(value instanceof SequenceNode sequence)) {
            throw error(value, "`" + name + "` must be a list");
        }
        return sequence.getValue();
    }

    private String scalar(Node value, String name) {
        if (!(value instanceof ScalarNode scalar)) {
            throw error(value, "`" + name + "` must be a single value");
        }
        return scalar.getValue();
    }

    private Node empty() {
        return new MappingNode(Tag.MAP, true, new ArrayList<>(), FlowStyle.BLOCK,
                node.getStartMark(), node.getEndMark());
    }

    private String name(String key) {
        return path.isEmpty() ? key : path + "." + key;
    }

    private ConfigException error(Node at, String message) {
        String place = at.getStartMark()
                .map(mark -> ":" + (mark.getLine() + 1) + ":" + (mark.getColumn() + 1))
                .orElse("");
        return new ConfigException(file + place + ": " + message);
    }

    private static double parse(String text) {
        try {
            return Double.parseDouble(text);
        } catch (NumberFormatException notANumber) {
            return Double.NaN;
        }
    }

    private static String plain(double number) {
        return number == Math.rint(number) ? Long.toString((long) number) : Double.toString(number);
    }
}
