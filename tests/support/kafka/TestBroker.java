import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
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
import org.apache.logging.log4j.Level;
import org.apache.logging.log4j.core.config.Configurator;

/**
 * One Kafka node that lives no longer than whoever holds its standard input.
 *
 * <p>Arguments: the folder of the whole cluster, the node's properties file, then what else to tell the storage tool (SCRAM users).
 * Formats its log folder unless that is done already, in the same JVM because a second one would cost another second.
 * Commands, one a line on standard input: {@code stop} ends it in an orderly way, {@code log requests} switches the request log on.
 * The end of input means that the test is gone, however that happened: the node ends at once and takes the folder with it.
 * With {@code -Dtrain=true} it ends as soon as it has started, for the class archive to be written.
 */
public final class TestBroker {
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        String properties = arguments[1];
        watch(folder);

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

    private static void watch(Path folder) {
        Thread thread = new Thread(() -> {
            try {
                BufferedReader input = new BufferedReader(new InputStreamReader(System.in));
                for (String line = input.readLine(); line != null; line = input.readLine()) {
                    switch (line) {
                        // On a thread of its own: an orderly end may hang, and the end of input must still be seen.
                        case "stop" -> new Thread(() -> System.exit(0)).start();
                        case "log requests" -> Configurator.setLevel("kafka.request.logger", Level.DEBUG);
                        default -> System.out.println("no such command: " + line);
                    }
                }
                // A running broker would put files back, so the folder goes once this JVM is gone.
                new ProcessBuilder("sh", "-c", "sleep 0.5; rm -rf -- \"$0\"", folder.toString()).start();
            } catch (IOException error) {
                System.out.println("standard input: " + error);
            } finally {
                Runtime.getRuntime().halt(1);
            }
        });
        thread.setDaemon(true);
        thread.start();
    }
}
