import com.azure.core.amqp.models.AmqpMessageBody;
import com.azure.core.amqp.exception.AmqpErrorCondition;
import com.azure.core.amqp.exception.AmqpException;
import com.azure.messaging.servicebus.ServiceBusClientBuilder;
import com.azure.messaging.servicebus.ServiceBusException;
import com.azure.messaging.servicebus.ServiceBusFailureReason;
import com.azure.messaging.servicebus.ServiceBusMessage;
import com.azure.messaging.servicebus.ServiceBusMessageBatch;
import com.azure.messaging.servicebus.ServiceBusReceivedMessage;
import com.azure.messaging.servicebus.ServiceBusReceiverClient;
import com.azure.messaging.servicebus.ServiceBusSenderClient;
import com.azure.messaging.servicebus.ServiceBusSessionReceiverClient;
import com.azure.messaging.servicebus.models.AbandonOptions;
import com.azure.messaging.servicebus.models.DeadLetterOptions;
import com.azure.messaging.servicebus.models.ServiceBusMessageState;
import com.azure.messaging.servicebus.models.ServiceBusReceiveMode;
import com.azure.messaging.servicebus.models.SubQueue;
import java.time.Duration;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Collectors;

/**
 * What an application does with Azure Service Bus. The bus is as service_bus.py says; every check that is given a queue has it to
 * itself.
 */
final class Judge {
    /** Long, as other tests keep the machine busy. */
    private static final Duration WAIT = Duration.ofSeconds(20);
    private static final Map<String, Check> CHECKS = new LinkedHashMap<>();

    static {
        CHECKS.put("what is sent is peeked and received", Judge::whatIsSentIsPeekedAndReceived);
        CHECKS.put("every type and every body comes back", Judge::everyTypeComesBack);
        CHECKS.put("every settlement is applied", Judge::everySettlementIsApplied);
        CHECKS.put("scheduled messages come when they are due", Judge::scheduledMessagesComeWhenDue);
        CHECKS.put("sessions are held by one receiver", Judge::sessionsAreHeldByOneReceiver);
        CHECKS.put("a topic hands on to every subscription", Judge::aTopicHandsOn);
        CHECKS.put("batches arrive whole", Judge::batchesArriveWhole);
        CHECKS.put("what is missing is said to be", Judge::whatIsMissingIsSaid);
        CHECKS.put("a wrong key is refused", Judge::aWrongKeyIsRefused);
        CHECKS.put("a transaction is said not to be supported", Judge::aTransactionIsNotSupported);
    }

    private interface Check {
        void on(String queue);
    }

    /** Whether nothing is wrong. */
    static boolean judge() {
        ExecutorService threads = Executors.newCachedThreadPool();
        Map<String, Future<?>> running = new LinkedHashMap<>();
        CHECKS.forEach((name, check) -> {
            String queue = String.format("queue-%03d", running.size());
            running.put(name, threads.submit(() -> check.on(queue)));
        });
        boolean passed = true;
        for (Map.Entry<String, Future<?>> check : running.entrySet()) {
            try {
                check.getValue().get();
            } catch (Exception error) {
                passed = false;
                Throwable cause = error.getCause();
                System.err.println(check.getKey() + ": " + cause);
                Arrays.stream(cause.getStackTrace())
                    .filter(frame -> frame.getClassName().startsWith("Judge"))
                    .forEach(frame -> System.err.println("    at " + frame));
            }
        }
        if (passed) {
            System.out.println("java: " + running.size() + " checks");
        }
        return passed;
    }

    private static void hold(boolean holds, Object... seen) {
        if (!holds) {
            throw new AssertionError(Arrays.deepToString(seen));
        }
    }

    private static void send(String queue, ServiceBusMessage... messages) {
        try (ServiceBusSenderClient sender = Main.client().sender().queueName(queue).buildClient()) {
            for (ServiceBusMessage message : messages) {
                sender.sendMessage(message);
            }
        }
    }

    private static ServiceBusReceiverClient receiver(String queue) {
        return Main.client().receiver().queueName(queue).buildClient();
    }

    /** A receiver to which a message is gone as soon as it has come. */
    private static ServiceBusReceiverClient taker(String queue) {
        ServiceBusClientBuilder.ServiceBusReceiverClientBuilder builder = Main.client().receiver().queueName(queue);
        return builder.receiveMode(ServiceBusReceiveMode.RECEIVE_AND_DELETE).buildClient();
    }

