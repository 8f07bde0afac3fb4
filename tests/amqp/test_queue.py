"""A queue's rules, one by one: those that the random walk of test_queue_model seldom meets."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from labsvc.amqp.errors import ReplyCode, SoftError
from labsvc.amqp.rules.backlog import Entry
from labsvc.amqp.rules.expiry import EXPIRE_AT_ONCE
from labsvc.amqp.rules.message import Message
from labsvc.amqp.rules.queue import Queue
from labsvc.amqp.rules.settings import QueueSettings
from labsvc.amqp.session.unacked import Unacked
from tests.amqp.fakes import FakeClock, FakeConsumer


def message(text: str, *, priority: int = 0, expiration: int | None = None) -> Message:
    """Return a message whose body is the text."""
    return Message(b"\0\0", b"", text.encode(), priority=priority, expiration=expiration)


def take(queue: Queue) -> Entry:
    """Take the first message; there must be one."""
    entry = queue.take()
    assert entry is not None
    return entry


def bodies(queue: Queue) -> list[str]:
    """Take all messages and return their bodies."""
    taken = []
    while (entry := queue.take()) is not None:
        taken.append(entry.message.body.decode())
        queue.settle(entry)
    return taken


def filled(settings: QueueSettings, texts: str) -> Queue:
    """Return a queue with a message for each letter."""
    queue = Queue("q", settings, clock=FakeClock())
    for text in texts:
        queue.publish(message(text))
    return queue


@pytest.mark.parametrize(
    ("settings", "lost", "order"),
    [
        (QueueSettings(), False, "acde"),
        (QueueSettings(kind="quorum"), False, "ecad"),
        (QueueSettings(kind="quorum"), True, "cade"),
        (QueueSettings(kind="quorum", delivery_limit=5), False, "cade"),
    ],
)
def test_where_a_message_comes_back(settings: QueueSettings, lost: bool, order: str) -> None:  # noqa: FBT001
    """In its old place; in a quorum queue at the end or, with a limit or a lost channel, first."""
    queue = filled(settings, "abcde")
    entries = [take(queue) for _ in range(4)]
    for number in (2, 0, 3):
        queue.requeue(entries[number], lost=lost)
    assert [entry.redelivered for entry in entries] == [True, False, True, True]
    assert "".join(bodies(queue)) == order


def test_a_delivery_limit_counts_what_comes_back() -> None:
    """A message may come back so often; once more, and it leaves with its reason."""
    dead: list[tuple[bytes, str]] = []
    queue = Queue(
        "q",
        QueueSettings(kind="quorum", delivery_limit=2),
        dead_letter=lambda message, reason, _: dead.append((message.body, reason)),
    )
    queue.publish(message("bad"))
    for left in (1, 1, 0):
        assert dead == []
        queue.requeue(take(queue))
        assert len(queue) == left
    assert dead == [(b"bad", "delivery_limit")]


def test_a_quorum_queue_rejects_late_and_accepts_late() -> None:
    """It takes one message more than its length, and the next when it is down to 80 %."""
    queue = Queue("q", QueueSettings(kind="quorum", max_length=10, overflow="reject-publish"))
    accepted = [queue.publish(message("x")) for _ in range(13)]
    assert accepted == [True] * 11 + [False] * 2
    for waiting, taken in ((10, False), (9, False), (8, True), (8, True)):
        queue.settle(take(queue))
        assert (len(queue), queue.publish(message("x"))) == (waiting, taken)


def test_a_recovered_quorum_queue_has_rejected_nothing_yet() -> None:
    """Nearly full after a restart, it accepts, for it never was over its length."""
    queue = Queue("q", QueueSettings(kind="quorum", max_length=10, overflow="reject-publish"))
    for position in range(1, 10):
        queue.restore(Entry(message("x"), position))
    assert [queue.publish(message("x")) for _ in range(3)] == [True, True, False]


def test_prefetch_counts_a_delivery_until_it_is_answered() -> None:
    """Its consumer and its channel count it; of basic.get, nobody does."""
    queue, unacked, consumer = filled(QueueSettings(), "ab"), Unacked(), SimpleNamespace(unacked=0)
    counted = unacked.add(take(queue), queue, consumer)
    unacked.add(take(queue), queue, None)
    assert (len(unacked), unacked.prefetched, consumer.unacked) == (2, 1, 1)
    (delivery,) = unacked.take(counted, multiple=False)
    assert (len(unacked), unacked.prefetched, consumer.unacked) == (1, 1, 1)
    unacked.release(delivery)
    assert (len(unacked), unacked.prefetched, consumer.unacked) == (1, 0, 0)


@pytest.mark.parametrize(("kind", "second"), [("classic", "high"), ("quorum", "low")])
def test_the_next_single_active_consumer(kind: str, second: str) -> None:
    """The first stays; then comes the highest priority, in a quorum queue the oldest."""
    queue = Queue("q", QueueSettings(kind=kind, single_active=True))
    consumers = {
        name: FakeConsumer(9, priority=priority)
        for name, priority in (("first", 0), ("low", 0), ("high", 5))
    }
    for consumer in consumers.values():
        queue.add(consumer)
    queue.publish(message("1"))
    queue.remove(consumers["first"])
    queue.publish(message("2"))
    assert [name for name, consumer in consumers.items() if consumer.held] == ["first", second]
    assert queue.unacked == 2


def test_what_a_single_active_consumer_rules_out() -> None:
    """An exclusive consumer in a classic queue, basic.get in a quorum queue."""
    with pytest.raises(SoftError) as caught:
        Queue("q", QueueSettings(single_active=True)).add(FakeConsumer(1, exclusive=True))
    assert caught.value.code is ReplyCode.ACCESS_REFUSED
    with pytest.raises(SoftError) as caught:
        Queue("q", QueueSettings(kind="quorum", single_active=True)).take()
    assert caught.value.code is ReplyCode.RESOURCE_LOCKED


def test_an_unused_queue_expires() -> None:
    """Consumers, basic.get and another declaration keep it; publishing does not."""
    clock, ended = FakeClock(), list[Queue]()
    queue = Queue("q", QueueSettings(expires=100), clock=clock, expire=ended.append)
    for use in (queue.take, queue.touch, lambda: queue.add(FakeConsumer(1))):
        clock.advance(99)
        use()
        queue.publish(message("x"))
    clock.advance(1000)
    queue.remove(next(iter(queue.consumers)))
    clock.advance(99)
    assert ended == []
    clock.advance(2)
    assert ended == [queue]
    queue.delete()
    assert clock.timers == []


def test_a_message_behind_the_first_expires_in_time() -> None:
    """When the first goes, the time of the next begins to count, whoever took the first."""
    for act, left in (("get", 0), ("consume", 0), ("requeue", 2)):
        clock = FakeClock()
        queue = Queue("q", clock=clock)
        queue.publish(message("first"))
        queue.publish(message("second", expiration=10))
        if act == "consume":
            queue.add(FakeConsumer(1))
            queue.dispatch()
        else:
            entry = take(queue)
            if act == "requeue":
                queue.requeue(entry)
                queue.dispatch()
        clock.advance(10)
        assert len(queue) == left
        assert bodies(queue) == (["first"] if left else [])


def test_what_expired_behind_the_first_is_not_delivered() -> None:
    """A consumer that can take both gets the first only."""
    clock = FakeClock()
    queue = Queue("q", clock=clock)
    queue.publish(message("first"))
    queue.publish(message("second", expiration=10))
    clock.advance(10)
    assert len(queue) == 2
    consumer = FakeConsumer(2)
    queue.add(consumer)
    queue.dispatch()
    assert [entry.message.body for entry in consumer.held] == [b"first"]
    assert len(queue) == 0


def test_many_messages_expire_in_steps() -> None:
    """Others have their turn in between; nobody gets a message that has expired."""
    clock, steps = FakeClock(), []
    queue = Queue("q", QueueSettings(message_ttl=10), clock=clock)
    queue.publish(message("x"))
    queue.purge()
    for _ in range(2 * EXPIRE_AT_ONCE + 1):
        queue.publish(message("x"))
    clock.time = 1.0
    while clock.timers:
        steps.append(len(queue))
        clock.timers.pop().act()
    assert steps[:3] == [2 * EXPIRE_AT_ONCE + 1, EXPIRE_AT_ONCE + 1, 1]
    for _ in range(2 * EXPIRE_AT_ONCE):
        queue.publish(message("x"))
    clock.time = 2.0
    assert queue.take() is None


def test_the_first_in_line_is_dropped_whatever_its_priority() -> None:
    """A priority queue that is full drops from its head: the highest priority."""
    queue = Queue("q", QueueSettings(max_priority=5, max_length=3))
    for priority in (1, 5, 3, 0, 2):
        queue.publish(message(str(priority), priority=priority))
    assert bodies(queue) == ["2", "1", "0"]


def test_consumers_take_turns() -> None:
    """Messages are spread evenly over consumers that want them."""
    queue = Queue("q")
    consumers = [FakeConsumer(10) for _ in range(3)]
    for consumer in consumers:
        queue.add(consumer)
    for number in range(9):
        queue.publish(message(str(number)))
    assert [len(consumer.held) for consumer in consumers] == [3, 3, 3]


def test_an_exclusive_consumer_stays_alone() -> None:
    """Neither a second consumer beside an exclusive one, nor an exclusive one as second."""
    for first, second in ((True, False), (False, True)):
        queue = Queue("q")
        queue.add(FakeConsumer(1, exclusive=first))
        with pytest.raises(SoftError) as caught:
            queue.add(FakeConsumer(1, exclusive=second))
        assert caught.value.code is ReplyCode.ACCESS_REFUSED


def test_what_was_taken_out_can_be_put_back() -> None:
    """A rolled back answer leaves the deliveries in order, and counted as before."""
    unacked, queue = Unacked(), Queue("q")
    tags = [unacked.add(Entry(message(str(n)), n), queue, None) for n in range(4)]
    taken = unacked.take(tags[2], multiple=True)
    assert [delivery.tag for delivery in taken] == tags[:3]
    unacked.put_back(taken[:2])
    assert [delivery.tag for delivery in unacked.take(0, multiple=True)] == [*tags[:2], tags[3]]
    assert len(unacked) == 0
