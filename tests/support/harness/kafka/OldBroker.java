import java.io.File;
import java.io.Reader;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import kafka.Kafka;
import kafka.tools.StorageTool;
import org.apache.kafka.common.utils.Exit;
import org.apache.zookeeper.server.NIOServerCnxnFactory;
import org.apache.zookeeper.server.ZooKeeperServer;

/**
 * One Kafka node before 4.0 that lives no longer than whoever holds its standard input: see {@link Lifeline}.
 *
 * <p>Arguments: as {@code TestBroker} has them. Where the properties name a ZooKeeper, it is started in this JVM; else the log folder
 * is formatted. Only what all of these versions have is called, so that one source compiles against each.
 */
public final class OldBroker {
    public static void main(String[] arguments) throws Exception {
        Path folder = Path.of(arguments[0]);
        String properties = arguments[1];
        Lifeline.hold(folder);

        Properties settings = new Properties();
        try (Reader reader = Files.newBufferedReader(Path.of(properties))) {
            settings.load(reader);
        }
        String zooKeeper = settings.getProperty("zookeeper.connect");
        if (zooKeeper != null) {
            start(zooKeeper, folder.resolve("zookeeper").toFile());
        } else {
            format(properties, List.of(arguments).subList(2, arguments.length));
        }
        Kafka.main(new String[] {properties});
    }

    private static void start(String address, File data) throws Exception {
        int port = Integer.parseInt(address.substring(address.lastIndexOf(':') + 1));
        NIOServerCnxnFactory factory = new NIOServerCnxnFactory();
        factory.configure(new InetSocketAddress("127.0.0.1", port), 60);
        factory.startup(new ZooKeeperServer(data, data, 500));
    }

    /** The tool ends its process, which is this one: what it would end with is caught. */
    private static void format(String properties, List<String> more) {
        List<String> format = new ArrayList<>(List.of("format", "--ignore-formatted", "--cluster-id", "a2VkYS1zaWZ0LXRlc3RzLg", "--config", properties));
        format.addAll(more);
        Exit.setExitProcedure((status, message) -> {
            throw new Ended(status, message);
        });
        try {
            StorageTool.main(format.toArray(String[]::new));
        } catch (Ended ended) {
            if (ended.status != 0) {
                System.out.println("the storage tool: " + ended.getMessage());
                System.exit(ended.status);
            }
        } finally {
            Exit.resetExitProcedure();
        }
    }

    private static final class Ended extends RuntimeException {
        private final int status;

        Ended(int status, String message) {
            super(message);
            this.status = status;
        }
    }
}
