package tallyd.fleet;

import java.nio.file.Path;
import java.util.Properties;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;
import tallyd.fleet.config.ConfigException;
import tallyd.fleet.config.ConfigReader;
import tallyd.fleet.config.FleetConfig;
import tallyd.fleet.ingest.Arrival;
import tallyd.fleet.ingest.ArrivalReader;
import tallyd.fleet.ingest.FleetWatermarks;
import tallyd.fleet.output.RejectionSerializer;
import tallyd.fleet.output.ResultSerializer;

/** The job: {@code FleetJob FILE} runs it, {@code FleetJob --check FILE} only checks the file. */
public final class FleetJob {
    private static final String USAGE = "usage: FleetJob [--check] FILE.yaml";

    private FleetJob() {}

    public static void main(String[] arguments) throws Exception {
        boolean check = arguments.length == 2 && arguments[0].equals("--check");
        if (!check && arguments.length != 1) {
            System.err.println(USAGE);
            System.exit(2);
        }
        FleetConfig config = readOrExit(Path.of(arguments[arguments.length - 1]), check);
        if (check) {
            System.out.println("the configuration is good");
        } else {
            run(config);
        }
    }

    private static FleetConfig readOrExit(Path file, boolean mayExit) {
        try {
            return ConfigReader.read(file);
        } catch (ConfigException invalid) {
            System.err.println(invalid.getMessage());
            if (mayExit) {
                System.exit(1);
            }
            // Flink's client reports the exception, and its JobManager must not exit.
            throw invalid;
        }
    }

    private static void run(FleetConfig config) throws Exception {
        StreamExecutionEnvironment environment = StreamExecutionEnvironment.getExecutionEnvironment(options(config));
        environment.enableCheckpointing(config.checkpoints().interval().toMillis());
        if (config.parallelism() > 0) {
            environment.setParallelism(config.parallelism());
        }
        StreamTableEnvironment tables = StreamTableEnvironment.create(environment);
        FleetPipeline.Streams streams = new FleetPipeline(tables, config).build(arrivals(environment, config));
        streams.results()
                .sinkTo(sink(config, new ResultSerializer(config.output().topic()), "results"))
                .uid("results")
                .name("results");
        if (config.output().rejectedTopic() != null) {
            streams.rejections()
                    .sinkTo(sink(config, new RejectionSerializer(config.output().rejectedTopic()), "rejected"))
                    .uid("rejected")
                    .name("rejected");
        }
        environment.execute("tallyd-fleet");
    }

    private static Configuration options(FleetConfig config) {
        Configuration options = new Configuration();
        if (config.checkpoints().directory() != null) {
            options.setString("execution.checkpointing.dir", config.checkpoints().directory());
        }
        // A cancelled job, or one whose JobManager died, can be continued from its last checkpoint.
        options.setString("execution.checkpointing.externalized-checkpoint-retention", "RETAIN_ON_CANCELLATION");
        return options;
    }

    private static DataStream<Arrival> arrivals(StreamExecutionEnvironment environment, FleetConfig config) {
        FleetConfig.Time time = config.time();
        long delay = time.delay().toMillis();
        long idleAfter = time.idleAfter().toMillis();
        // Time goes on for so long if the job cannot reach the brokers: the records that wait there must not be late.
        long longest = Math.min(config.longestWindow().toMillis(), time.grace().toMillis() / 2);
        WatermarkStrategy<Arrival> watermarks = WatermarkStrategy
                .<Arrival>forGenerator(context -> new FleetWatermarks(delay, idleAfter, longest,
                        System::currentTimeMillis, context.getInputActivityClock()::relativeTimeMillis))
                .withTimestampAssigner((arrival, any) -> Math.max(arrival.windowEnd - 1, 0));
        return environment.fromSource(source(config), watermarks, "records").uid("records");
    }

    @SuppressWarnings("deprecation") // The connector has no other way to name the fallback.
    private static KafkaSource<Arrival> source(FleetConfig config) {
        return KafkaSource.<Arrival>builder()
                .setBootstrapServers(config.kafka().brokers())
                .setProperties(properties(config))
                .setTopics(config.input().topics())
                .setGroupId(config.input().group())
                .setStartingOffsets(switch (config.input().start()) {
                    case "latest" -> OffsetsInitializer.latest();
                    case "committed" -> OffsetsInitializer.committedOffsets(
                            org.apache.kafka.clients.consumer.OffsetResetStrategy.EARLIEST);
                    default -> OffsetsInitializer.earliest();
                })
                // New partitions of the topic are read as well.
                .setProperty("partition.discovery.interval.ms", "60000")
                .setDeserializer(new ArrivalReader(config.time().maxAhead().toMillis()))
                .build();
    }

    private static <T> KafkaSink<T> sink(
            FleetConfig config, KafkaRecordSerializationSchema<T> serializer, String name) {
        Properties properties = properties(config);
        // Brokers refuse more than 15 minutes unless they are configured otherwise; Flink's default is an hour.
        properties.putIfAbsent("transaction.timeout.ms", Long.toString(FleetConfig.TRANSACTION_TIMEOUT.toMillis()));
        properties.putIfAbsent("compression.type", "lz4");
        // The producer's own limit must not be lower than that of the results.
        int largest = Math.max(1_048_576, config.output().maxRecordBytes());
        properties.putIfAbsent("max.request.size", Integer.toString(largest));
        boolean exactlyOnce = config.output().delivery().equals("exactly_once");
        return KafkaSink.<T>builder()
                .setBootstrapServers(config.kafka().brokers())
                .setKafkaProducerConfig(properties)
                .setDeliveryGuarantee(exactlyOnce ? DeliveryGuarantee.EXACTLY_ONCE : DeliveryGuarantee.AT_LEAST_ONCE)
                // Two jobs on the same brokers must not abort each other's transactions.
                .setTransactionalIdPrefix(config.input().group() + "-" + config.output().topic() + "-" + name)
                .setRecordSerializer(serializer)
                .build();
    }

    private static Properties properties(FleetConfig config) {
        Properties properties = new Properties();
        properties.putAll(config.kafka().properties());
        return properties;
    }
}
