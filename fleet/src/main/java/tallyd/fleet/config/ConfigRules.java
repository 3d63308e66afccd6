package tallyd.fleet.config;

import java.time.Duration;
import java.util.List;

/** What several keys of the configuration file must satisfy together. */
final class ConfigRules {
    private ConfigRules() {}

    static void check(YamlSection root, FleetConfig config) {
        checkTopics(root, config);
        checkTags(root, config);
        checkTime(root, config);
        checkTransactions(root, config);
    }

    private static void checkTopics(YamlSection root, FleetConfig config) {
        FleetConfig.Output output = config.output();
        List<String> inputs = config.input().topics();
        // The job would read its own results, add them up and write them again, forever.
        if (inputs.contains(output.topic())) {
            throw root.wrong("output", "must have another topic than `input`: " + output.topic());
        }
        if (output.rejectedTopic() == null) {
            return;
        }
        // It would reject its own rejections.
        if (inputs.contains(output.rejectedTopic())) {
            throw root.wrong(
                    "output", "must have another `rejected_topic` than `input.topic`: " + output.rejectedTopic());
        }
        // Consumers of results would read rejections.
        if (output.topic().equals(output.rejectedTopic())) {
            throw root.wrong("output", "must have another `rejected_topic` than `topic`: " + output.topic());
        }
    }

    /** Results of different groups would get the same tags and key, and replace each other. */
    private static void checkTags(YamlSection root, FleetConfig config) {
        for (GroupRule rule : config.groups()) {
            for (List<String> by : rule.by()) {
                for (String tag : by) {
                    if (config.output().tags().containsKey(tag)) {
                        throw root.wrong(
                                "output", "must not have the tag `" + tag + "` in `tags`: `groups` group by it");
                    }
                }
            }
        }
    }

    /** A correction that waits for longer would come after its window is forgotten. */
    private static void checkTime(YamlSection root, FleetConfig config) {
        Duration grace = config.time().grace();
        if (config.time().correctEvery().compareTo(grace) > 0) {
            throw root.wrong("time", "must have a `correct_every` of at most `grace`, " + Durations.write(grace));
        }
    }

    /** A transaction is open from one checkpoint to the end of the next one; brokers end it after this time. */
    private static void checkTransactions(YamlSection root, FleetConfig config) {
        if (!config.output().delivery().equals("exactly_once")) {
            return;
        }
        Duration timeout = transactionTimeout(root, config);
        if (config.checkpoints().interval().multipliedBy(2).compareTo(timeout) > 0) {
            throw root.wrong("checkpoints", "must have an `interval` of at most half of the time that brokers keep a "
                    + "transaction open, " + Durations.write(timeout) + ", or they discard results: set a shorter one, "
                    + "or a longer `transaction.timeout.ms` in `kafka.properties`");
        }
    }

    private static Duration transactionTimeout(YamlSection root, FleetConfig config) {
        String text = config.kafka().properties().get("transaction.timeout.ms");
        if (text == null) {
            return FleetConfig.TRANSACTION_TIMEOUT;
        }
        try {
            return Duration.ofMillis(Integer.parseInt(text.strip()));
        } catch (NumberFormatException notANumber) {
            throw root.wrong("kafka", "must have whole milliseconds as `transaction.timeout.ms`, not `" + text + "`");
        }
    }
}