    private static List<ServiceBusReceivedMessage> receive(ServiceBusReceiverClient from, int count) {
        List<ServiceBusReceivedMessage> received = new ArrayList<>();
        while (received.size() < count) {
            int before = received.size();
            from.receiveMessages(count - before, WAIT).forEach(received::add);
            hold(received.size() > before, "only so many came", before);
        }
        return received;
    }

    /** From the first message on. */
    private static List<ServiceBusReceivedMessage> peek(ServiceBusReceiverClient receiver) {
        return receiver.peekMessages(100, 1).stream().collect(Collectors.toList());
    }

    private static List<String> texts(List<ServiceBusReceivedMessage> messages) {
        return messages.stream().map(message -> message.getBody().toString()).collect(Collectors.toList());
    }

    private static ServiceBusException refused(Runnable call) {
        try {
            call.run();
        } catch (ServiceBusException error) {
            return error;
        }
        throw new AssertionError("it is not refused");
    }

    private static void whatIsSentIsPeekedAndReceived(String queue) {
        ServiceBusMessage sent = new ServiceBusMessage("{\"total\": 3}")
            .setMessageId("m-1")
            .setSubject("order.created")
            .setContentType("application/json")
            .setCorrelationId("c-1")
            .setTimeToLive(Duration.ofHours(1));
        sent.getApplicationProperties().put("type", "order");
        sent.getApplicationProperties().put("n", 5L);
        send(queue, sent);
        try (ServiceBusReceiverClient receiver = receiver(queue)) {
            List<ServiceBusReceivedMessage> peeked = peek(receiver);
            ServiceBusReceivedMessage received = receive(receiver, 1).get(0);
            hold(peeked.size() == 1, peeked.size());
            for (ServiceBusReceivedMessage seen : List.of(peeked.get(0), received)) {
                hold(seen.getBody().toString().equals("{\"total\": 3}"), seen.getBody());
                hold(seen.getMessageId().equals("m-1") && seen.getSubject().equals("order.created"), seen.getSubject());
                hold(seen.getContentType().equals("application/json"), seen.getContentType());
                hold(seen.getCorrelationId().equals("c-1"), seen.getCorrelationId());
                hold(seen.getApplicationProperties().equals(Map.of("type", "order", "n", 5L)), seen.getApplicationProperties());
                hold(seen.getState() == ServiceBusMessageState.ACTIVE, seen.getState());
                hold(seen.getTimeToLive().equals(Duration.ofHours(1)), seen.getTimeToLive());
                Duration lives = Duration.between(seen.getEnqueuedTime(), seen.getExpiresAt());
                hold(lives.equals(Duration.ofHours(1)), lives);
            }
            hold(peeked.get(0).getSequenceNumber() == received.getSequenceNumber(), received.getSequenceNumber());
            hold(received.getLockedUntil().isAfter(OffsetDateTime.now()), received.getLockedUntil());
            receiver.complete(received);
            hold(peek(receiver).isEmpty());
        }
    }

    private static void everyTypeComesBack(String queue) {
        Send.everything(queue);
        try (ServiceBusReceiverClient receiver = taker(queue)) {
            for (ServiceBusReceivedMessage seen : receive(receiver, Send.PROPERTIES.size() + Send.BODIES.size())) {
                AmqpMessageBody body = Send.BODIES.get(seen.getSubject());
                if (body == null) {
                    Object value = seen.getApplicationProperties().get("v");
                    Object sent = Send.PROPERTIES.get(seen.getSubject());
                    // The same moment is no equal where another zone was sent.
                    boolean same = sent instanceof OffsetDateTime
                        ? ((OffsetDateTime) sent).isEqual((OffsetDateTime) value)
                        : Objects.equals(value, sent);
                    hold(same, seen.getSubject(), value, value == null ? null : value.getClass());
                    continue;
                }
                AmqpMessageBody came = seen.getRawAmqpMessage().getBody();
                hold(came.getBodyType() == body.getBodyType(), seen.getSubject(), came.getBodyType());
                switch (body.getBodyType()) {
                    case VALUE:
                        hold(Objects.deepEquals(came.getValue(), body.getValue()), seen.getSubject(), came.getValue());
                        break;
                    case SEQUENCE:
                        hold(came.getSequence().equals(body.getSequence()), came.getSequence());
                        break;
                    default:
                        hold(Arrays.equals(came.getFirstData(), body.getFirstData()), came.getFirstData());
                }
            }
        }
    }

