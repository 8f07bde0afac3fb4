"""aio-pika and pika behind one small synchronous face, so that a test is written once.

A channel passes a method such as `queue_declare(...)` on to the library and returns the
broker's answer. Only what the two spell differently has a method of its own.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import aio_pika
import aiormq
import pika
import pika.exceptions
from aio_pika.connection import make_url
from pamqp.commands import Basic

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from labsvc.loop import Loop

PATIENCE = 20.0  # seconds; a wait ends as soon as its condition holds
CHANNEL, CONNECTION = "channel", "connection"
PROPERTIES = ("headers", "delivery_mode", "priority", "expiration", "correlation_id", "user_id")


class ClosedError(Exception):
    """The broker closed the channel or the connection: `scope` says which, `text` why."""

    def __init__(self, scope: str, text: str) -> None:
        super().__init__(f"{scope}: {text}")
        self.scope = scope
        self.text = text


@dataclass(frozen=True)
class Message:
    """A message as it came: by consumer, by get (`count` messages were left), or returned."""

    body: bytes
    exchange: str
    key: str
    headers: dict[str, Any]
    properties: dict[str, Any]
    tag: int = 0
    redelivered: bool = False
    count: int = -1


@dataclass
class Inbox:
    """What a consumer got so far, oldest first."""

    tag: str
    pump: Callable[[], None]
    messages: list[Message] = field(default_factory=list)

    def wait(self, count: int) -> list[Message]:
        """Wait until `count` messages came, and return all."""
        until(lambda: len(self.messages) >= count, self.pump)
        return self.messages

    @property
    def bodies(self) -> list[str]:
        """The bodies of all messages so far."""
        return [message.body.decode() for message in self.messages]


def until(condition: Callable[[], object], pump: Callable[[], None]) -> None:
    """Let a client work until a condition holds."""
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up, "waited in vain"
        pump()


class Channel(ABC):
    """A channel of either library; publishes are confirmed unless it was opened otherwise."""

    cancelled: list[str]  # tags of the consumers that the broker ended
    pump: Callable[[], None]

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **kwargs: self.call(name, *args, **kwargs)

    @abstractmethod
    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the library; raise ClosedError for the broker's close."""

    @abstractmethod
    def publish(
        self,
        exchange: str,
        key: str,
        body: str = "",
        *,
        mandatory: bool = False,
        **properties: Any,
    ) -> str:
        """Publish and return what came back: "ack", "nack", "312 NO_ROUTE" or "" (unconfirmed)."""

    @abstractmethod
    def get(self, queue: str, *, no_ack: bool = False) -> Message | None:
        """Get one message."""

    @abstractmethod
    def consume(
        self,
        queue: str,
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        tag: str = "",
        arguments: dict[str, Any] | None = None,
    ) -> Inbox:
        """Start a consumer."""

    @abstractmethod
    def qos(self, count: int, *, shared: bool = False) -> None:
        """Limit the unacked messages of each new consumer, or of the channel (`shared`)."""

    def count(self, queue: str) -> int:
        """Return how many messages are ready in a queue."""
        return int(self.queue_declare(queue, passive=True).message_count)

    def drain(self, queue: str) -> list[Message]:
        """Take and ack all messages that are ready."""
        messages = []
        while (message := self.get(queue, no_ack=True)) is not None:
            messages.append(message)
        return messages

    def bodies(self, queue: str) -> list[str]:
        """Take all messages that are ready and return their bodies."""
        return [message.body.decode() for message in self.drain(queue)]


