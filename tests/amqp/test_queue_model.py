"""A queue under any order of events, beside a model that is as simple as can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from labsvc.amqp.rules.memory import MESSAGE_OVERHEAD, Memory
from labsvc.amqp.rules.message import Message
from labsvc.amqp.rules.queue import Queue
from labsvc.amqp.rules.settings import QueueSettings
from tests.amqp.fakes import FakeClock, FakeConsumer, FakeJournal, unhurried

if TYPE_CHECKING:
    from labsvc.amqp.rules.backlog import Entry

limits: dict[str, st.SearchStrategy[Any]] = {
    "message_ttl": st.sampled_from([None, None, 0, 100]),
    "max_length": st.sampled_from([None, None, 0, 1, 2, 5]),
    "max_bytes": st.sampled_from([None, None, None, 2, 6]),
    "single_active": st.sampled_from([False, False, True]),
}


classic = st.builds(
    QueueSettings,
    **limits,
    overflow=st.sampled_from(["drop-head", "reject-publish", "reject-publish-dlx"]),
    max_priority=st.sampled_from([None, 0, 2]),
)


quorum = st.builds(
    QueueSettings,
    **limits,
    kind=st.just("quorum"),
    overflow=st.sampled_from(["drop-head", "reject-publish"]),
    delivery_limit=st.sampled_from([None, 0, 1, 2]),
)


@dataclass
class ModelMessage:
    """A message as the model of a queue sees it."""

    number: int
    size: int
    priority: int
    expires: float | None
    deliveries: int = 0


class ModelQueue:
    """What a queue does, in the simplest way: lists that are sorted and searched.

    `front` came back to a quorum queue, `back` is all else. `delivered` and `dead` tell
    what happened, in order.
    """

    def __init__(self, settings: QueueSettings) -> None:
        self.settings = settings
        self.quorum = settings.kind == "quorum"
        self.now = 0.0
        self.front: list[ModelMessage] = []
        self.back: list[ModelMessage] = []
        self.held: dict[int, ModelMessage] = {}
        self.delivered: list[int] = []
        self.dead: list[tuple[int, str]] = []
        self.rejecting = False

    @property
    def waiting(self) -> list[ModelMessage]:
        """What waits, in the order in which it is to be delivered."""
        if self.quorum:
            return self.front + self.back
        return sorted(self.back, key=lambda one: (-one.priority, one.number))

    def over(self, count: int = 0, size: int = 0, share: float = 1) -> bool:
        """Whether a limit would be broken by so much more."""
        most, largest = self.settings.max_length, self.settings.max_bytes
        count += len(self.waiting)
        size += sum(one.size for one in self.waiting)
        return (most is not None and count > int(most * share)) or (
            largest is not None and size > int(largest * share)
        )

    def publish(self, message: ModelMessage, room: int) -> bool:
        """Publish a message while consumers can take `room`; return whether it is accepted."""
        if self.settings.overflow != "drop-head":
            if self.quorum:
                self.rejecting = self.over() or (self.rejecting and self.over(share=0.8))
            if self.rejecting or (not self.quorum and self.over(1, message.size)):
                if self.settings.overflow == "reject-publish-dlx":
                    self.dead.append((message.number, "maxlen"))
                return False
        self.back.append(message)
        self.run(room, spared=message)
        return True

    def run(self, room: int, spared: ModelMessage | None = None) -> None:
        """Deliver to consumers that can take `room` messages; drop what must not stay."""
        while self.waiting:
            head = self.waiting[0]
            if self.expired(head) and not (head is spared and head.expires == self.now):
                self.drop(head, "expired")
            elif room:
                room -= 1
                self.hand_out(head)
                self.delivered.append(head.number)
            else:
                break
        self.drop_head()
        while self.waiting and self.expired(self.waiting[0]):
            self.drop(self.waiting[0], "expired")

    def expired(self, message: ModelMessage) -> bool:
        """Whether its time is over."""
        return message.expires is not None and message.expires <= self.now

    def drop_head(self) -> None:
        """Drop from the head what is too much."""
        while self.settings.overflow == "drop-head" and self.waiting and self.over():
            self.drop(self.waiting[0], "maxlen")

    def drop(self, message: ModelMessage, reason: str) -> None:
        """Lose a message that waits."""
        (self.front if message in self.front else self.back).remove(message)
        self.dead.append((message.number, reason))

    def hand_out(self, message: ModelMessage) -> None:
        """Give a message away until it is answered."""
        (self.front if message in self.front else self.back).remove(message)
        self.held[message.number] = message

    def requeue(self, number: int, *, lost: bool) -> None:
        """Take a message back."""
        message = self.held.pop(number)
        limit = self.settings.delivery_limit
        message.deliveries += self.quorum
        if limit is not None and message.deliveries > limit:
            self.dead.append((number, "delivery_limit"))
            return
        to_front = self.quorum and (lost or limit is not None)
        (self.front if to_front else self.back).append(message)
        self.drop_head()


class QueueMachine(RuleBasedStateMachine):
    """A queue under any order of what can happen to it does what the model does."""

    @initialize(settings=classic | quorum)
    def declare(self, settings: QueueSettings) -> None:
        """Make a queue of any kind."""
        self.clock = FakeClock()
        self.journal = FakeJournal()
        self.memory = Memory(0)
        self.dead: list[tuple[int, str]] = []
        self.delivered: list[int] = []
        self.count = 0
        self.queue = Queue(
            "q",
            settings,
            clock=self.clock,
            journal=self.journal,
            memory=self.memory,
            dead_letter=lambda message, reason, _: self.dead.append((number_of(message), reason)),
        )
        self.model = ModelQueue(settings)
        self.consumers: list[FakeConsumer] = []
        self.getter = FakeConsumer(0)

    def active(self) -> list[FakeConsumer]:
        """Return the consumers that the queue may deliver to."""
        if not self.queue.settings.single_active:
            return self.consumers
        return [consumer for consumer in self.consumers if consumer is self.queue.consumers.active]

    def room(self) -> int:
        """Return how many messages the consumers can take."""
        return sum(consumer.limit - len(consumer.held) for consumer in self.active())

    @rule(
        size=st.integers(0, 3),
        priority=st.integers(0, 3),
        expiration=st.sampled_from([None, None, 0, 50, 200]),
    )
    def publish(self, size: int, priority: int, expiration: int | None) -> None:
        """Publish a message."""
        self.count += 1
        body = str(self.count).encode().ljust(size)
        ttls = [ttl for ttl in (expiration, self.queue.settings.message_ttl) if ttl is not None]
        expires = self.clock.time + min(ttls) / 1000 if ttls else None
        level = min(priority, self.queue.settings.max_priority or 0)
        model = ModelMessage(self.count, len(body), level, expires)
        accepted = self.model.publish(model, self.room())
        message = Message(
            b"\0\0", b"", body, persistent=True, priority=priority, expiration=expiration
        )
        assert self.queue.publish(message) == accepted

    @rule(limit=st.integers(1, 3), priority=st.integers(-1, 1))
    def consume(self, limit: int, priority: int) -> None:
        """Add a consumer."""
        consumer = FakeConsumer(limit, priority=priority)

        def deliver(entry: Entry) -> None:
            others = [other for other in self.active() if other.wants()]
            assert consumer in others
            assert consumer.priority == max(other.priority for other in others)
            consumer.held.append(entry)
            self.delivered.append(number_of(entry.message))

        consumer.deliver = deliver
        self.consumers.append(consumer)
        self.queue.add(consumer)
        self.model.run(self.room())
        self.queue.dispatch()

    @precondition(lambda self: not (self.queue.quorum and self.queue.settings.single_active))
    @rule()
    def get(self) -> None:
        """Take the first message."""
        self.model.run(0)
        waiting = self.model.waiting
        entry = self.queue.take()
        assert (entry is None) == (not waiting)
        if entry is not None:
            assert number_of(entry.message) == waiting[0].number
            self.getter.held.append(entry)
            self.model.hand_out(waiting[0])
            self.model.run(0)

    @precondition(lambda self: any(one.held for one in [*self.consumers, self.getter]))
    @rule(data=st.data(), answer=st.sampled_from(["ack", "reject", "requeue"]))
    def answer(self, data: st.DataObject, answer: str) -> None:
        """Answer any message that is held."""
        holders = [one for one in [*self.consumers, self.getter] if one.held]
        consumer = data.draw(st.sampled_from(holders))
        entry = data.draw(st.sampled_from(consumer.held))
        consumer.held.remove(entry)
        number = number_of(entry.message)
        if answer == "requeue":
            self.queue.requeue(entry)
            self.model.requeue(number, lost=False)
        elif answer == "reject":
            self.queue.reject(entry)
            del self.model.held[number]
            self.model.dead.append((number, "rejected"))
        else:
            self.queue.settle(entry)
            del self.model.held[number]
        if consumer.parked:
            self.queue.unpark(consumer)
        self.model.run(self.room())
        self.queue.dispatch()

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """End a consumer and requeue what it holds, as when its connection drops."""
        consumer = data.draw(st.sampled_from(self.consumers))
        self.consumers.remove(consumer)
        self.queue.remove(consumer)
        for entry in consumer.held:
            self.queue.requeue(entry, lost=True)
            self.model.requeue(number_of(entry.message), lost=True)
        self.model.run(self.room())
        self.queue.dispatch()

    @rule(milliseconds=st.sampled_from([1, 50, 100]))
    def wait(self, milliseconds: int) -> None:
        """Let time pass."""
        self.model.now += milliseconds / 1000
        self.model.run(self.room())
        self.clock.advance(milliseconds)

    @rule()
    def purge(self) -> None:
        """Drop what waits."""
        assert self.queue.purge() == len(self.model.waiting)
        self.model.front, self.model.back = [], []

    @invariant()
    def the_model_agrees(self) -> None:
        """Deliver and lose the same messages in the same order, and let the same ones wait."""
        model, queue = self.model, self.queue
        assert self.delivered == model.delivered
        assert self.dead == model.dead
        assert len(queue) == len(model.waiting)
        assert queue.unacked == len(model.held)
        assert all(len(consumer.held) <= consumer.limit for consumer in self.consumers)

    @invariant()
    def the_books_are_kept(self) -> None:
        """Tell journal and memory of what waits or is held, and of nothing else."""
        here = [*self.model.waiting, *self.model.held.values()]
        assert len(self.journal.positions) == len(here)
        assert self.memory.used == sum(MESSAGE_OVERHEAD + one.size for one in here)

    @invariant()
    def one_consumer_is_active(self) -> None:
        """Have one active consumer as long as there are any, if only one may be active."""
        if self.queue.settings.single_active:
            assert (self.queue.consumers.active in self.consumers) == bool(self.consumers)


def number_of(message: Message) -> int:
    """Return the number of a message of the machine."""
    return int(message.body)


TestQueueMachine = QueueMachine.TestCase


TestQueueMachine.settings = settings(unhurried, max_examples=200)
