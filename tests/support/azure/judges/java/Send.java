import com.azure.core.amqp.models.AmqpMessageBody;
import com.azure.messaging.servicebus.ServiceBusMessage;
import com.azure.messaging.servicebus.ServiceBusSenderClient;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.util.Date;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.qpid.proton.amqp.Binary;
import org.apache.qpid.proton.amqp.Decimal128;
import org.apache.qpid.proton.amqp.Decimal32;
import org.apache.qpid.proton.amqp.Decimal64;
import org.apache.qpid.proton.amqp.Symbol;
import org.apache.qpid.proton.amqp.UnsignedByte;
import org.apache.qpid.proton.amqp.UnsignedInteger;
import org.apache.qpid.proton.amqp.UnsignedLong;
import org.apache.qpid.proton.amqp.UnsignedShort;

/** Messages of each type that the SDK sends. */
final class Send {
    static final OffsetDateTime NEW_YEAR = OffsetDateTime.of(2026, 1, 1, 0, 0, 0, 0, ZoneOffset.UTC);
    /** An application property of each type, by a name for it. */
    static final Map<String, Object> PROPERTIES = new LinkedHashMap<>();
    /** A body of each kind, by a name for it. */
    static final Map<String, AmqpMessageBody> BODIES = new LinkedHashMap<>();

    static {
        PROPERTIES.put("string", "ä");
        PROPERTIES.put("bool", true);
        PROPERTIES.put("byte", (byte) -8);
        PROPERTIES.put("short", (short) -1600);
        PROPERTIES.put("int", -320_000);
        PROPERTIES.put("long", -64_000_000_000L);
        PROPERTIES.put("unsigned-byte", UnsignedByte.valueOf((byte) 200));
        PROPERTIES.put("unsigned-short", UnsignedShort.valueOf((short) 60_000));
        PROPERTIES.put("unsigned-int", UnsignedInteger.valueOf(4_000_000_000L));
        PROPERTIES.put("unsigned-long", UnsignedLong.valueOf("18000000000000000000"));
        PROPERTIES.put("float", 0.1F);
        PROPERTIES.put("double", 0.1);
        PROPERTIES.put("char", 'ä');
        // The SDK takes no BigDecimal; the AMQP library's own decimals are as many bits as AMQP has.
        PROPERTIES.put("decimal32", new Decimal32(0x3200_0096));
        PROPERTIES.put("decimal64", new Decimal64(0x31a0_0000_0000_0096L));
        PROPERTIES.put("decimal128", new Decimal128(0x303c_0000_0000_0000L, 150));
        PROPERTIES.put("offset-date-time", NEW_YEAR);
        PROPERTIES.put("other-zone", NEW_YEAR.plusNanos(1_000_000).withOffsetSameInstant(ZoneOffset.ofHours(1)));
        PROPERTIES.put("date", Date.from(NEW_YEAR.toInstant()));
        PROPERTIES.put("duration", Duration.ofMillis(90_500));
        PROPERTIES.put("uri", URI.create("https://example.com/a"));
        PROPERTIES.put("uuid", UUID.fromString("00010203-0405-0607-0809-0a0b0c0d0e0f"));
        PROPERTIES.put("symbol", Symbol.valueOf("symbolic"));
        PROPERTIES.put("bytes", new Binary("bytes".getBytes(StandardCharsets.UTF_8)));

        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("kind", "map");
        fields.put("n", 7);
        fields.put("at", Date.from(NEW_YEAR.toInstant()));
        fields.put("deep", Map.of("list", List.of("a", 1L)));
        BODIES.put("map", AmqpMessageBody.fromValue(fields));
        BODIES.put("list", AmqpMessageBody.fromValue(List.of("first", fields)));
        BODIES.put("array", AmqpMessageBody.fromValue(new String[] {"a", "array"}));
        BODIES.put("text", AmqpMessageBody.fromValue("{\"kind\":\"text\"}"));
        BODIES.put("number", AmqpMessageBody.fromValue(1.5));
        BODIES.put("sequence", AmqpMessageBody.fromSequence(List.of("first", fields)));
        BODIES.put("data", AmqpMessageBody.fromData("{\"kind\":\"data\"}".getBytes(StandardCharsets.UTF_8)));
    }

    static ServiceBusMessage withProperty(Object value) {
        ServiceBusMessage message = new ServiceBusMessage("{}");
        message.getApplicationProperties().put("v", value);
        return message;
    }

    /** Sends them all, each with its name as the subject. */
    static void everything(String entity) {
        try (ServiceBusSenderClient sender = Main.client().sender().queueName(entity).buildClient()) {
            PROPERTIES.forEach((name, value) -> sendAs(sender, name, withProperty(value)));
            BODIES.forEach((name, body) -> sendAs(sender, name, new ServiceBusMessage(body)));
        }
    }

    private static void sendAs(ServiceBusSenderClient sender, String name, ServiceBusMessage message) {
        try {
            sender.sendMessage(message.setSubject(name));
        } catch (RuntimeException error) {
            throw new IllegalStateException(name + ": " + error.getMessage(), error);
        }
    }
}
