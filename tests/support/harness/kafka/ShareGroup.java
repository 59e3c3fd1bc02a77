import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.consumer.KafkaShareConsumer;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Reads a topic from its beginning as a share group, and acknowledges what it reads: see {@code groups.rs}.
 *
 * <p>Arguments: the broker, the group, the topic, the number of records after which it ends.
 */
public final class ShareGroup {
    public static void main(String[] arguments) throws Exception {
        String group = arguments[1];
        Map<String, Object> config = Map.of("bootstrap.servers", arguments[0], "client.id", "harness", "group.id", group);
        ConfigResource settings = new ConfigResource(ConfigResource.Type.GROUP, group);
        ConfigEntry earliest = new ConfigEntry("share.auto.offset.reset", "earliest");
        AlterConfigOp set = new AlterConfigOp(earliest, AlterConfigOp.OpType.SET);
        try (Admin admin = Admin.create(config)) {
            admin.incrementalAlterConfigs(Map.of(settings, List.of(set))).all().get();
        }
        ByteArrayDeserializer bytes = new ByteArrayDeserializer();
        try (KafkaShareConsumer<byte[], byte[]> consumer = new KafkaShareConsumer<>(config, bytes, bytes)) {
            consumer.subscribe(List.of(arguments[2]));
            for (int left = Integer.parseInt(arguments[3]); left > 0; ) {
                left -= consumer.poll(Duration.ofMillis(200)).count();
                consumer.commitSync();
            }
        }
    }
}
