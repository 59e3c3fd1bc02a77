"""Prints the active messages of entities, as Microsoft's administration client counts them.

Arguments: queues as `orders`, subscriptions as `events/billing`.
"""

import os
import sys

from azure.servicebus.management import ServiceBusAdministrationClient

client = ServiceBusAdministrationClient.from_connection_string(
    os.environ["CONNECTION_STRING"], connection_verify=os.environ["CERTIFICATE"]
)
for entity in sys.argv[1:]:
    topic, _, subscription = entity.partition("/")
    if subscription:
        properties = client.get_subscription_runtime_properties(topic, subscription)
    else:
        properties = client.get_queue_runtime_properties(entity)
    print(properties.active_message_count)
