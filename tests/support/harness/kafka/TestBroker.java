import java.io.Reader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import kafka.server.KafkaConfig;
import kafka.server.KafkaRaftServer;
import kafka.tools.StorageTool;
import org.apache.kafka.common.utils.Time;

/**
 * One Kafka node, 4.0 or later, that lives no longer than whoever holds its standard input: see {@link Lifeline}.
 *
 * <p>Arguments: the folder of the whole cluster, the node's properties file, then what else to tell the storage tool (SCRAM users).
 * Formats its log folder unless that is done already, in the same JVM because a second one would cost another second.
 * With {@code -Dtrain=true} it ends as soon as it has started, for the class archive to be written.
 */
public final class TestBroker {
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        String properties = arguments[1];
        Lifeline.hold(folder);

        List<String> format = new ArrayList<>(List.of("format", "--ignore-formatted", "--cluster-id", "a2VkYS1zaWZ0LXRlc3RzLg", "--config", properties));
        format.addAll(List.of(arguments).subList(2, arguments.length));
        int status = StorageTool.execute(format.toArray(String[]::new), System.out);
        if (status != 0) {
            System.exit(status);
        }

        Properties settings = new Properties();
        try (Reader reader = Files.newBufferedReader(Path.of(properties))) {
            settings.load(reader);
        }
        KafkaRaftServer server = new KafkaRaftServer(KafkaConfig.fromProps(settings), Time.SYSTEM);
        Runtime.getRuntime().addShutdownHook(new Thread(server::shutdown));
        server.startup();
        if (Boolean.getBoolean("train")) {
            System.exit(0);
        }
        server.awaitShutdown();
    }
}
