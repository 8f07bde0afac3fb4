"""What the tests of our broker share: a loop, a channel of pika, and a wait."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pika
import pika.exceptions

from labsvc.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pika.adapters.blocking_connection import BlockingChannel

    from labsvc.amqp import Broker


@contextmanager
def quiet_loop() -> Iterator[Loop]:
    """Run a loop that must not log anything."""
    loop = Loop.start()
    yield loop
    loop.stop()
    assert list(loop.log) == []


@contextmanager
def channel_of(
    broker: Broker, *, confirms: bool = False, **parameters: Any
) -> Iterator[BlockingChannel]:
    """Open a pika connection with one channel; a broker that was killed meanwhile is no error."""
    settings = pika.URLParameters(broker.url)
    for name, value in parameters.items():
        setattr(settings, name, value)
    connection = pika.BlockingConnection(settings)
    try:
        channel = connection.channel()
        if confirms:
            channel.confirm_delivery()
        yield channel
    finally:
        with suppress(pika.exceptions.AMQPError):
            connection.close()


def wait_for(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; the test's timeout ends a wait in vain."""
    while not condition():
        time.sleep(0.005)
