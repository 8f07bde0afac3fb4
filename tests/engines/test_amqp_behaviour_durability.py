"""What is left after the broker has ended and was started again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.clients import ClosedError, PikaClient, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.loop import Loop
    from tests.engines.clients import Client
    from tests.engines.engine import Engine

DURABLE: dict[str, Any] = {"delivery_mode": 2}
TRANSIENT: dict[str, Any] = {"delivery_mode": 1}
QUORUM = {"x-queue-type": "quorum", "x-delivery-limit": 3}


def test_what_a_restart_leaves(  # noqa: PLR0915  # one costly restart for all of it
    engine: Engine, connect: Callable[[], Client], new: Callable[[str], str]
) -> None:
    """Durable queues, exchanges, bindings and confirmed persistent messages survive."""
    before = connect()
    channel = before.channel()
    plain, busy, limited, quorum, dead = map(new, ("plain", "busy", "limited", "quorum", "dead"))
    lost_queues = new("transient"), new("exclusive")
    topic, fanout, lost_exchange = new("topic"), new("fanout"), new("lost")

    for name in (plain, busy, dead):
        channel.queue_declare(name, durable=True)
    limits = {"x-max-length": 2, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    channel.queue_declare(limited, durable=True, arguments=limits)
    channel.queue_declare(quorum, durable=True, arguments=QUORUM)
    channel.queue_declare(lost_queues[0])
    channel.queue_declare(lost_queues[1], durable=True, exclusive=True)
    alternate = {"alternate-exchange": fanout}
    channel.exchange_declare(
        exchange=topic, exchange_type="topic", durable=True, arguments=alternate
    )
    channel.exchange_declare(exchange=fanout, exchange_type="fanout", durable=True)
    channel.exchange_declare(exchange=lost_exchange, exchange_type="direct")
    channel.queue_bind(plain, topic, "order.*")
    channel.queue_bind(plain, fanout)
    channel.queue_bind(plain, lost_exchange, "k")
    channel.queue_bind(lost_queues[0], topic, "#")
    channel.exchange_bind(destination=topic, source="amq.direct", routing_key=new("k"))
    channel.queue_declare(new("undone"), durable=True)
    channel.queue_delete(new("undone"))
    channel.exchange_declare(exchange=new("undone"), exchange_type="direct", durable=True)
    channel.exchange_delete(new("undone"))
    channel.queue_bind(plain, "amq.direct", new("undone"))
    channel.queue_unbind(plain, "amq.direct", new("undone"))

    for number in range(6):
        kind = TRANSIENT if number == 2 else DURABLE
        channel.publish("", plain, f"p{number}", headers={"number": number}, **kind)
        channel.publish("", busy, f"b{number}", **DURABLE)
    channel.publish("", quorum, "q0", **TRANSIENT)
    channel.publish("", quorum, "q1", **DURABLE)
    for body in ("l0", "l1", "l2"):
        channel.publish("", limited, body, **DURABLE)
    tags = [message.tag for _ in range(4) if (message := channel.get(busy))]
    channel.basic_ack(tags[0])
    channel.basic_reject(tags[2], requeue=False)
    poison = channel.get(quorum)
    assert poison is not None
    channel.basic_nack(poison.tag, requeue=True)
    until(lambda: channel.count(quorum) == 2, channel.pump)
    channel.count(busy)

    engine.restart()

    client = connect()
    channel = client.channel()
    assert [(m.body.decode(), m.headers) for m in channel.drain(plain)] == [
        (f"p{number}", {"number": number}) for number in (0, 1, 3, 4, 5)
    ]
    assert channel.bodies(busy) == ["b1", "b3", "b4", "b5"]
    assert channel.bodies(limited) == ["l1", "l2"]
    assert channel.bodies(dead) == ["l0"]
    until(lambda: channel.count(quorum) == 2, channel.pump)
    again = [message for _ in range(2) if (message := channel.get(quorum))]
    assert [(m.body, m.headers) for m in again] == [
        (b"q0", {"x-delivery-count": 1}),
        (b"q1", {"x-delivery-count": 0}),
    ]

    assert channel.publish("amq.direct", new("undone"), mandatory=True) == "312 NO_ROUTE"
    for name in (*lost_queues, new("undone")):
        with pytest.raises(ClosedError, match="NOT_FOUND"):
            client.channel().queue_declare(name, passive=True)
    for name in (lost_exchange, new("undone")):
        with pytest.raises(ClosedError, match="NOT_FOUND"):
            client.channel().exchange_declare(exchange=name, passive=True)
    with pytest.raises(ClosedError, match="inequivalent arg 'x-max-length'"):
        client.channel().queue_declare(
            limited, durable=True, arguments=limits | {"x-max-length": 3}
        )
    channel.queue_declare(limited, durable=True, arguments=limits)
    channel.exchange_declare(
        exchange=topic, exchange_type="topic", durable=True, arguments=alternate
    )

    channel.publish(topic, "order.placed", "by topic")
    channel.publish("amq.direct", new("k"), "nothing matches, so by the alternate exchange")
    assert channel.bodies(plain) == ["by topic", "nothing matches, so by the alternate exchange"]


def test_after_a_crash_all_messages_are_marked(
    engine: Engine, client_loop: Loop, new: Callable[[str], str]
) -> None:
    """Nobody knows who had seen them, so all are redelivered; new ones are not."""
    with PikaClient(engine.url(), client_loop) as client:
        channel = client.channel()
        channel.queue_declare(new("q"), durable=True)
        for body in ("0", "1"):
            channel.publish("", new("q"), body, **DURABLE)
        assert channel.get(new("q")) is not None
        engine.crash()
    with PikaClient(engine.url(), client_loop) as client:
        channel = client.channel()
        channel.publish("", new("q"), "2", **DURABLE)
        got = channel.drain(new("q"))
    assert [(m.body, m.redelivered) for m in got] == [(b"0", True), (b"1", True), (b"2", False)]


def test_time_goes_on_while_the_broker_is_down(
    engine: Engine, connect: Callable[[], Client], new: Callable[[str], str]
) -> None:
    """A message whose time ran out meanwhile becomes a dead letter at the start."""
    channel = connect().channel()
    channel.queue_declare(new("dead"), durable=True)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": new("dead")}
    channel.queue_declare(new("q"), durable=True, arguments=arguments)
    channel.publish("", new("q"), "m", expiration="1500", **DURABLE)
    assert channel.count(new("q")) == 1
    engine.restart()
    channel = connect().channel()
    until(lambda: channel.count(new("dead")) == 1, channel.pump)
    assert channel.count(new("q")) == 0
