package tallyd.fleet.config;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class ConfigReaderTest {
    private static final String LEAST = """
            kafka: {brokers: "127.0.0.1:9092"}
            input: {topic: metrics}
            output: {topic: metrics.fleet}
            groups: [{by: [environment]}]
            """;

    @Test
    void theSampleIsAccepted() {
        FleetConfig config = ConfigReader.read(Path.of("fleet.yaml"));
        assertEquals(List.of("metrics"), config.input().topics());
    }

    @Test
    void everyConfigurationInTheDocumentationIsAccepted() throws Exception {
        String page = Files.readString(Path.of("../docs/fleet.md"));
        List<MatchResult> blocks = Pattern.compile("```yml\n(.*?)```", Pattern.DOTALL).matcher(page).results().toList();
        assertEquals(2, blocks.size());
        blocks.forEach(block -> ConfigReader.parse("fleet.md", block.group(1)));
    }

    @Test
    void fourKeysAreEnough() {
        FleetConfig config = ConfigReader.parse("f.yaml", LEAST);
        assertEquals(List.of(Duration.ofSeconds(10), Duration.ofMinutes(1)), config.windows());
        assertEquals(List.of(50.0, 90.0, 95.0, 99.0), config.percentiles());
        assertEquals(Duration.ofMinutes(90), config.time().grace());
        assertEquals("exactly_once", config.output().delivery());
        assertEquals(List.of(List.of("environment")), config.groups().get(0).by());
    }

    @Test
    void aGroupMayHaveSeveralListsOfTagsAndFewerWindows() {
        FleetConfig config = ConfigReader.parse("f.yaml", LEAST.replace(
                "[{by: [environment]}]",
                "[{match: 'rpc.*', by: [[environment], [environment, service]], windows: [1m], gauge: sum}]"));
        GroupRule rule = config.groups().get(0);
        assertEquals(List.of(List.of("environment"), List.of("environment", "service")), rule.by());
        assertEquals(List.of(Duration.ofMinutes(1)), rule.windows());
        assertEquals("sum", rule.gauge());
        assertTrue(rule.matches("rpc.time"));
        assertFalse(rule.matches("xrpc.time"));
    }

    @Test
    void propertiesArePassedOn() {
        FleetConfig config = ConfigReader.parse("f.yaml", LEAST.replace(
                "{brokers: \"127.0.0.1:9092\"}", "{brokers: b, properties: {security.protocol: SSL}}"));
        assertEquals(Map.of("security.protocol", "SSL"), config.kafka().properties());
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '\0', value = {
        "input: {topic: metrics}|input: {topik: metrics}|f.yaml:2:8: `input.topic` is missing",
        "windows|outputs: 1|f.yaml:5:1: unknown key `outputs`, did you mean `output`?; allowed: checkpoints, groups, "
                + "input, kafka, output, parallelism, percentiles, queries, time, windows",
        "windows|windows: [10]|f.yaml:5:11: `windows` must be a duration such as 250ms, 10s, 1m or 2h, not `10`",
        "windows|windows: [7s]|f.yaml:5:10: `windows` must divide a day into equal parts, so that all windows begin "
                + "at full ones",
        "windows|windows: [1500ms]|f.yaml:5:10: `windows` must be whole seconds, not 1500ms",
        "windows|queries: [{name: a, window: 1500ms, sql: s}]|f.yaml:5:29: `queries[0].window` must be whole seconds, "
                + "not 1500ms",
        "windows|queries: [{name: a, sql: s}, {name: a, sql: t}]|f.yaml:5:37: `queries[1].name` must be unique: it "
                + "names the query's state, and `a` occurs twice",
        "windows|percentiles: [99, 50, 99.0]|f.yaml:5:14: `percentiles` must not have the same percentile twice",
        "topic: metrics.fleet|topic: a, rejected_topic: metrics|f.yaml:3:9: `output` must have another "
                + "`rejected_topic` than `input.topic`: metrics",
        "topic: metrics.fleet|topic: a, rejected_topic: a|f.yaml:3:9: `output` must have another `rejected_topic` "
                + "than `topic`: a",
        "topic: metrics.fleet|topic: a, tags: {environment: x}|f.yaml:3:9: `output` must not have the tag "
                + "`environment` in `tags`: `groups` group by it",
        "topic: metrics.fleet|topic: a, not_before: today|f.yaml:3:32: `output.not_before` must be a time in UTC such "
                + "as 2027-01-31T12:00:00Z, not `today`",
        "windows|checkpoints: {interval: 8m}|f.yaml:5:14: `checkpoints` must have an `interval` of at most half of the "
                + "time that brokers keep a transaction open, 15m, or they discard results: set a shorter one, or a "
                + "longer `transaction.timeout.ms` in `kafka.properties`",
        "{brokers: \"127.0.0.1:9092\"}|{brokers: b, properties: {transaction.timeout.ms: 1h}}|f.yaml:1:8: `kafka` must "
                + "have whole milliseconds as `transaction.timeout.ms`, not `1h`",
        "windows|percentiles: [99, 101]|f.yaml:5:19: `percentiles` must be numbers greater than 0 and at most 100, "
                + "not `101`",
        "windows|time: {grace: 30d}|f.yaml:5:15: `time.grace` must be from 1s to 7d, not 30d",
        "windows|time: {grace: 1m, correct_every: 2m}|f.yaml:5:7: `time` must have a `correct_every` of at most "
                + "`grace`, 1m",
        "windows|time: 3|f.yaml:5:7: `time` must be a section with keys",
        "[{by: [environment]}]|[{by: environment}]|f.yaml:4:15: `groups[0].by` must be a list",
        "[{by: [environment]}]|[{by: [a], gauge: median}]|f.yaml:4:27: `groups[0].gauge` must be one of last, min, "
                + "max, sum, mean, not `median`",
        "[{by: [environment]}]|[{by: [a], windows: [5m]}]|f.yaml:4:29: `groups[0].windows` must be some of the "
                + "windows of the file's own `windows`",
        "topic: metrics.fleet|topic: metrics|f.yaml:3:9: `output` must have another topic than `input`: metrics",
        "topic: metrics.fleet|topic: a, delivery: twice|f.yaml:3:30: `output.delivery` must be one of exactly_once, "
                + "at_least_once, not `twice`",
        "windows|parallelism: 1.5|f.yaml:5:14: `parallelism` must be a whole number from 0 to 32768, not `1.5`",
    })
    void aMistakeIsReportedAtItsPlace(String replaced, String by, String message) {
        String text = LEAST.contains(replaced) ? LEAST.replace(replaced, by) : LEAST + by + "\n";
        ConfigException error = assertThrows(ConfigException.class, () -> ConfigReader.parse("f.yaml", text));
        assertEquals(message, error.getMessage());
    }

    @Test
    void aLongerTransactionAllowsALongerCheckpointInterval() {
        FleetConfig config = ConfigReader.parse("f.yaml", LEAST.replace(
                "{brokers: \"127.0.0.1:9092\"}",
                "{brokers: b, properties: {transaction.timeout.ms: 3600000}}") + "checkpoints: {interval: 30m}\n");
        assertEquals(Duration.ofMinutes(30), config.checkpoints().interval());
    }

    @Test
    void invalidYamlIsReportedAtItsPlace() {
        ConfigException error = assertThrows(ConfigException.class, () -> ConfigReader.parse("f.yaml", "a: [1"));
        assertTrue(error.getMessage().startsWith("f.yaml:1:6: "), error.getMessage());
    }

    @Test
    void duplicateKeysAreReported() {
        ConfigException error = assertThrows(ConfigException.class,
                () -> ConfigReader.parse("f.yaml", LEAST + "windows: [10s]\nwindows: [1m]\n"));
        assertEquals("f.yaml:6:1: the key `windows` occurs twice", error.getMessage());
    }
}
