"""Peeks at all messages of a queue: `peek.py <queue> [<page>]`; prints how many there were and how many seconds it took, as JSON."""

import json
import sys
import time

from bus import client

page = int(sys.argv[2]) if len(sys.argv) > 2 else 250
with client() as bus, bus.get_queue_receiver(sys.argv[1]) as receiver:
    receiver.peek_messages(1, sequence_number=1)
    started, count, number = time.monotonic(), 0, 1
    while messages := receiver.peek_messages(page, sequence_number=number):
        count += len(messages)
        number = messages[-1].sequence_number + 1
    print(json.dumps({"messages": count, "seconds": time.monotonic() - started}))
