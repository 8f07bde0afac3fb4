"""Dead letters: where they go, and what their headers say. RabbitMQ 3.10 does the same."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from pamqp import header
from pamqp.commands import Basic

from labsvc.amqp.rules.message import Message
from labsvc.amqp.rules.vhost import VHost
from labsvc.amqp.wire.content_header import decode_content_header
from labsvc.amqp.wire.frames import shortstr
from tests.amqp.fakes import FakeClock

if TYPE_CHECKING:
    import pytest

    from labsvc.amqp.rules.queue import Queue


def message(
    key: str, headers: dict[str, Any] | None = None, expiration: str | None = None
) -> Message:
    """Return a message that was published to the default exchange."""
    properties = Basic.Properties(
        headers=headers, expiration=expiration, priority=3, message_id="m", content_type="t/x"
    )
    return Message(
        shortstr("") + shortstr(key),
        header.ContentHeader(0, 1, properties).marshal(),
        b"x",
        priority=3,
        expiration=None if expiration is None else int(expiration),
    )


def chain(vhost: VHost, *names: str, **more: Any) -> list[Queue]:
    """Declare queues, each with the next for its dead letters."""
    return [
        vhost.declare_queue(
            name,
            None,
            durable=True,
            arguments={
                "x-dead-letter-exchange": b"",
                "x-dead-letter-routing-key": following.encode(),
                **more,
            },
        )
        for name, following in zip(names, [*names[1:], names[0]], strict=True)
    ]


def reject(queue: Queue) -> None:
    """Take the first message of a queue and reject it."""
    entry = queue.take()
    assert entry is not None
    queue.reject(entry)


def headers_in(queue: Queue) -> dict[str, Any]:
    """Take the first message of a queue and return its headers."""
    entry = queue.take()
    assert entry is not None
    queue.requeue(entry)
    properties = decode_content_header(entry.message.header).properties
    headers: dict[str, Any] = properties.get("headers", {})
    return headers


def test_headers_say_why() -> None:
    """All else is kept, but for `expiration`, which moves to the table of the death."""
    clock = FakeClock()
    clock.time = 1700000000.5
    vhost = VHost(clock=clock)
    first, second = chain(vhost, "first", "second")
    first.publish(message("first", {"a": 1, "CC": ["copy"]}, expiration="50"))
    clock.advance(50)
    entry = second.take()
    assert entry is not None
    properties = decode_content_header(entry.message.header).properties
    death = {
        "count": 1,
        "reason": b"expired",
        "queue": b"first",
        "time": 1700000000,
        "exchange": b"",
        "routing-keys": [b"first", b"copy"],
        "original-expiration": b"50",
    }
    assert properties == {
        "content_type": "t/x",
        "headers": {
            "a": 1,
            "x-death": [death],
            "x-first-death-exchange": b"",
            "x-first-death-queue": b"first",
            "x-first-death-reason": b"expired",
        },
        "priority": 3,
        "message_id": "m",
    }
    assert (entry.message.exchange, entry.message.key, entry.expires) == ("", "second", None)


def test_deaths_are_counted_by_queue_and_reason() -> None:
    """The latest death comes first; one that happened before is counted up."""
    vhost = VHost(clock=FakeClock())
    queues = chain(vhost, "a", "b", "c")
    queues[0].publish(message("a"))
    seen = []
    for number in range(5):
        reject(queues[number % 3])
        deaths = headers_in(queues[(number + 1) % 3])["x-death"]
        seen.append([(death["queue"].decode(), death["count"]) for death in deaths])
    assert seen == [  # RabbitMQ turns the order of the others round each time
        [("a", 1)],
        [("b", 1), ("a", 1)],
        [("c", 1), ("a", 1), ("b", 1)],
        [("a", 2), ("b", 1), ("c", 1)],
        [("b", 2), ("c", 1), ("a", 2)],
    ]


def test_a_circle_without_a_rejection_is_broken() -> None:
    """A message that only expired does not come back; one that was rejected does."""
    clock = FakeClock()
    vhost = VHost(clock=clock)
    first, second = chain(vhost, "first", "second", **{"x-message-ttl": 10})
    first.publish(message("first"))
    clock.advance(10)
    assert (len(first), len(second)) == (0, 1)
    clock.advance(10)
    assert (len(first), len(second)) == (0, 0)
    first.publish(message("first"))
    reject(first)
    clock.advance(10)
    assert (len(first), len(second)) == (1, 0)


def test_a_long_chain_does_not_recurse(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message may die in any number of queues one after the other."""
    vhost = VHost(clock=FakeClock())
    *queues, end = chain(vhost, *map(str, range(50)), **{"x-max-length": 0})
    depths = []

    def keep(_: Message) -> bool:
        depths.append(len(inspect.stack()))
        return True

    monkeypatch.setattr(end, "publish", keep)
    for queue in (queues[0], queues[-1]):
        queue.publish(message(queue.name))
    assert depths[0] == depths[1]


def test_headers_of_a_stranger_do_no_harm() -> None:
    """An `x-death` that a client made up is replaced, grouped or counted, as in RabbitMQ."""
    made_up: list[Any] = [
        {"queue": "first", "reason": "rejected", "count": 7},
        {"queue": "k", "reason": "expired", "count": 1},
        {"queue": "z", "reason": "expired"},
        {"queue": "k", "reason": "expired", "count": 9},
    ]
    for value, counts in (
        ("garbage", [1]),
        ([5, "x"], [1]),
        (made_up[:1], [8]),
        ([{"queue": "first", "reason": "rejected"}], [1]),
        (made_up, [8, 1, 1]),
    ):
        vhost = VHost(clock=FakeClock())
        first, second = chain(vhost, "first", "second")
        first.publish(message("first", {"x-death": value}))
        reject(first)
        assert [death["count"] for death in headers_in(second)["x-death"]] == counts


def test_no_exchange_no_letter() -> None:
    """Without a dead-letter exchange, or with one that does not exist, a message is lost."""
    vhost = VHost(clock=FakeClock())
    for arguments in ({}, {"x-dead-letter-exchange": b"missing"}):
        queue = vhost.declare_queue("q", None, arguments=arguments)
        queue.publish(message("q"))
        reject(queue)
        assert [len(one) for one in vhost.queues.values()] == [0]
        vhost.delete_queue(queue)