class Client(ABC):
    """A connection of either library."""

    @abstractmethod
    def channel(self, *, confirms: bool = True) -> Channel:
        """Open a channel."""

    @abstractmethod
    def update_secret(self, secret: str, reason: str) -> None:
        """Replace the secret of the connection, and wait for the answer."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection, if it is still open."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


# pika


class PikaClient(Client):
    """A BlockingConnection."""

    def __init__(self, url: str, loop: Loop) -> None:
        try:
            self.connection = pika.BlockingConnection(pika.URLParameters(url))
        except pika.exceptions.AMQPConnectionError as error:
            raise ClosedError(CONNECTION, str(error)) from error

    def channel(self, *, confirms: bool = True) -> Channel:
        """Open a channel."""
        return PikaChannel(self.connection, confirms=confirms)

    def update_secret(self, secret: str, reason: str) -> None:
        """Replace the secret; BlockingConnection leaves that to the connection in it."""
        answers: list[Any] = []
        self.connection._impl.update_secret(secret, reason, answers.append)
        until(lambda: answers, lambda: self.connection.process_data_events(0.01))

    def close(self) -> None:
        """Close the connection, if it is still open."""
        with suppress(pika.exceptions.AMQPError):
            self.connection.close()


class PikaChannel(Channel):
    """A BlockingChannel."""

    def __init__(self, connection: pika.BlockingConnection, *, confirms: bool) -> None:
        self.cancelled = []
        self.pump = lambda: connection.process_data_events(0.01)
        self.channel = connection.channel()
        self.channel.add_on_cancel_callback(
            lambda frame: self.cancelled.append(frame.method.consumer_tag)
        )
        self.confirms = confirms
        if confirms:
            self.channel.confirm_delivery()

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the library; raise ClosedError for the broker's close."""
        try:
            answer = getattr(self.channel, name)(*args, **kwargs)
        except pika.exceptions.ChannelClosedByBroker as error:
            raise ClosedError(CHANNEL, error.reply_text) from error
        except pika.exceptions.ConnectionClosedByBroker as error:
            raise ClosedError(CONNECTION, error.reply_text) from error
        return getattr(answer, "method", answer)

    def publish(
        self,
        exchange: str,
        key: str,
        body: str = "",
        *,
        mandatory: bool = False,
        **properties: Any,
    ) -> str:
        """Publish and return what came back."""
        try:
            self.call(
                "basic_publish",
                exchange,
                key,
                body.encode(),
                pika.BasicProperties(**properties),
                mandatory=mandatory,
            )
        except pika.exceptions.UnroutableError as error:
            method = error.messages[0].method
            return f"{method.reply_code} {method.reply_text}"
        except pika.exceptions.NackError:
            return "nack"
        return "ack" if self.confirms else ""

    def get(self, queue: str, *, no_ack: bool = False) -> Message | None:
        """Get one message."""
        method, properties, body = self.call("basic_get", queue, auto_ack=no_ack)
        return None if method is None else _message(method, properties, body)

    def consume(
        self,
        queue: str,
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        tag: str = "",
        arguments: dict[str, Any] | None = None,
    ) -> Inbox:
        """Start a consumer."""
        inbox = Inbox("", self.pump)
        inbox.tag = self.call(
            "basic_consume",
            queue,
            lambda _, *parts: inbox.messages.append(_message(*parts)),
            auto_ack=no_ack,
            exclusive=exclusive,
            consumer_tag=tag or None,
            arguments=arguments,
        )
        return inbox

    def qos(self, count: int, *, shared: bool = False) -> None:
        """Limit the unacked messages."""
        self.call("basic_qos", prefetch_count=count, global_qos=shared)


# aio-pika


class AioPikaClient(Client):
    """A connection of aio-pika, on a loop of another thread."""

    def __init__(self, url: str, loop: Loop) -> None:
        self.loop = loop
        try:
            self.connection = loop.run(self._connected(url))
        except aiormq.AMQPError as error:
            raise ClosedError(CONNECTION, str(error)) from error

    @staticmethod
    async def _connected(url: str) -> aio_pika.abc.AbstractConnection:
        connection = aio_pika.Connection(make_url(url))
        try:
            await connection.connect()
        except BaseException:
            await connection.close()  # else its finalizer does, without a loop
            raise
        return connection

    def channel(self, *, confirms: bool = True) -> Channel:
        """Open a channel."""
        return AioPikaChannel(self.connection, self.loop, confirms=confirms)

    def update_secret(self, secret: str, reason: str) -> None:
        """Replace the secret."""
        self.loop.run(self.connection.update_secret(secret, reason=reason, timeout=PATIENCE))

    def close(self) -> None:
        """Close the connection, if it is still open."""
        self.loop.run(self.connection.close())


