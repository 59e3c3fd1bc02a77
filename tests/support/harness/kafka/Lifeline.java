import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Path;
import org.apache.logging.log4j.Level;
import org.apache.logging.log4j.core.config.Configurator;

/**
 * Standard input, which a node does not outlive.
 *
 * <p>Commands, one a line: {@code stop} ends the node in an orderly way, {@code log requests} switches the request log on. The end of
 * input means that the test is gone, however that happened: the node ends at once and takes the folder of its cluster with it.
 */
final class Lifeline {
    private Lifeline() {}

    static void hold(Path folder) {
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
