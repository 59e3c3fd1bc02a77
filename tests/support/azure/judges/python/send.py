"""Sends messages to a queue or topic: `send.py <entity> < messages.json`, a list of objects.

Each may have `body` (text), `subject`, `message_id`, `content_type`, `correlation_id`, `session_id`, `application_properties`,
`time_to_live` (seconds) and `due_in` (seconds).
"""

import json
import sys
from datetime import datetime, timedelta, timezone

from azure.servicebus import ServiceBusMessage

from bus import client


def message(fields):
    body = fields.pop("body", "")
    if "time_to_live" in fields:
        fields["time_to_live"] = timedelta(seconds=fields["time_to_live"])
    if "due_in" in fields:
        fields["scheduled_enqueue_time_utc"] = datetime.now(timezone.utc) + timedelta(seconds=fields.pop("due_in"))
    return ServiceBusMessage(body, **fields)


with client() as bus, bus.get_topic_sender(sys.argv[1]) as sender:
    batch = []
    for fields in json.load(sys.stdin):
        # A batch is of one session.
        if batch and (len(batch) == 500 or batch[0].session_id != fields.get("session_id")):
            sender.send_messages(batch)
            batch = []
        batch.append(message(fields))
    if batch:
        sender.send_messages(batch)
