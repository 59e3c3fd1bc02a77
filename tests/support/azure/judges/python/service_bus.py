"""Judges the stand-in: what an application does with Azure Service Bus, through Microsoft's SDK.

The bus has the queues `orders`, `partitioned` (4 partitions), `sessions`, `short` (locks of a second, two deliveries) and 120 more,
`queue-000` and so on, the topic `events` with the subscriptions `billing` and `audit`, and nothing in them. Every check has a queue to
itself, and all but the last go on at once, as the SDK waits much: a second for each thread that it ends.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

from azure.core.exceptions import ResourceNotFoundError
from azure.servicebus import (
    NEXT_AVAILABLE_SESSION,
    ServiceBusClient,
    ServiceBusMessage,
    ServiceBusMessageState,
    ServiceBusReceiveMode,
    ServiceBusSubQueue,
    TransportType,
)
from azure.servicebus.exceptions import (
    MessageLockLostError,
    MessagingEntityNotFoundError,
    OperationTimeoutError,
    ServiceBusAuthenticationError,
    ServiceBusError,
    SessionCannotBeLockedError,
)
from azure.servicebus.management import ServiceBusAdministrationClient

from bus import CERTIFICATE, CONNECTION_STRING, client

WAIT = 2


def bodies(messages):
    return [str(message) for message in messages]


def send(bus, queue, *messages):
    with bus.get_queue_sender(queue) as sender:
        sender.send_messages([ServiceBusMessage(message) if isinstance(message, str) else message for message in messages])


def empty(bus, queue, **options):
    with bus.get_queue_receiver(queue, receive_mode=ServiceBusReceiveMode.RECEIVE_AND_DELETE, **options) as receiver:
        while receiver.receive_messages(100, max_wait_time=0.3):
            pass


def what_is_sent_is_peeked_and_received(bus, queue):
    message = ServiceBusMessage(
        b'{"total": 3}',
        message_id="m-1",
        subject="order.created",
        content_type="application/json",
        correlation_id="c-1",
        application_properties={"type": "order", "n": 5, "half": 0.5, "urgent": True},
        time_to_live=timedelta(hours=1),
    )
    with bus.get_queue_sender(queue) as sender:
        sender.send_messages(message)
    with bus.get_queue_receiver(queue) as receiver:
        [peeked] = receiver.peek_messages(10)
        [received] = receiver.receive_messages(1, max_wait_time=WAIT)
        for seen in (peeked, received):
            assert b"".join(seen.body) == b'{"total": 3}'
            assert (seen.message_id, seen.subject, seen.content_type) == ("m-1", "order.created", "application/json")
            assert seen.correlation_id == "c-1"
            properties = seen.application_properties
            assert (properties[b"type"], properties[b"n"]) == (b"order", 5), properties
            assert (properties[b"half"], properties[b"urgent"]) == (0.5, True), properties
            assert seen.state == ServiceBusMessageState.ACTIVE
            assert seen.time_to_live == timedelta(hours=1)
            age = datetime.now(timezone.utc) - seen.enqueued_time_utc
            assert timedelta(0) <= age < timedelta(minutes=1), age
            assert seen.expires_at_utc - seen.enqueued_time_utc == timedelta(hours=1)
        assert peeked.sequence_number == received.sequence_number
        assert received.delivery_count == 0
        assert received.locked_until_utc > datetime.now(timezone.utc)
        receiver.complete_message(received)
        assert not receiver.receive_messages(1, max_wait_time=0.5)


def every_settlement_is_applied(bus, queue):
    send(bus, queue, "completed", "abandoned", "deferred", "dead-lettered", "renewed")
    with bus.get_queue_receiver(queue) as receiver:
        messages = []
        while len(messages) < 5:
            messages += receiver.receive_messages(5 - len(messages), max_wait_time=WAIT)
        completed, abandoned, deferred, dead, renewed = messages
        receiver.complete_message(completed)
        receiver.abandon_message(abandoned)
        receiver.defer_message(deferred)
        receiver.dead_letter_message(dead, reason="unreadable", error_description="not JSON")
        until = renewed.locked_until_utc
        assert receiver.renew_message_lock(renewed) >= until
        states = {str(m): (m.state, m.delivery_count) for m in receiver.peek_messages(10, sequence_number=1)}
        assert states == {
            "abandoned": (ServiceBusMessageState.ACTIVE, 1),
            "deferred": (ServiceBusMessageState.DEFERRED, 1),
            "renewed": (ServiceBusMessageState.ACTIVE, 1),
        }, states
        receiver.complete_message(renewed)
        [again] = receiver.receive_messages(1, max_wait_time=WAIT)
        assert (str(again), again.delivery_count) == ("abandoned", 1)
        receiver.complete_message(again)
        [found] = receiver.receive_deferred_messages([deferred.sequence_number])
        assert str(found) == "deferred"
        receiver.complete_message(found)
        assert not receiver.peek_messages(10, sequence_number=1)
    with bus.get_queue_receiver(queue, sub_queue=ServiceBusSubQueue.DEAD_LETTER) as receiver:
        [buried] = receiver.receive_messages(1, max_wait_time=WAIT)
        assert str(buried) == "dead-lettered"
        assert (buried.dead_letter_reason, buried.dead_letter_error_description) == ("unreadable", "not JSON")
        receiver.complete_message(buried)


def a_lock_that_ends_gives_the_message_back(bus, _):
    send(bus, "short", "slow")
    with bus.get_queue_receiver("short") as receiver:
        [first] = receiver.receive_messages(1, max_wait_time=WAIT)
        [second] = receiver.receive_messages(1, max_wait_time=5)
        assert second.delivery_count == 1
        try:
            receiver.complete_message(first)
            raise AssertionError("a lost lock still settles")
        except MessageLockLostError:
            pass
        receiver.abandon_message(second)
    with bus.get_queue_receiver("short", sub_queue=ServiceBusSubQueue.DEAD_LETTER) as receiver:
        [buried] = receiver.receive_messages(1, max_wait_time=WAIT)
        assert buried.dead_letter_reason == "MaxDeliveryCountExceeded"
        receiver.complete_message(buried)


def scheduled_messages_come_when_they_are_due(bus, queue):
    with bus.get_queue_sender(queue) as sender, bus.get_queue_receiver(queue) as receiver:
        due = datetime.now(timezone.utc) + timedelta(seconds=1.5)
        numbers = sender.schedule_messages([ServiceBusMessage("due"), ServiceBusMessage("cancelled")], due)
        sender.cancel_scheduled_messages(numbers[1])
        sender.send_messages(ServiceBusMessage("annotated", scheduled_enqueue_time_utc=due))
        peeked = receiver.peek_messages(10, sequence_number=1)
        assert bodies(peeked) == ["due", "annotated"], bodies(peeked)
        assert all(message.state == ServiceBusMessageState.SCHEDULED for message in peeked)
        assert peeked[0].sequence_number == numbers[0]
        received = []
        while len(received) < 2:
            received += receiver.receive_messages(2, max_wait_time=5)
        assert sorted(bodies(received)) == ["annotated", "due"]
        assert datetime.now(timezone.utc) >= due
        assert all(message.sequence_number > numbers[1] for message in received), "a due message has a new number"
        for message in received:
            receiver.complete_message(message)


def expired_messages_are_not_received(bus, queue):
    send(bus, queue, ServiceBusMessage("gone", time_to_live=timedelta(seconds=0.2)), "stays")
    time.sleep(0.4)
    with bus.get_queue_receiver(queue) as receiver:
        assert bodies(receiver.peek_messages(10, sequence_number=1)) == ["gone", "stays"]
        [message] = receiver.receive_messages(2, max_wait_time=WAIT)
        assert str(message) == "stays"
        receiver.complete_message(message)
        assert not receiver.peek_messages(10, sequence_number=1)


def sessions_are_held_by_one_receiver(bus, _):
    try:
        bus.get_queue_receiver("sessions", session_id=NEXT_AVAILABLE_SESSION, max_wait_time=1).__enter__()
        raise AssertionError("there is a session")
    except OperationTimeoutError:
        pass
    messages = [ServiceBusMessage(f"{name}{n}", session_id=name) for n in range(3) for name in ("a", "b")]
    with bus.get_queue_sender("sessions") as sender:
        # One session each, so that a batch has one.
        for message in messages:
            sender.send_messages(message)
        try:
            sender.send_messages(ServiceBusMessage("none"))
            raise AssertionError("a message without a session is taken")
        except ServiceBusError:
            pass
    with bus.get_queue_receiver("sessions", session_id="b") as held:
        assert bodies(held.receive_messages(1, max_wait_time=WAIT)) == ["b0"]
        assert bodies(held.peek_messages(10, sequence_number=1)) == ["b0", "b1", "b2"]
        held.session.set_state("half way")
        assert held.session.get_state() == b"half way"
        assert held.session.renew_lock() > datetime.now(timezone.utc)
        try:
            bus.get_queue_receiver("sessions", session_id="b").__enter__()
            raise AssertionError("a session is held twice")
        except SessionCannotBeLockedError:
            pass
        with bus.get_queue_receiver("sessions", session_id=NEXT_AVAILABLE_SESSION) as other:
            assert other.session.session_id == "a"
            for message in other.receive_messages(3, max_wait_time=WAIT):
                other.complete_message(message)
    with bus.get_queue_receiver("sessions", session_id=NEXT_AVAILABLE_SESSION) as freed:
        assert freed.session.session_id == "b"
    empty(bus, "sessions", session_id="b")
    empty(bus, "sessions", session_id="a")


def a_topic_hands_on_to_every_subscription(bus, _):
    with bus.get_topic_sender("events") as sender:
        sender.send_messages([ServiceBusMessage("one"), ServiceBusMessage("two")])
        sender.schedule_messages(ServiceBusMessage("three"), datetime.now(timezone.utc) + timedelta(seconds=0.5))
    for name in ("billing", "audit"):
        with bus.get_subscription_receiver("events", name) as receiver:
            received = []
            while len(received) < 3:
                received += receiver.receive_messages(3, max_wait_time=WAIT)
            assert bodies(received) == ["one", "two", "three"], bodies(received)
            for message in received:
                receiver.complete_message(message)


def a_browse_crosses_partitions(bus, _):
    send(bus, "partitioned", *(f"{n}" for n in range(20)))
    with bus.get_queue_receiver("partitioned") as receiver:
        peeked = receiver.peek_messages(50, sequence_number=1)
        assert sorted(bodies(peeked), key=int) == [f"{n}" for n in range(20)]
        partitions = [message.sequence_number >> 48 for message in peeked]
        assert partitions == sorted(partitions) and set(partitions) == {0, 1, 2, 3}, partitions
    empty(bus, "partitioned")


def many_messages_arrive_whole(bus, queue):
    text = "x" * 100_000
    with bus.get_queue_sender(queue) as sender:
        for n in range(5):
            sender.send_messages(ServiceBusMessage(f"{n}{text}"))
        for start in range(0, 3_000, 500):
            sender.send_messages([ServiceBusMessage(f"{n}") for n in range(start, start + 500)])
    with bus.get_queue_receiver(queue, prefetch_count=100) as receiver:
        received = []
        while len(received) < 3_005:
            messages = receiver.receive_messages(500, max_wait_time=WAIT)
            assert messages, len(received)
            received += bodies(messages)
            for message in messages:
                receiver.complete_message(message)
        assert received[:5] == [f"{n}{text}" for n in range(5)]
        assert received[5:] == [f"{n}" for n in range(3_000)]


def what_is_missing_is_said_to_be(bus, _):
    for missing in (bus.get_queue_receiver("missing"), bus.get_queue_sender("missing")):
        try:
            missing.__enter__()
            raise AssertionError("there is a queue called missing")
        except MessagingEntityNotFoundError:
            pass


def a_wrong_key_is_refused(_, queue):
    wrong = CONNECTION_STRING.replace("SharedAccessKey=", "SharedAccessKey=wrong")
    try:
        with ServiceBusClient.from_connection_string(wrong, retry_total=0) as bus:
            bus.get_queue_receiver(queue).peek_messages(1)
        raise AssertionError("a wrong key opens the bus")
    except ServiceBusAuthenticationError:
        pass


def over_tls_and_over_websocket_it_is_the_same(bus, queue):
    send(bus, queue, "seen")
    tls = CONNECTION_STRING.replace("UseDevelopmentEmulator=true;", "")
    address = tls.split("Endpoint=")[1].split(";")[0]
    for transport in (TransportType.Amqp, TransportType.AmqpOverWebsocket):
        # Without the emulator's word the SDK takes its own port, unless an endpoint is given apart.
        with ServiceBusClient.from_connection_string(
            tls,
            retry_total=0,
            transport_type=transport,
            custom_endpoint_address=address,
            connection_verify=CERTIFICATE,
        ) as secure:
            assert bodies(secure.get_queue_receiver(queue).peek_messages(1)) == ["seen"], transport
    empty(bus, queue)


def the_administration_client_reads_counts(bus, queue):
    send(bus, queue, "1", "2", ServiceBusMessage("3", scheduled_enqueue_time_utc=datetime.now(timezone.utc) + timedelta(hours=1)))
    with bus.get_queue_receiver(queue) as receiver:
        [locked] = receiver.receive_messages(1, max_wait_time=WAIT)
        # The SDK asks over HTTPS, even of the emulator.
        with ServiceBusAdministrationClient.from_connection_string(CONNECTION_STRING, connection_verify=CERTIFICATE) as administration:
            counts = administration.get_queue_runtime_properties(queue)
            assert (counts.active_message_count, counts.scheduled_message_count) == (2, 1)
            assert (counts.dead_letter_message_count, counts.total_message_count) == (0, 3)
            assert counts.size_in_bytes > 0
            assert administration.get_queue("sessions").requires_session
            assert not administration.get_queue(queue).requires_session
            assert administration.get_queue("partitioned").enable_partitioning
            assert administration.get_subscription_runtime_properties("events", "billing").active_message_count == 0
            assert administration.get_topic_runtime_properties("events").subscription_count == 2
            queues = [listed.name for listed in administration.list_queues()]
            assert queues == sorted(queues) and len(queues) == 124, queues
            subscriptions = [subscription.name for subscription in administration.list_subscriptions("events")]
            assert subscriptions == ["audit", "billing"]
            for missing in (
                lambda: administration.get_queue_runtime_properties("missing"),
                lambda: administration.get_subscription_runtime_properties("events", "missing"),
            ):
                try:
                    missing()
                    raise AssertionError("it is there")
                except ResourceNotFoundError:
                    pass
        receiver.complete_message(locked)


CHECKS = [
    what_is_sent_is_peeked_and_received,
    every_settlement_is_applied,
    a_lock_that_ends_gives_the_message_back,
    scheduled_messages_come_when_they_are_due,
    expired_messages_are_not_received,
    sessions_are_held_by_one_receiver,
    a_topic_hands_on_to_every_subscription,
    a_browse_crosses_partitions,
    many_messages_arrive_whole,
    what_is_missing_is_said_to_be,
    a_wrong_key_is_refused,
    over_tls_and_over_websocket_it_is_the_same,
]
"""What goes on at once."""


def run(check, queue):
    started = time.monotonic()
    with client() as bus:
        check(bus, queue)
    return f"{check.__name__}: {time.monotonic() - started:.1f} s"


if __name__ == "__main__":
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        queues = (f"queue-{n:03}" for n in range(len(CHECKS)))
        for said in pool.map(run, CHECKS, queues):
            print(said, flush=True)
    print(run(the_administration_client_reads_counts, "orders"))
