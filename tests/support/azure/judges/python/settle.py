"""Receives messages of a queue, or of a subscription `<topic>/Subscriptions/<name>`, and settles them one after another.

`settle.py <entity> <settlement>…`, each `complete`, `abandon`, `defer`, `dead-letter`, or `hold`, which keeps the message locked;
prints the body of each as a JSON list.
"""

import json
import sys

from bus import client

entity, settlements = sys.argv[1], sys.argv[2:]
topic, _, subscription = entity.partition("/Subscriptions/")
with client() as bus:
    source = bus.get_subscription_receiver(topic, subscription) if subscription else bus.get_queue_receiver(topic)
    with source as receiver:
        messages = []
        while len(messages) < len(settlements):
            received = receiver.receive_messages(len(settlements) - len(messages), max_wait_time=5)
            assert received, f"only {len(messages)} messages came"
            messages += received
        settle = {
            "complete": receiver.complete_message,
            "abandon": receiver.abandon_message,
            "defer": receiver.defer_message,
            "dead-letter": receiver.dead_letter_message,
            "hold": lambda message: None,
        }
        for message, settlement in zip(messages, settlements):
            settle[settlement](message)
        print(json.dumps([str(message) for message in messages]))
