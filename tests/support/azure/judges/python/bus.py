"""What every program here needs: the bus under judgement, as the environment names it."""

import os

from azure.servicebus import ServiceBusClient

CONNECTION_STRING = os.environ["CONNECTION_STRING"]
"""With `UseDevelopmentEmulator=true`, so without TLS."""

CERTIFICATE = os.environ.get("CERTIFICATE")
"""A file with the certificate the bus shows over TLS, if it speaks TLS."""


def client(**options):
    """A client that fails at the first error rather than hiding it behind retries."""
    return ServiceBusClient.from_connection_string(CONNECTION_STRING, retry_total=0, **options)
