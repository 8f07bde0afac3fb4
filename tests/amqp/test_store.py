"""What survives a stop or a kill of the broker, and what it tells of its queues."""

from __future__ import annotations

import sqlite3
import threading
import time
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING

import pika
import pika.exceptions
import pytest

from labsvc.amqp import Broker, QueueStats
from labsvc.amqp.storage.database import FILE
from labsvc.amqp.timeline import CHANGES, Timeline
from labsvc.errors import LabError
from tests.amqp.tools import channel_of, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pika.adapters.blocking_connection import BlockingChannel

    from labsvc.loop import Loop

confirming_channel = partial(channel_of, confirms=True)
PERSISTENT = pika.BasicProperties(delivery_mode=2)
TRANSIENT = pika.BasicProperties(delivery_mode=1)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Name a folder that the broker makes."""
    return tmp_path / "broker"


@pytest.fixture
def broker(loop: Loop, data: Path) -> Iterator[Broker]:
    """Run a broker with a data folder."""
    broker = Broker("learner", "secret", data)
    loop.run(broker.start())
    yield broker
    loop.run(broker.stop())


def taken(channel: BlockingChannel, queue: str) -> list[bytes]:
    """Take all that waits in a queue."""
    bodies = []
    while (message := channel.basic_get(queue, auto_ack=True))[0] is not None:
        bodies.append(message[2])
    return bodies


def rows(data: Path, table: str) -> int:
    """Count the rows of a table, of a broker that does not run."""
    with closing(sqlite3.connect(data / FILE)) as database:
        (count,) = database.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608
    return int(count)


# Recovery


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_durable_things_survive(loop: Loop, broker: Broker, end: str) -> None:
    """Durable queues, exchanges and bindings with their arguments are there again."""
    matching = {"x-match": "any", "n": 1, "big": 1 << 40, "s": "é", "nested": {"l": [True, None]}}
    with confirming_channel(broker) as channel:
        for durable in (True, False):
            name = "kept" if durable else "lost"
            channel.queue_declare(name, durable=durable)
            channel.exchange_declare(name, "topic", durable=durable)
        channel.exchange_declare("by-header", "headers", durable=True)
        channel.queue_bind("kept", "kept", "a.*")
        channel.queue_bind("kept", "lost", "b")
        channel.queue_bind("kept", "by-header", arguments=matching)
        channel.exchange_bind("by-header", "kept", "#")
        channel.queue_declare("", durable=True)
        channel.queue_declare("mine", durable=True, exclusive=True)
        channel.queue_declare("gone", durable=True)
        channel.queue_delete("gone")
    loop.run(getattr(broker, end)())
    loop.run(broker.restart())
    named = [name for name in broker.stats.queues if not name.startswith("amq.gen-")]
    assert named == ["kept"]
    assert len(broker.stats.queues) == 2
    with confirming_channel(broker) as channel:
        channel.queue_declare("kept", durable=True)
        channel.basic_publish("kept", "a.b", b"topic", TRANSIENT, mandatory=True)
        headers = pika.BasicProperties(headers={"s": "é"})
        channel.basic_publish("kept", "other", b"bound exchange", headers, mandatory=True)
        channel.queue_unbind("kept", "by-header", arguments=matching)
        with pytest.raises(pika.exceptions.UnroutableError):
            channel.basic_publish("by-header", "", b"", headers, mandatory=True)
        assert taken(channel, "kept") == [b"topic", b"bound exchange"]
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no exchange 'lost'"):
            channel.exchange_declare("lost", passive=True)


def topology(broker: Broker) -> tuple[set[str], set[str]]:
    """Return which of the exchanges exist, and through which of them a message gets to a queue."""
    exist, route = set(), set()
    for name in ("source", "middle"):
        with (
            confirming_channel(broker) as channel,
            suppress(pika.exceptions.ChannelClosedByBroker, pika.exceptions.UnroutableError),
        ):
            channel.exchange_declare(name, passive=True)
            exist.add(name)
            channel.basic_publish(name, "k", b"", TRANSIENT, mandatory=True)
            route.add(name)
    return exist, route


def declare_exchange(channel: BlockingChannel, name: str) -> None:
    """Declare a durable exchange."""
    channel.exchange_declare(name, "direct", durable=True)


def make_queue_again(channel: BlockingChannel) -> None:
    """Delete the queue and declare it."""
    channel.queue_delete("q")
    channel.queue_declare("q", durable=True)


def make_exchange_again(channel: BlockingChannel) -> None:
    """Delete the exchange between the other and the queue, and declare it."""
    channel.exchange_delete("middle")
    declare_exchange(channel, "middle")


def bind_exchange_again(channel: BlockingChannel) -> None:
    """Make that exchange again, and bind the queue to it."""
    make_exchange_again(channel)
    channel.queue_bind("q", "middle", "k")


BOTH = {"source", "middle"}
UNDONE: dict[str, tuple[Callable[[BlockingChannel], object], set[str], set[str]]] = {
    "nothing": (lambda _: None, BOTH, BOTH),
    "queue": (lambda channel: channel.queue_delete("q"), BOTH, set()),
    "exchange": (lambda channel: channel.exchange_delete("middle"), {"source"}, set()),
    "binding of a queue": (
        lambda channel: channel.queue_unbind("q", "middle", "k"),
        BOTH,
        set(),
    ),
    "binding of an exchange": (
        lambda channel: channel.exchange_unbind("middle", "source", "k"),
        BOTH,
        {"middle"},
    ),
    "queue, made again": (make_queue_again, BOTH, set()),
    "exchange, made again": (make_exchange_again, BOTH, set()),
    "exchange, made and bound again": (bind_exchange_again, BOTH, {"middle"}),
}


@pytest.mark.parametrize("undone", UNDONE)
def test_what_was_undone_stays_so(loop: Loop, broker: Broker, undone: str) -> None:
    """A durable queue or exchange that was deleted, and a binding, do not come back by a kill."""
    undo, exist, route = UNDONE[undone]
    with confirming_channel(broker) as channel:
        for name in ("source", "middle"):
            declare_exchange(channel, name)
        channel.queue_declare("q", durable=True)
        channel.exchange_bind("middle", "source", "k")
        channel.queue_bind("q", "middle", "k")
        loop.run(broker.kill())
    loop.run(broker.restart())
    with confirming_channel(broker) as channel:
        undo(channel)
    queues = set(broker.stats.queues)
    assert topology(broker) == (exist, route)
    loop.run(broker.kill())
    loop.run(broker.restart())
    assert set(broker.stats.queues) == queues
    assert topology(broker) == (exist, route)


@pytest.mark.parametrize(
    ("kind", "end", "redelivered"),
    [
        ("classic", "kill", [True, True, True]),
        ("classic", "stop", [True, False, False]),
        ("quorum", "kill", [True, False, False]),
        ("quorum", "stop", [True, False, False]),
    ],
)
def test_confirmed_messages_survive(
    loop: Loop, broker: Broker, kind: str, end: str, redelivered: list[bool]
) -> None:
    """They keep order and headers, what was acked is gone; redelivered as RabbitMQ 3.10 has it."""
    with confirming_channel(broker) as channel:
        channel.queue_declare("q", durable=True, arguments={"x-queue-type": kind})
        for number in range(4):
            properties = pika.BasicProperties(delivery_mode=2, headers={"n": number})
            channel.basic_publish("", "q", b"%d" % number, properties)
        acked, held = channel.basic_get("q")[0], channel.basic_get("q")[0]
        assert acked is not None
        assert held is not None
        channel.basic_ack(acked.delivery_tag)
        channel.queue_declare("q", passive=True)
        loop.run(getattr(broker, end)())
    for _ in range(2):  # the second time after a stop
        loop.run(broker.restart())
        assert broker.stats.queues == {"q": QueueStats(ready=3, unacked=0, consumers=0)}
    with confirming_channel(broker) as channel:
        got = [channel.basic_get("q", auto_ack=True) for _ in range(3)]
    assert [(body, properties.headers["n"]) for _, properties, body in got] == [
        (b"1", 1),
        (b"2", 2),
        (b"3", 3),
    ]
    assert [method.redelivered for method, _, _ in got if method is not None] == redelivered
    if kind == "quorum":
        assert got[0][1].headers["x-delivery-count"] == 1


def test_transient_messages_are_not_stored(loop: Loop, broker: Broker, data: Path) -> None:
    """A transient message ends with the broker, except in a quorum queue, which keeps all."""
    with confirming_channel(broker) as channel:
        channel.queue_declare("classic", durable=True)
        channel.queue_declare("quorum", durable=True, arguments={"x-queue-type": "quorum"})
        for queue in ("classic", "quorum"):
            channel.basic_publish("", queue, b"transient", TRANSIENT)
    loop.run(broker.stop())
    assert rows(data, "messages") == 1
    loop.run(broker.start())
    with confirming_channel(broker) as channel:
        assert taken(channel, "classic") == []
        assert taken(channel, "quorum") == [b"transient"]


def test_a_body_is_stored_once(loop: Loop, broker: Broker, data: Path) -> None:
    """A message in three queues is one row, until the last of them has let it go."""
    with confirming_channel(broker) as channel:
        for queue in "abc":
            channel.queue_declare(queue, durable=True)
            channel.queue_bind(queue, "amq.fanout")
        channel.basic_publish("amq.fanout", "", b"shared", PERSISTENT)
        channel.queue_delete("c")
    loop.run(broker.restart())
    with confirming_channel(broker) as channel:
        assert taken(channel, "a") == [b"shared"]
    loop.run(broker.stop())
    assert (rows(data, "messages"), rows(data, "entries")) == (1, 1)
    loop.run(broker.start())
    with confirming_channel(broker) as channel:
        assert taken(channel, "b") == [b"shared"]
    loop.run(broker.stop())
    assert (rows(data, "messages"), rows(data, "entries")) == (0, 0)


def test_what_leaves_unread_leaves_the_store(loop: Loop, broker: Broker, data: Path) -> None:
    """Purged, expired and dropped messages, and those of a deleted queue, leave no rows."""
    with confirming_channel(broker) as channel:
        for queue, arguments in (
            ("purged", {}),
            ("expired", {"x-message-ttl": 1}),
            ("dropped", {"x-max-length": 0}),
            ("deleted", {}),
        ):
            channel.queue_declare(queue, durable=True, arguments=arguments)
            channel.basic_publish("", queue, b"x", PERSISTENT)
        channel.basic_publish("", "deleted", b"unacked", PERSISTENT)
        channel.basic_get("deleted")
        channel.queue_purge("purged")
        channel.queue_delete("deleted")
        wait_for(lambda: broker.stats.queues["expired"].ready == 0)
    loop.run(broker.stop())
    assert (rows(data, "messages"), rows(data, "entries"), rows(data, "queues")) == (0, 0, 3)


def test_time_to_live_counts_on_while_the_broker_is_down(loop: Loop, broker: Broker) -> None:
    """A message that expired while nobody ran the broker is not delivered afterwards."""
    with confirming_channel(broker) as channel:
        channel.queue_declare("q", durable=True)
        short = pika.BasicProperties(delivery_mode=2, expiration="50")
        channel.basic_publish("", "q", b"short", short)
        channel.basic_publish("", "q", b"long", PERSISTENT)
        published = time.time()
        loop.run(broker.kill())
    wait_for(lambda: time.time() > published + 0.05)
    loop.run(broker.restart())
    with confirming_channel(broker) as channel:
        assert taken(channel, "q") == [b"long"]


def test_delivery_counts_survive_a_kill(loop: Loop, broker: Broker) -> None:
    """A poison message does not start anew because the broker was killed."""
    quorum = {"x-queue-type": "quorum", "x-delivery-limit": 2}
    with confirming_channel(broker) as channel:
        channel.queue_declare("q", durable=True, arguments=quorum)
        channel.basic_publish("", "q", b"poison", PERSISTENT)
        for _ in range(2):
            method = channel.basic_get("q")[0]
            assert method is not None
            channel.basic_nack(method.delivery_tag)
        channel.queue_declare("q", passive=True)
        loop.run(broker.kill())
    loop.run(broker.restart())
    with confirming_channel(broker) as channel:
        method, properties, _ = channel.basic_get("q")
        assert method is not None
        assert properties.headers["x-delivery-count"] == 2
        channel.basic_nack(method.delivery_tag)
        assert channel.basic_get("q")[0] is None


def test_what_a_consumer_held_counts_as_delivered(loop: Loop, broker: Broker) -> None:
    """After a kill, a message of a quorum queue that a consumer had counts one delivery more."""
    with confirming_channel(broker) as channel:
        channel.queue_declare("q", durable=True, arguments={"x-queue-type": "quorum"})
        for body in (b"held", b"waiting"):
            channel.basic_publish("", "q", body, PERSISTENT)
        channel.basic_qos(prefetch_count=1)
        channel.basic_consume("q", lambda *_: None)
        wait_for(lambda: broker.stats.queues["q"].unacked == 1)
        channel.queue_declare("q", passive=True)
        loop.run(broker.kill())
    loop.run(broker.restart())
    with confirming_channel(broker) as channel:
        got = [channel.basic_get("q", auto_ack=True) for _ in range(2)]
    assert [
        (body, method and method.redelivered, properties.headers["x-delivery-count"])
        for method, properties, body in got
    ] == [(b"held", True, 1), (b"waiting", False, 0)]


def test_without_a_folder_a_kill_forgets_everything(loop: Loop) -> None:
    """A broker without data starts empty, on the same port."""
    broker = Broker("learner", "secret")
    port = loop.run(broker.start())
    with confirming_channel(broker) as channel:
        channel.queue_declare("q", durable=True)
        loop.run(broker.kill())
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            channel.queue_declare("q", passive=True)
    loop.run(broker.kill())
    loop.run(broker.restart())
    assert (broker.port, broker.stats.queues) == (port, {})
    loop.run(broker.stop())


def test_a_folder_serves_one_broker(loop: Loop, broker: Broker, data: Path) -> None:
    """A second broker on the same data is refused, and harms nobody."""
    with pytest.raises(LabError, match="one broker at a time"):
        loop.run(Broker("other", "secret", data).start())
    with confirming_channel(broker) as channel:
        channel.queue_declare("q", durable=True)


def test_a_file_that_is_no_store(loop: Loop, tmp_path: Path) -> None:
    """A damaged file, or one of another version, is an error that names it."""
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    with pytest.raises(LabError, match=FILE):
        loop.run(Broker("u", "p", tmp_path).start())
    (tmp_path / FILE).unlink()
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(LabError, match="another version"):
        loop.run(Broker("u", "p", tmp_path).start())


def test_nothing_is_confirmed_while_the_disk_is_full(
    loop: Loop, broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A commit that fails holds the answers back, and is tried again."""
    monkeypatch.setattr("labsvc.amqp.session.group_commit.RETRY_SECONDS", 0.01)
    store = broker._store
    assert store is not None
    commit, failures = store.commit, []

    def full() -> None:
        if store.pending:
            failures.append(broker.stats.confirmed)
            if len(failures) < 3:
                msg = "database or disk is full"
                raise sqlite3.OperationalError(msg)
        commit()

    with confirming_channel(broker) as channel:
        channel.queue_declare("q", durable=True)
        monkeypatch.setattr(store, "commit", full)
        channel.basic_publish("", "q", b"x", PERSISTENT)
        assert len(failures) >= 3
    assert "disk is full" in caplog.text