    private static void everySettlementIsApplied(String queue) {
        for (String text : List.of("completed", "abandoned", "deferred", "dead-lettered", "renewed", "twice")) {
            send(queue, new ServiceBusMessage(text));
        }
        try (ServiceBusReceiverClient receiver = receiver(queue)) {
            List<ServiceBusReceivedMessage> got = receive(receiver, 6);
            ServiceBusReceivedMessage deferred = got.get(2);
            ServiceBusReceivedMessage renewed = got.get(4);
            ServiceBusReceivedMessage twice = got.get(5);
            receiver.complete(got.get(0));
            receiver.abandon(got.get(1), new AbandonOptions().setPropertiesToModify(Map.of("tries", 1L)));
            receiver.defer(deferred);
            receiver.defer(twice);
            DeadLetterOptions why = new DeadLetterOptions().setDeadLetterReason("unreadable").setDeadLetterErrorDescription("not JSON");
            receiver.deadLetter(got.get(3), why);
            OffsetDateTime before = renewed.getLockedUntil();
            hold(receiver.renewMessageLock(renewed).isAfter(before), before);

            Map<String, ServiceBusMessageState> states = peek(receiver).stream()
                .collect(Collectors.toMap(seen -> seen.getBody().toString(), ServiceBusReceivedMessage::getState));
            hold(states.equals(Map.of(
                "abandoned", ServiceBusMessageState.ACTIVE,
                "deferred", ServiceBusMessageState.DEFERRED,
                "twice", ServiceBusMessageState.DEFERRED,
                "renewed", ServiceBusMessageState.ACTIVE)), states);
            receiver.complete(renewed);

            ServiceBusReceivedMessage again = receive(receiver, 1).get(0);
            hold(again.getBody().toString().equals("abandoned") && again.getDeliveryCount() == 1, again.getDeliveryCount());
            hold(Objects.equals(again.getApplicationProperties().get("tries"), 1L), again.getApplicationProperties());
            receiver.complete(again);

            ServiceBusReceivedMessage found = receiver.receiveDeferredMessage(deferred.getSequenceNumber());
            hold(found.getBody().toString().equals("deferred"), found.getBody());
            receiver.complete(found);
            receiver.defer(receiver.receiveDeferredMessage(twice.getSequenceNumber()));
            receiver.deadLetter(receiver.receiveDeferredMessage(twice.getSequenceNumber()), why);
            hold(peek(receiver).isEmpty());
        }
        ServiceBusClientBuilder.ServiceBusReceiverClientBuilder builder = Main.client().receiver().queueName(queue);
        try (ServiceBusReceiverClient buried = builder.subQueue(SubQueue.DEAD_LETTER_QUEUE).buildClient()) {
            List<ServiceBusReceivedMessage> letters = receive(buried, 2);
            hold(texts(letters).equals(List.of("dead-lettered", "twice")), texts(letters));
            hold(letters.get(0).getDeadLetterReason().equals("unreadable"), letters.get(0).getDeadLetterReason());
            letters.forEach(buried::complete);
        }
    }

    private static void scheduledMessagesComeWhenDue(String queue) {
        OffsetDateTime later = OffsetDateTime.now().plusHours(1);
        try (ServiceBusSenderClient sender = Main.client().sender().queueName(queue).buildClient();
            ServiceBusReceiverClient receiver = taker(queue)) {
            sender.scheduleMessage(new ServiceBusMessage("later"), later);
            sender.cancelScheduledMessage(sender.scheduleMessage(new ServiceBusMessage("cancelled"), later));
            sender.sendMessage(new ServiceBusMessage("annotated").setScheduledEnqueueTime(later));
            List<ServiceBusReceivedMessage> peeked = peek(receiver);
            hold(texts(peeked).equals(List.of("later", "annotated")), texts(peeked));
            hold(peeked.get(1).getState() == ServiceBusMessageState.SCHEDULED, peeked.get(1).getState());
            OffsetDateTime due = OffsetDateTime.now().plusSeconds(1);
            sender.scheduleMessage(new ServiceBusMessage("due"), due);
            List<ServiceBusReceivedMessage> received = receive(receiver, 1);
            hold(texts(received).equals(List.of("due")), texts(received));
            hold(OffsetDateTime.now().isAfter(due.minusNanos(50_000_000)));
        }
    }