class AioPikaChannel(Channel):
    """A channel of aio-pika, by the methods of aiormq that it calls itself."""

    def __init__(
        self, connection: aio_pika.abc.AbstractConnection, loop: Loop, *, confirms: bool
    ) -> None:
        self.cancelled = []
        self.pump = lambda: time.sleep(0.005)
        self.loop = loop
        self.channel = loop.run(self._open(connection, confirms=confirms))
        self.channel.on_consumer_cancel_callbacks.add(
            lambda frame: self.cancelled.append(frame.consumer_tag)
        )

    async def _call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return await getattr(self.channel, name)(*args, **kwargs)
        except aiormq.ChannelInvalidStateError:  # closed meanwhile: say why
            await self.channel.closing
            raise

    async def _open(self, connection: aio_pika.abc.AbstractConnection, *, confirms: bool) -> Any:
        self._owner = connection.channel(publisher_confirms=confirms)
        await self._owner.initialize()
        return await self._owner.get_underlay_channel()

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the library; raise ClosedError for the broker's close."""
        try:
            return self.loop.run(self._call(name, *args, **kwargs))
        except (aiormq.ChannelClosed, aiormq.AMQPConnectionError) as error:
            scope = CHANNEL if isinstance(error, aiormq.ChannelClosed) else CONNECTION
            raise ClosedError(scope, str(error.args[-1])) from error

    def publish(
        self,
        exchange: str,
        key: str,
        body: str = "",
        *,
        mandatory: bool = False,
        **properties: Any,
    ) -> str:
        """Publish and return what came back."""
        try:
            answer = self.call(
                "basic_publish",
                body.encode(),
                exchange=exchange,
                routing_key=key,
                properties=Basic.Properties(**properties),
                mandatory=mandatory,
            )
        except aiormq.DeliveryError:
            return "nack"
        if isinstance(answer, Basic.Ack):
            return "ack"
        return (
            "" if answer is None else f"{answer.delivery.reply_code} {answer.delivery.reply_text}"
        )

    def get(self, queue: str, *, no_ack: bool = False) -> Message | None:
        """Get one message."""
        got = self.call("basic_get", queue, no_ack=no_ack)
        if isinstance(got.delivery, Basic.GetEmpty):
            return None
        return _message(got.delivery, got.header.properties, got.body)

    def consume(
        self,
        queue: str,
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        tag: str = "",
        arguments: dict[str, Any] | None = None,
    ) -> Inbox:
        """Start a consumer."""
        inbox = Inbox("", self.pump)

        async def keep(got: Any) -> None:
            inbox.messages.append(_message(got.delivery, got.header.properties, got.body))

        answer = self.call(
            "basic_consume",
            queue,
            keep,
            no_ack=no_ack,
            exclusive=exclusive,
            consumer_tag=tag,
            arguments=arguments,
        )
        inbox.tag = answer.consumer_tag
        return inbox

    def qos(self, count: int, *, shared: bool = False) -> None:
        """Limit the unacked messages."""
        self.call("basic_qos", prefetch_count=count, global_=shared)


def _message(method: Any, properties: Any, body: bytes) -> Message:
    named = {name: getattr(properties, name) for name in PROPERTIES}
    return Message(
        body=bytes(body),
        exchange=method.exchange,
        key=method.routing_key,
        headers=named.pop("headers") or {},
        properties={name: value for name, value in named.items() if value is not None},
        tag=getattr(method, "delivery_tag", 0),
        redelivered=getattr(method, "redelivered", False),
        count=getattr(method, "message_count", -1),
    )