# Memory


def test_publishers_wait_while_memory_is_low(loop: Loop, data: Path) -> None:
    """A publisher is told and held; a consumer empties the queue, and it goes on."""
    broker = Broker("learner", "secret", data, memory_limit=20_000)
    loop.run(broker.start())
    heard: list[str] = []
    published: list[int] = []

    def publish() -> None:
        with confirming_channel(broker) as channel:
            connection = channel.connection
            connection.add_on_connection_blocked_callback(
                lambda _, method: heard.append(method.method.reason)
            )
            connection.add_on_connection_unblocked_callback(lambda *_: heard.append("unblocked"))
            for number in range(60):
                channel.basic_publish("", "q", bytes(1000), TRANSIENT)
                published.append(number)
            connection.process_data_events(0)  # now pika calls back

    with confirming_channel(broker) as channel:
        channel.queue_declare("q", durable=True)
        thread = threading.Thread(target=publish)
        thread.start()
        most = 20_000 // (1000 + 512) + 1
        wait_for(lambda: len(published) == most)
        for _ in range(20):  # this connection is served all the time
            assert channel.queue_declare("q", passive=True).method.message_count == most
        while len(published) < 60:
            channel.basic_get("q", auto_ack=True)
        thread.join()
    assert heard[:2] == ["low on memory", "unblocked"]
    loop.run(broker.stop())


