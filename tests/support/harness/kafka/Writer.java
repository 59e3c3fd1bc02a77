import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes records of every form with Java's own producer: see {@code writer.rs}.
 *
 * <p>Arguments: the broker, the seed, the number of rounds, then topics as {@code name:partitions:plain}, where {@code plain} is
 * false for those whose records all have a key and the time of writing.
 */
public final class Writer {
    private static final String[] CODECS = {"none", "gzip", "snappy", "lz4", "zstd"};
    private static final int[] BATCHES = {1, 2_000, 1_000_000};
    private static final String[] VALUES = {"a", "b", "bb", "c", ""};
    private static final int SMALL = 200;
    private static final int MIDDLE = 60_000;
    private static final int LARGE = 900_000;
    private static final long HOUR = 3_600_000;

    private final Random random;
    private final List<Future<?>> sent = new ArrayList<>();

    private Writer(long seed) {
        this.random = new Random(seed);
    }

    public static void main(String[] arguments) throws Exception {
        Writer writer = new Writer(Long.parseLong(arguments[1]));
        List<String[]> topics = new ArrayList<>();
        for (int n = 3; n < arguments.length; n++) {
            topics.add(arguments[n].split(":"));
        }
        writer.write(arguments[0], Integer.parseInt(arguments[2]), topics);
    }

    private void write(String bootstrap, int rounds, List<String[]> topics) throws Exception {
        List<KafkaProducer<byte[], byte[]>> plain = new ArrayList<>();
        List<KafkaProducer<byte[], byte[]>> transactional = new ArrayList<>();
        for (String codec : CODECS) {
            plain.add(producer(bootstrap, codec, null));
            transactional.add(producer(bootstrap, codec, topics.get(0)[0] + "-java-" + codec));
        }
        for (KafkaProducer<byte[], byte[]> producer : transactional) {
            producer.initTransactions();
        }
        boolean[] open = new boolean[CODECS.length];
        for (int round = 0; round < rounds; round++) {
            // Every codec has its turn, and every topic with each.
            burst(plain.get(round % CODECS.length), topics.get(round / CODECS.length % topics.size()));
            int at = random.nextInt(CODECS.length);
            if (!open[at]) {
                transactional.get(at).beginTransaction();
                open[at] = true;
            }
            burst(transactional.get(at), topics.get(random.nextInt(topics.size())));
            int ends = random.nextInt(CODECS.length);
            if (open[ends]) {
                end(transactional.get(ends));
                open[ends] = false;
            }
        }
        for (int at = 0; at < CODECS.length; at++) {
            if (open[at]) {
                end(transactional.get(at));
            }
        }
        for (int at = 0; at < CODECS.length; at++) {
            plain.get(at).close();
            transactional.get(at).close();
        }
        for (Future<?> future : sent) {
            future.get();
        }
    }

    private KafkaProducer<byte[], byte[]> producer(String bootstrap, String codec, String transaction) {
        Map<String, Object> config = new HashMap<>();
        config.put("bootstrap.servers", bootstrap);
        config.put("client.id", "harness");
        config.put("compression.type", codec);
        config.put("linger.ms", 20);
        config.put("batch.size", BATCHES[random.nextInt(BATCHES.length)]);
        config.put("enable.idempotence", transaction != null || random.nextBoolean());
        config.put("acks", "all");
        if (transaction != null) {
            config.put("transactional.id", transaction);
        }
        return new KafkaProducer<>(config, new ByteArraySerializer(), new ByteArraySerializer());
    }

    private void end(KafkaProducer<byte[], byte[]> producer) {
        if (random.nextBoolean()) {
            producer.commitTransaction();
        } else {
            // What is still in the producer would be thrown away, and not be aborted.
            producer.flush();
            producer.abortTransaction();
        }
    }

    /** One record, a few, or hundreds. */
    private void burst(KafkaProducer<byte[], byte[]> producer, String[] topic) {
        int[] most = {1, 20, 300};
        int count = 1 + random.nextInt(most[random.nextInt(most.length)]);
        for (int n = 0; n < count; n++) {
            Future<?> future = producer.send(record(topic));
            sent.add(future);
        }
        if (random.nextBoolean()) {
            producer.flush();
        }
    }

    private ProducerRecord<byte[], byte[]> record(String[] topic) {
        boolean isPlain = Boolean.parseBoolean(topic[2]);
        int partition = random.nextInt(Integer.parseInt(topic[1]));
        Long time = isPlain ? Long.valueOf(System.currentTimeMillis() - random.nextInt((int) HOUR)) : null;
        byte[] key = ("k" + random.nextInt(40)).getBytes(StandardCharsets.UTF_8);
        if (isPlain && random.nextInt(4) == 0) {
            key = random.nextBoolean() ? null : new byte[0];
        }
        ProducerRecord<byte[], byte[]> record = new ProducerRecord<>(topic[0], partition, time, key, value());
        for (String name : new String[] {"ce_type", "kind", "kind", "other"}) {
            if (random.nextInt(3) != 0) {
                record.headers().add(name, header());
            }
        }
        return record;
    }

    private byte[] header() {
        switch (random.nextInt(12)) {
            case 0:
                return null;
            case 1:
                return new byte[] {(byte) 0xff};
            default:
                return VALUES[random.nextInt(VALUES.length)].getBytes(StandardCharsets.UTF_8);
        }
    }

    private byte[] value() {
        int kind = random.nextInt(400);
        int size = random.nextInt(kind == 0 ? LARGE : kind < 12 ? MIDDLE : SMALL);
        switch (random.nextInt(8)) {
            case 0:
                return null;
            case 1:
                return new byte[0];
            case 2:
            case 3:
                byte[] noise = new byte[size];
                random.nextBytes(noise);
                return noise;
            default:
                String json = "{\"n\":" + random.nextInt(100) + ",\"pad\":\"" + "x".repeat(size) + "\"}";
                return json.getBytes(StandardCharsets.UTF_8);
        }
    }
}
