import com.azure.core.amqp.AmqpRetryOptions;
import com.azure.messaging.servicebus.ServiceBusClientBuilder;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyStore;
import java.security.cert.CertificateFactory;
import java.time.Duration;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Uses a namespace through Microsoft's SDK: judges the stand-in, or sends to an entity a message of each type there is. */
final class Main {
    private static final String CONNECTION_STRING = System.getenv("CONNECTION_STRING");

    /** The namespace over TLS: without it the SDK takes a port of its own. */
    static ServiceBusClientBuilder client() {
        return client(CONNECTION_STRING);
    }

    static ServiceBusClientBuilder client(String connectionString) {
        String address = CONNECTION_STRING.split("Endpoint=sb://")[1].split(";")[0];
        return new ServiceBusClientBuilder()
            .connectionString(connectionString.replace("UseDevelopmentEmulator=true;", ""))
            .customEndpointAddress("https://" + address)
            // The first error rather than the last of many.
            .retryOptions(new AmqpRetryOptions().setMaxRetries(0).setTryTimeout(Duration.ofSeconds(20)));
    }

    /** A client whose key is not the namespace's. */
    static ServiceBusClientBuilder stranger() {
        return client(CONNECTION_STRING.replace("SharedAccessKey=", "SharedAccessKey=wrong"));
    }

    private static void trust(Path certificate) throws Exception {
        KeyStore authorities = KeyStore.getInstance(KeyStore.getDefaultType());
        authorities.load(null, null);
        try (InputStream pem = Files.newInputStream(certificate)) {
            authorities.setCertificateEntry("bus", CertificateFactory.getInstance("X.509").generateCertificate(pem));
        }
        TrustManagerFactory managers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        managers.init(authorities);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, managers.getTrustManagers(), null);
        SSLContext.setDefault(context);
    }

    public static void main(String[] arguments) throws Exception {
        trust(Path.of(System.getenv("CERTIFICATE")));
        boolean passed = true;
        if (arguments.length == 2 && arguments[0].equals("send")) {
            Send.everything(arguments[1]);
            Send.PROPERTIES.keySet().forEach(System.out::println);
            Send.BODIES.keySet().forEach(System.out::println);
        } else if (arguments.length == 1 && arguments[0].equals("judge")) {
            passed = Judge.judge();
        } else {
            System.err.println("judge | send ENTITY");
            System.exit(2);
        }
        // The SDK leaves threads behind.
        System.exit(passed ? 0 : 1);
    }
}