    private static void sessionsAreHeldByOneReceiver(String queue) {
        for (int number = 0; number < 3; number++) {
            send("sessions", new ServiceBusMessage("a" + number).setSessionId("a"));
            send("sessions", new ServiceBusMessage("b" + number).setSessionId("b"));
        }
        try (ServiceBusSessionReceiverClient sessions = Main.client().sessionReceiver().queueName("sessions").buildClient()) {
            ServiceBusReceiverClient held = sessions.acceptSession("b");
            hold(held.getSessionId().equals("b"), held.getSessionId());
            List<ServiceBusReceivedMessage> received = receive(held, 3);
            hold(texts(received).equals(List.of("b0", "b1", "b2")), texts(received));
            held.setSessionState("half way".getBytes());
            hold(new String(held.getSessionState()).equals("half way"));
            hold(held.renewSessionLock().isAfter(OffsetDateTime.now()));
            try (ServiceBusSessionReceiverClient others = Main.client().sessionReceiver().queueName("sessions").buildClient()) {
                try {
                    others.acceptSession("b");
                    throw new AssertionError("a session is held twice");
                } catch (AmqpException error) {
                    hold(error.getErrorCondition() == AmqpErrorCondition.SESSION_CANNOT_BE_LOCKED, error);
                }
                ServiceBusReceiverClient next = others.acceptNextSession();
                hold(next.getSessionId().equals("a"), next.getSessionId());
                receive(next, 3).forEach(next::complete);
                next.close();
            }
            held.defer(received.get(0));
            held.complete(held.receiveDeferredMessage(received.get(0).getSequenceNumber()));
            held.complete(received.get(1));
            held.complete(received.get(2));
            held.close();
        }
    }

    private static void aTopicHandsOn(String queue) {
        try (ServiceBusSenderClient sender = Main.client().sender().topicName("events").buildClient()) {
            sender.sendMessages(List.of(new ServiceBusMessage("one"), new ServiceBusMessage("two")));
        }
        for (String name : List.of("billing", "audit")) {
            ServiceBusClientBuilder.ServiceBusReceiverClientBuilder builder = Main.client().receiver();
            try (ServiceBusReceiverClient receiver = builder.topicName("events").subscriptionName(name).buildClient()) {
                List<ServiceBusReceivedMessage> received = receive(receiver, 2);
                hold(texts(received).equals(List.of("one", "two")), texts(received));
                received.forEach(receiver::complete);
            }
        }
    }

    private static void batchesArriveWhole(String queue) {
        String longText = "x".repeat(200_000);
        try (ServiceBusSenderClient sender = Main.client().sender().queueName(queue).buildClient()) {
            ServiceBusMessageBatch batch = sender.createMessageBatch();
            for (int number = 0; number < 500; number++) {
                hold(batch.tryAddMessage(new ServiceBusMessage(Integer.toString(number))), number);
            }
            sender.sendMessages(batch);
            sender.sendMessage(new ServiceBusMessage(longText));
        }
        try (ServiceBusReceiverClient receiver = taker(queue)) {
            List<String> received = texts(receive(receiver, 501));
            hold(received.get(499).equals("499") && received.get(500).equals(longText), received.get(499));
        }
    }

    private static void whatIsMissingIsSaid(String queue) {
        ServiceBusException error = refused(() -> receiver("missing").peekMessage());
        hold(error.getReason() == ServiceBusFailureReason.MESSAGING_ENTITY_NOT_FOUND, error);
        error = refused(() -> send("missing", new ServiceBusMessage("lost")));
        hold(error.getReason() == ServiceBusFailureReason.MESSAGING_ENTITY_NOT_FOUND, error);
    }

    private static void aWrongKeyIsRefused(String queue) {
        ServiceBusException error = refused(() -> Main.stranger().receiver().queueName(queue).buildClient().peekMessage());
        hold(error.getReason() == ServiceBusFailureReason.UNAUTHORIZED, error);
    }

    private static void aTransactionIsNotSupported(String queue) {
        try (ServiceBusSenderClient sender = Main.client().sender().queueName(queue).buildClient()) {
            sender.createTransaction();
        } catch (AmqpException error) {
            hold(error.getErrorCondition() == AmqpErrorCondition.NOT_IMPLEMENTED, error);
            return;
        } catch (ServiceBusException error) {
            hold(error.getMessage().contains("not supported"), error, error.getCause());
            return;
        }
        throw new AssertionError("there is a transaction");
    }
}
