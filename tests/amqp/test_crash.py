"""Kill -9 of the stand-alone broker under load: what was promised is kept.

20 rounds here, 200 with `make crash`.
"""

from __future__ import annotations

import os
import random
import socket
import struct
import subprocess
import sys
import threading
from collections import deque
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from pamqp import commands, frame, header
from pamqp.body import ContentBody
from pamqp.commands import Basic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "20"))
MOST_IN_FLIGHT = 64
PREFETCH = 20
DICE = random.SystemRandom()
PERSISTENT = commands.Basic.Properties(delivery_mode=2)


class BrokerDiedError(Exception):
    """The socket has ended."""


class Client:
    """A plain blocking client with one channel, which sees every frame."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=30)
        self._buffer = b""
        self.deliveries: deque[tuple[Basic.Deliver, bytes]] = deque()
        self._socket.sendall(b"AMQP\x00\x00\x09\x01")
        self.expect(commands.Connection.Start)
        login = f"\0{parts.username}\0{parts.password}"
        self.send(commands.Connection.StartOk(response=login), channel=0)
        self.expect(commands.Connection.Tune)
        self.send(commands.Connection.TuneOk(10, 131072, 0), commands.Connection.Open(), channel=0)
        self.expect(commands.Connection.OpenOk)
        self.ask(commands.Channel.Open(), commands.Channel.OpenOk)

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def send(self, *frames: Any, channel: int = 1) -> None:
        """Send frames in one piece."""
        data = b"".join(frame.marshal(each, channel) for each in frames)
        try:
            self._socket.sendall(data)
        except OSError as error:
            raise BrokerDiedError from error

    def ask(self, method: Any, answer: type) -> Any:
        """Send a method and wait for its answer."""
        self.send(method)
        return self.expect(answer)

    def expect(self, kind: type) -> Any:
        """Return the next frame of this kind; keep the deliveries before it."""
        while True:
            value = self._next()
            if isinstance(value, Basic.Deliver):
                self.deliveries.append((value, self._body()))
            if isinstance(value, kind):
                return value

    def delivery(self) -> tuple[int, int]:
        """Return the next delivery as (delivery tag, number of the message)."""
        if not self.deliveries:
            self.expect(Basic.Deliver)
        method, body = self.deliveries.popleft()
        assert method.delivery_tag is not None
        return method.delivery_tag, int(body)

    def drain(self, queue: str) -> list[int]:
        """Take all that waits in a queue; it is gone for good when this returns."""
        declare = commands.Queue.Declare(queue=queue, passive=True)
        ready = self.ask(declare, commands.Queue.DeclareOk).message_count
        self.ask(Basic.Consume(queue=queue, consumer_tag=queue, no_ack=True), Basic.ConsumeOk)
        numbers = [self.delivery()[1] for _ in range(ready)]
        self.ask(Basic.Cancel(queue), Basic.CancelOk)
        return numbers

    def _body(self) -> bytes:
        assert isinstance(self._next(), header.ContentHeader)
        body = self._next()
        assert isinstance(body, ContentBody)
        return body.value or b""

    def _next(self) -> Any:
        while len(self._buffer) < 7 or len(self._buffer) < 8 + self._size():
            data = b""
            with suppress(ConnectionError):
                data = self._socket.recv(65536)
            if not data:
                raise BrokerDiedError
            self._buffer += data
        used, _, value = frame.unmarshal(self._buffer)
        self._buffer = self._buffer[used:]
        return value

    def _size(self) -> int:
        size: int = struct.unpack_from(">I", self._buffer, 3)[0]
        return size


class Record:
    """What the clients know, over all rounds. Messages are numbered as they are published."""

    def __init__(self) -> None:
        self.published = 0
        self.confirmed: set[int] = set()
        self.acked: set[int] = set()  # sent; whether it arrived is not known
        self.settled: set[int] = set()  # acked before a call that was answered
        self.copies: set[int] = set()  # that were taken from queue b
        self.defects: list[str] = []


def publish(client: Client, record: Record) -> None:
    """Publish bursts to a fanout exchange, and note what is confirmed."""
    client.ask(commands.Confirm.Select(), commands.Confirm.SelectOk)
    base = record.published  # the number before the message of tag 1
    confirmed = base
    while True:
        frames: list[Any] = []
        for _ in range(DICE.randint(1, MOST_IN_FLIGHT)):
            record.published += 1
            body = b"%d" % record.published
            content = header.ContentHeader(0, len(body), PERSISTENT)
            frames += [Basic.Publish(exchange="x"), content, ContentBody(body)]
        client.send(*frames)
        while confirmed < record.published:
            ack = client.expect(Basic.Ack)
            newest = base + ack.delivery_tag
            assert ack.multiple or newest == confirmed + 1
            record.confirmed.update(range(confirmed + 1, newest + 1))
            confirmed = newest


def consume(client: Client, record: Record) -> None:
    """Consume queue a: check the order, ack some, and ask for an answer behind the acks."""
    client.ask(Basic.Qos(prefetch_count=PREFETCH), Basic.QosOk)
    client.ask(Basic.Consume(queue="a"), Basic.ConsumeOk)
    last = 0
    while True:
        numbers = []
        for _ in range(DICE.randint(1, PREFETCH)):
            tag, number = client.delivery()
            if number <= last:
                record.defects.append(f"{number} was delivered after {last}")
            if number in record.settled:
                record.defects.append(f"{number} was delivered again after its ack")
            last = number
            numbers.append(number)
        record.acked.update(numbers)
        client.send(Basic.Ack(tag, multiple=True))
        if DICE.random() < 0.5:  # half of the acks are left in doubt
            client.ask(Basic.Qos(prefetch_count=PREFETCH), Basic.QosOk)
            record.settled.update(numbers)


def check(url: str, record: Record) -> None:
    """Drain both queues after a crash, and compare with what the clients know."""
    with closing(Client(url)) as client:
        rest, copies = client.drain("a"), client.drain("b")
    assert rest == sorted(set(rest))
    assert not record.settled.intersection(rest), "acked messages have come back"
    record.acked.update(rest)
    record.settled.update(rest)
    assert record.confirmed <= record.acked, "queue a has lost messages"
    assert copies == sorted(set(copies))
    assert not record.copies.intersection(copies), "messages have come back to queue b"
    record.copies.update(copies)
    assert record.confirmed <= record.copies, "queue b has lost messages"


@contextmanager
def broker(data: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run a broker alone; kill it at the end."""
    command = [sys.executable, "-m", "labsvc", "broker", "--data", str(data)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            assert url, "the broker did not start"
            yield process, url
        finally:
            process.kill()


def in_thread(
    work: Callable[[Client, Record], None], client: Client, record: Record
) -> threading.Thread:
    """Run a client until the broker dies."""

    def run() -> None:
        try:
            with closing(client):
                work(client, record)
        except BrokerDiedError:
            pass
        except BaseException as error:  # noqa: BLE001  # told to the test
            record.defects.append(repr(error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.mark.timeout(60 + 10 * ROUNDS)
def test_kill_at_random_points(tmp_path: Path) -> None:
    """No confirmed message is lost, none comes back after its ack, and order is kept."""
    record = Record()
    with broker(tmp_path) as (_, url), closing(Client(url)) as client:
        declare = commands.Queue.Declare(queue="a", durable=True)
        client.ask(declare, commands.Queue.DeclareOk)
        quorum = commands.Queue.Declare(
            queue="b", durable=True, arguments={"x-queue-type": "quorum"}
        )
        client.ask(quorum, commands.Queue.DeclareOk)
        exchange = commands.Exchange.Declare(exchange="x", exchange_type="fanout", durable=True)
        client.ask(exchange, commands.Exchange.DeclareOk)
        for queue in ("a", "b"):
            bind = commands.Queue.Bind(queue=queue, exchange="x")
            client.ask(bind, commands.Queue.BindOk)
    for _ in range(ROUNDS):
        with broker(tmp_path) as (process, url):
            check(url, record)
            threads = [in_thread(work, Client(url), record) for work in (publish, consume)]
            threads[0].join(DICE.uniform(0.01, 0.3))  # the random point
            process.kill()
            for thread in threads:
                thread.join()
        assert record.defects == []
    with broker(tmp_path) as (_, url):
        check(url, record)
    assert len(record.confirmed) > ROUNDS
    assert len(record.acked) > ROUNDS