def test_a_blocked_connection_may_end(loop: Loop) -> None:
    """A publisher that is blocked when the broker stops does not hold it up."""
    broker = Broker("learner", "secret", memory_limit=100)
    loop.run(broker.start())
    with confirming_channel(broker, blocked_connection_timeout=60) as channel:
        channel.queue_declare("q")
        channel.basic_publish("", "q", b"x")
        loop.run(broker.stop())
        with pytest.raises(pika.exceptions.AMQPConnectionError):
            channel.basic_publish("", "q", b"y")
    assert broker.stats.connections == 0


# What the learner sees


def test_timeline_and_rates(loop: Loop, broker: Broker) -> None:
    """The timeline has a queue's way up and down, over a kill; rates say what comes and goes."""

    def depths() -> list[tuple[int, int]]:
        return [(depth.ready, depth.unacked) for depth in broker.timeline.get("q", [])]

    with confirming_channel(broker) as channel:
        channel.queue_declare("q", durable=True)
        for _ in range(3):
            channel.basic_publish("", "q", b"x", PERSISTENT)
        wait_for(lambda: depths()[-1:] == [(3, 0)])
        assert broker.stats.queues["q"].arriving > 0
        channel.basic_get("q")
        wait_for(lambda: depths()[-1] == (2, 1))
        assert broker.stats.queues["q"].leaving == 0
        loop.run(broker.kill())
        assert depths()[-1] == (0, 0)
    loop.run(broker.restart())
    assert depths()[-1] == (3, 0)
    assert broker.stats.queues["q"].arriving == 0
    with confirming_channel(broker) as channel:
        channel.queue_purge("q")
        wait_for(lambda: broker.stats.queues["q"].leaving > 0)
    times = [depth.at for depth in broker.timeline["q"]]
    assert times == sorted(times)


def test_timeline_is_bounded() -> None:
    """However long a broker runs, it keeps so many samples and no more."""

    class Growing:
        name = "q"
        unacked = 0
        published = 0

        def __len__(self) -> int:
            return self.published

    queue, timeline = Growing(), Timeline()
    for _ in range(CHANGES + 10):
        queue.published += 1
        timeline.sample({"q": queue})  # type: ignore[dict-item]
    samples = timeline.depths()["q"]
    assert len(samples) == CHANGES
    assert samples[-1].ready == CHANGES + 10
