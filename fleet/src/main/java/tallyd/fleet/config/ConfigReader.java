package tallyd.fleet.config;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.api.lowlevel.Compose;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;
import org.snakeyaml.engine.v2.nodes.Node;

/** Reads the configuration file. */
public final class ConfigReader {
    private static final Duration SECOND = Duration.ofSeconds(1);
    private static final Duration MINUTE = Duration.ofMinutes(1);
    private static final Duration HOUR = Duration.ofHours(1);
    private static final Duration DAY = Duration.ofDays(1);

    private ConfigReader() {}

    public static FleetConfig read(Path file) {
        try {
            return parse(file.toString(), Files.readString(file));
        } catch (IOException unreadable) {
            throw new ConfigException(file + ": cannot be read: " + unreadable);
        }
    }

    public static FleetConfig parse(String file, String text) {
        YamlSection root = new YamlSection(file, "", compose(file, text));
        List<Duration> windows = windows(root, "windows", List.of(Duration.ofSeconds(10), MINUTE));
        FleetConfig config = new FleetConfig(
                kafka(root.section("kafka")),
                input(root.section("input")),
                output(root.section("output")),
                time(root.section("time")),
                windows,
                percentiles(root),
                groups(root, windows),
                checkpoints(root.section("checkpoints")),
                queries(root),
                root.whole("parallelism", 0, 0, 32_768));
        root.finish();
        ConfigRules.check(root, config);
        return config;
    }

    private static Node compose(String file, String text) {
        try {
            return new Compose(LoadSettings.builder().setLabel(file).build())
                    .composeString(text)
                    .orElseThrow(() -> new ConfigException(file + ": the file is empty"));
        } catch (MarkedYamlEngineException invalid) {
            String place = invalid.getProblemMark()
                    .map(mark -> ":" + (mark.getLine() + 1) + ":" + (mark.getColumn() + 1))
                    .orElse("");
            throw new ConfigException(file + place + ": " + invalid.getProblem());
        } catch (YamlEngineException invalid) {
            throw new ConfigException(file + ": " + invalid.getMessage());
        }
    }

    private static FleetConfig.Kafka kafka(YamlSection section) {
        var kafka = new FleetConfig.Kafka(section.required("brokers"), section.pairs("properties"));
        section.finish();
        return kafka;
    }

    private static FleetConfig.Input input(YamlSection section) {
        List<String> topics = section.texts("topic");
        if (topics.isEmpty()) {
            throw section.wrong("topic", "is missing");
        }
        var input = new FleetConfig.Input(
                topics,
                section.text("group", "tallyd-fleet"),
                section.choice("start", "earliest", List.of("earliest", "latest", "committed")));
        section.finish();
        return input;
    }

    private static FleetConfig.Output output(YamlSection section) {
        var output = new FleetConfig.Output(
                section.required("topic"),
                section.text("rejected_topic", null),
                section.text("prefix", ""),
                section.pairs("tags"),
                section.flag("sketches", true),
                section.choice("delivery", "exactly_once", List.of("exactly_once", "at_least_once")),
                section.whole("max_record_bytes", 1_000_000, 10_000, 100_000_000),
                section.time("not_before"));
        section.finish();
        return output;
    }

    private static FleetConfig.Time time(YamlSection section) {
        var time = new FleetConfig.Time(
                section.duration("delay", Duration.ofSeconds(3), Duration.ZERO, HOUR),
                section.duration("grace", Duration.ofMinutes(90), SECOND, Duration.ofDays(7)),
                section.duration("correct_every", Duration.ofSeconds(5), Duration.ZERO, HOUR),
                section.duration("max_ahead", MINUTE, SECOND, DAY),
                section.duration("idle_after", Duration.ofSeconds(30), SECOND, HOUR));
        section.finish();
        return time;
    }

    private static FleetConfig.Checkpoints checkpoints(YamlSection section) {
        var checkpoints = new FleetConfig.Checkpoints(
                section.duration("interval", Duration.ofSeconds(10), Duration.ofMillis(100), HOUR),
                section.text("directory", null));
        section.finish();
        return checkpoints;
    }

    private static List<Double> percentiles(YamlSection root) {
        List<Double> percentiles = root.numbers("percentiles", List.of(50.0, 90.0, 95.0, 99.0), 0, 100);
        if (percentiles.stream().distinct().count() < percentiles.size()) {
            throw root.wrong("percentiles", "must not have the same percentile twice");
        }
        return percentiles;
    }

    private static List<Duration> windows(YamlSection section, String key, List<Duration> otherwise) {
        List<Duration> windows = section.durations(key, otherwise, SECOND, DAY);
        if (windows.isEmpty()) {
            throw section.wrong(key, "must have at least one window");
        }
        windows.forEach(window -> checkSeconds(section, key, window));
        if (windows.stream().anyMatch(window -> DAY.toMillis() % window.toMillis() != 0)) {
            throw section.wrong(key, "must divide a day into equal parts, so that all windows begin at full ones");
        }
        return windows.stream().distinct().toList();
    }

    /** Keys and names of results, and SQL intervals, have whole seconds. */
    private static void checkSeconds(YamlSection section, String key, Duration window) {
        if (window.toMillis() % SECOND.toMillis() != 0) {
            throw section.wrong(key, "must be whole seconds, not " + Durations.write(window));
        }
    }

    private static List<GroupRule> groups(YamlSection root, List<Duration> windows) {
        List<GroupRule> rules = new ArrayList<>();
        for (YamlSection section : root.sections("groups")) {
            List<Duration> own = windows(section, "windows", windows);
            if (!windows.containsAll(own)) {
                throw section.wrong("windows", "must be some of the windows of the file's own `windows`");
            }
            rules.add(new GroupRule(
                    GroupRule.glob(section.text("match", "*")),
                    section.groupings("by"),
                    own,
                    section.choice("gauge", "last", List.of("last", "min", "max", "sum", "mean"))));
            section.finish();
        }
        if (rules.isEmpty()) {
            throw root.wrong("groups", "must have at least one group, such as {match: \"*\", by: [environment]}");
        }
        return rules;
    }

    private static List<FleetConfig.Query> queries(YamlSection root) {
        List<FleetConfig.Query> queries = new ArrayList<>();
        for (YamlSection section : root.sections("queries")) {
            FleetConfig.Query query = new FleetConfig.Query(
                    section.required("name"),
                    section.duration("window", MINUTE, SECOND, DAY),
                    section.required("sql"));
            checkSeconds(section, "window", query.window());
            if (queries.stream().anyMatch(other -> other.name().equals(query.name()))) {
                throw section.wrong("name", "must be unique: it names the query's state, and `" + query.name()
                        + "` occurs twice");
            }
            queries.add(query);
            section.finish();
        }
        return queries;
    }
}
