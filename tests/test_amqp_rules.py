"""The broker's rules without a socket: decoding, topics, queues, names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from pamqp import commands, encode, frame, header

from labsvc.amqp.arguments import QueueSettings
from labsvc.amqp.errors import AmqpError, HardError, ReplyCode, SoftError
from labsvc.amqp.fields import (
    MAX_NESTING,
    Cursor,
    decode_content_header,
    decode_method,
    method_index,
)
from labsvc.amqp.journal import Journal
from labsvc.amqp.matching import headers_match, topic_matches
from labsvc.amqp.memory import MESSAGE_OVERHEAD, Memory
from labsvc.amqp.message import Message
from labsvc.amqp.queue import Entry, Queue
from labsvc.amqp.unacked import Unacked
from labsvc.amqp.vhost import VHost
from labsvc.amqp.wire import FrameReader, content
from labsvc.amqp.wire import frame as make_frame

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.amqp.exchange import Exchange

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

words = st.lists(st.sampled_from(["a", "b", ""]), max_size=5)
patterns = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), max_size=5)


def message(text: str) -> Message:
    """Return a message whose body is the text."""
    return Message(b"\0\0", b"", text.encode())


@cache
def model_matches(pattern: tuple[str, ...], key: tuple[str, ...]) -> bool:
    """Say what a topic pattern matches, by recursion on the first word."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return model_matches(pattern[1:], key) or (bool(key) and model_matches(pattern, key[1:]))
    return bool(key) and pattern[0] in ("*", key[0]) and model_matches(pattern[1:], key[1:])


@unhurried
@given(patterns, words)
def test_topic_patterns_match_as_the_model_says(pattern: list[str], key: list[str]) -> None:
    """A topic exchange agrees with a model that is defined word by word."""
    pattern_text, key_text = ".".join(pattern), ".".join(key)
    pattern_words = tuple(pattern_text.split(".")) if pattern_text else ()
    key_words = tuple(key_text.split(".")) if key_text else ()
    assert topic_matches(pattern_text, key_text) == model_matches(pattern_words, key_words)


def test_a_pattern_of_many_hashes_is_no_trap() -> None:
    """Matching takes time in proportion to pattern and key, not exponential time."""
    assert not topic_matches("#.a." * 40 + "b", "a." * 80 + "c")


def test_an_exchange_routes_to_each_queue_once() -> None:
    """Two bindings that match the same message deliver it once, also from the cache."""
    vhost = VHost()
    exchange(vhost, "e", "topic")
    queue, other = declare(vhost, "q"), declare(vhost, "other")
    bind(vhost, queue, "e", "a.*")
    bind(vhost, queue, "e", "#")
    bind(vhost, other, "e", "b.#")
    assert route(vhost, "e", "a.x") == route(vhost, "e", "a.x") == ["q"]
    bind(vhost, other, "e", "a.x")
    assert route(vhost, "e", "a.x") == ["other", "q"]
    unbind(vhost, queue, "e", "a.*")
    unbind(vhost, queue, "e", "#")
    assert route(vhost, "e", "a.x") == ["other"]


class FakeConsumer:
    """A consumer that takes up to `limit` messages before it wants an answer."""

    def __init__(self, limit: int, *, exclusive: bool = False, priority: int = 0) -> None:
        self.parked = False
        self.exclusive = exclusive
        self.no_ack = False
        self.priority = priority
        self.limit = limit
        self.held: list[Entry] = []
        self.deliver: Callable[[Entry], None] = self.held.append

    def wants(self) -> bool:
        """Whether the limit leaves room."""
        return len(self.held) < self.limit


class FakeClock:
    """A clock that is moved by hand, with its timers."""

    def __init__(self) -> None:
        self.time = 0.0
        self.timers: list[FakeTimer] = []

    def now(self) -> float:
        """Return the time."""
        return self.time

    def call_at(self, when: float, act: Callable[[], None]) -> FakeTimer:
        """Call `act` when the clock gets there."""
        timer = FakeTimer(when, act, self.timers)
        self.timers.append(timer)
        return timer

    def advance(self, milliseconds: int) -> None:
        """Move on, and call what is due."""
        self.time += milliseconds / 1000
        while due := [timer for timer in self.timers if timer.when <= self.time]:
            first = min(due, key=lambda timer: timer.when)
            first.cancel()
            first.act()


class FakeTimer:
    """A call that is due at a time."""

    def __init__(self, when: float, act: Callable[[], None], timers: list[FakeTimer]) -> None:
        self.when = when
        self.act = act
        self.timers = timers

    def cancel(self) -> None:
        """Do not call."""
        if self in self.timers:
            self.timers.remove(self)


class FakeJournal(Journal):
    """Knows which messages are in the queue: the positions that entered and did not leave."""

    def __init__(self) -> None:
        self.positions: set[int] = set()

    def entered(self, _queue: Queue, entry: Entry) -> None:
        """Note a message."""
        assert entry.position not in self.positions
        self.positions.add(entry.position)

    def left(self, _queue: Queue, entry: Entry) -> None:
        """Forget a message."""
        self.positions.remove(entry.position)


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
        return [consumer for consumer in self.consumers if consumer is self.queue.active]

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
            assert (self.queue.active in self.consumers) == bool(self.consumers)


def number_of(message: Message) -> int:
    """Return the number of a message of the machine."""
    return int(message.body)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(unhurried, max_examples=200)


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


def declare(vhost: VHost, name: str, owner: object = None, **properties: Any) -> Queue:
    """Declare a queue, by default without any property."""
    return vhost.declare_queue(name, owner, **properties)


def exchange(vhost: VHost, name: str, kind: str = "direct", **properties: Any) -> Exchange:
    """Declare an exchange, by default direct and without any property."""
    vhost.exchanges.declare(name, kind, **properties)
    return vhost.exchanges.get(name)


def bind(
    vhost: VHost,
    to: Queue | Exchange,
    source: str,
    key: str,
    arguments: dict[str, Any] | None = None,
) -> None:
    """Bind a queue or an exchange."""
    vhost.exchanges.bind(source, to, key, arguments or {})


def unbind(vhost: VHost, to: Queue | Exchange, source: str, key: str) -> None:
    """Unbind a queue or an exchange."""
    vhost.exchanges.unbind(source, to, key, {})


def route(vhost: VHost, name: str, *keys: str, **headers: Any) -> list[str]:
    """Return the names of the queues that a published message goes to, sorted."""
    return sorted(queue.name for queue in vhost.exchanges.router.publish(name, keys, headers))


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda v: v.queue("missing", None), ReplyCode.NOT_FOUND),
        (lambda v: v.queue("owned", "another"), ReplyCode.RESOURCE_LOCKED),
        (lambda v: declare(v, "owned", "another", exclusive=True), ReplyCode.RESOURCE_LOCKED),
        (lambda v: declare(v, "plain", exclusive=True), ReplyCode.RESOURCE_LOCKED),
        (lambda v: declare(v, "plain", durable=True), ReplyCode.PRECONDITION_FAILED),
        (lambda v: declare(v, "plain", auto_delete=True), ReplyCode.PRECONDITION_FAILED),
        (lambda v: declare(v, "amq.mine"), ReplyCode.ACCESS_REFUSED),
        (lambda v: exchange(v, "e", "fanout"), ReplyCode.PRECONDITION_FAILED),
        (lambda v: exchange(v, "e", durable=True), ReplyCode.PRECONDITION_FAILED),
        (lambda v: exchange(v, "amq.mine"), ReplyCode.ACCESS_REFUSED),
        (lambda v: exchange(v, ""), ReplyCode.ACCESS_REFUSED),
        (lambda v: exchange(v, "h", "nonsense"), ReplyCode.COMMAND_INVALID),
        (
            lambda v: exchange(v, "h", arguments={"alternate-exchange": 1}),
            ReplyCode.PRECONDITION_FAILED,
        ),
        (
            lambda v: bind(v, v.queues["plain"], "amq.match", "", {"x-match": b"most"}),
            ReplyCode.PRECONDITION_FAILED,
        ),
        (
            lambda v: bind(v, v.queues["plain"], "amq.headers", "", {"x-match": 1}),
            ReplyCode.PRECONDITION_FAILED,
        ),
        (lambda v: route(v, "internal", "k"), ReplyCode.ACCESS_REFUSED),
        (lambda v: v.exchanges.delete("amq.direct"), ReplyCode.ACCESS_REFUSED),
        (lambda v: v.exchanges.delete(""), ReplyCode.ACCESS_REFUSED),
        (lambda v: v.exchanges.delete("e", if_unused=True), ReplyCode.PRECONDITION_FAILED),
        (lambda v: bind(v, v.queues["plain"], "", "k"), ReplyCode.ACCESS_REFUSED),
        (lambda v: bind(v, v.queues["plain"], "missing", "k"), ReplyCode.NOT_FOUND),
        (lambda v: unbind(v, v.queues["plain"], "", "k"), ReplyCode.ACCESS_REFUSED),
        (lambda v: route(v, "missing", "k"), ReplyCode.NOT_FOUND),
        (lambda v: v.delete_queue(v.queues["full"], if_empty=True), ReplyCode.PRECONDITION_FAILED),
        (lambda v: v.delete_queue(v.queues["full"], if_unused=True), ReplyCode.PRECONDITION_FAILED),
    ],
)
def test_what_a_virtual_host_refuses(act: Callable[[VHost], object], code: ReplyCode) -> None:
    """Each broken rule has RabbitMQ's reply code and leaves everything as it was."""
    vhost = VHost()
    declare(vhost, "owned", "owner", exclusive=True)
    full = declare(vhost, "full")
    full.publish(message("1"))
    full.publish(message("2"))
    full.add(FakeConsumer(1))
    exchange(vhost, "e")
    exchange(vhost, "internal", internal=True)
    bind(vhost, declare(vhost, "plain"), "e", "k")
    queues, exchanges = set(vhost.queues), set(vhost.exchanges)
    with pytest.raises(AmqpError) as caught:
        act(vhost)
    assert caught.value.code is code
    assert (set(vhost.queues), set(vhost.exchanges)) == (queues, exchanges)


def test_an_auto_delete_exchange_goes_with_its_last_binding() -> None:
    """Unbinding or deleting the last queue deletes the exchange."""
    vhost = VHost()
    for end in (
        lambda queue: unbind(vhost, queue, "e", "k"),
        vhost.delete_queue,
    ):
        exchange(vhost, "e", auto_delete=True)
        bind(vhost, declare(vhost, "q"), "e", "k")
        end(vhost.queues["q"])
        assert "e" not in vhost.exchanges


def test_a_deleted_exchange_is_forgotten_by_its_queues() -> None:
    """A queue outlives an exchange it was bound to, and can be deleted after it."""
    vhost = VHost()
    exchange(vhost, "e")
    queue = declare(vhost, "q")
    bind(vhost, queue, "e", "k")
    vhost.exchanges.delete("e")
    exchange(vhost, "e")
    assert route(vhost, "e", "k") == []
    assert vhost.delete_queue(queue) == 0


@pytest.mark.parametrize(
    ("wanted", "headers", "matches"),
    [
        ({}, {}, True),
        ({"x-match": b"any"}, {"a": 1}, False),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}, True),
        ({"a": 1, "b": 2}, {"b": 2}, False),
        ({"x-match": b"any", "a": 1, "b": 2}, {"b": 2}, True),
        ({"a": None}, {"a": 5}, True),
        ({"a": None}, {"b": 5}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, True),
        ({"a": [1]}, {"a": [True]}, False),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}, False),
        ({"x-b": 1}, {}, True),
        ({"x-match": b"any", "x-b": 1}, {"x-b": 1}, False),
        ({"x-match": b"all-with-x", "x-b": 1}, {}, False),
        ({"x-match": b"all-with-x", "x-b": 1}, {"x-b": 1}, True),
        ({"x-match": b"any-with-x", "x-b": 1}, {"x-b": 1}, True),
    ],
)
def test_headers_match_as_in_rabbitmq(
    wanted: dict[str, Any], headers: dict[str, Any], *, matches: bool
) -> None:
    """Each row was tried on RabbitMQ 3.10."""
    assert headers_match(wanted, headers) is matches


def test_a_headers_exchange_looks_at_each_message() -> None:
    """The same key goes elsewhere with other headers: nothing is taken from the cache."""
    vhost = VHost()
    exchange(vhost, "e")
    bind(vhost, exchange(vhost, "h", "headers"), "e", "k")
    bind(vhost, declare(vhost, "red"), "h", "", {"colour": b"red"})
    bind(vhost, declare(vhost, "blue"), "h", "", {"colour": b"blue"})
    assert route(vhost, "e", "k", colour=b"red") == ["red"]
    assert route(vhost, "e", "k", colour=b"blue") == ["blue"]
    assert route(vhost, "e", "k") == []


def test_bindings_lead_from_exchange_to_exchange() -> None:
    """A circle ends, a queue that is reached twice gets one message, unbinding cuts the way."""
    vhost = VHost()
    first, second = exchange(vhost, "first", "fanout"), exchange(vhost, "second", "fanout")
    bind(vhost, second, "first", "")
    bind(vhost, first, "second", "")
    queue = declare(vhost, "q")
    bind(vhost, queue, "first", "")
    bind(vhost, queue, "second", "")
    assert route(vhost, "first", "k") == route(vhost, "second", "k") == ["q"]
    unbind(vhost, queue, "first", "")
    assert route(vhost, "first", "k") == ["q"]
    unbind(vhost, second, "first", "")
    assert route(vhost, "first", "k") == []


def test_an_alternate_exchange_takes_what_matches_nothing() -> None:
    """It may be internal, be missing for a while, or point back: a circle ends."""
    vhost = VHost()
    exchange(vhost, "e", arguments={"alternate-exchange": b"spare"})
    bind(vhost, declare(vhost, "known"), "e", "k")
    assert route(vhost, "e", "other") == []
    exchange(vhost, "spare", "fanout", internal=True, arguments={"alternate-exchange": b"e"})
    assert route(vhost, "e", "other") == []
    bind(vhost, declare(vhost, "lost"), "spare", "")
    assert route(vhost, "e", "other") == ["lost"]
    assert route(vhost, "e", "k") == ["known"]
    exchange(vhost, "d", arguments={"alternate-exchange": b""})
    assert route(vhost, "d", "late") == []
    declare(vhost, "late")
    assert route(vhost, "d", "late") == ["late"]


def test_copies_go_to_each_queue_once() -> None:
    """All keys of a message count, and only if none of them matches its alternate exchange."""
    vhost = VHost()
    exchange(vhost, "spare", "fanout")
    exchange(vhost, "e", arguments={"alternate-exchange": b"spare"})
    for name in ("a", "b"):
        bind(vhost, declare(vhost, name), "e", name)
    bind(vhost, declare(vhost, "lost"), "spare", "")
    assert route(vhost, "e", "a", "b", "a", "none") == ["a", "b"]
    assert route(vhost, "", "a", "b", "a", "none") == ["a", "b"]
    assert route(vhost, "e", "none", "neither") == ["lost"]


def test_bindings_with_other_arguments_are_others() -> None:
    """Each is added, and removed, on its own; a binding made twice is one."""
    vhost = VHost()
    queue = declare(vhost, "q")
    exchange(vhost, "h", "headers")
    for value in (1, True, 1):
        bind(vhost, queue, "h", "", {"a": value})
    assert len(vhost.exchanges.get("h")) == 2
    vhost.exchanges.unbind("h", queue, "", {"a": True})
    assert route(vhost, "h", "", a=1) == ["q"]
    assert route(vhost, "h", "", a=True) == []


def test_auto_delete_exchanges_go_one_after_another() -> None:
    """The last binding of one goes, so it goes, and with it the last binding of the next."""
    vhost = VHost()
    outer = exchange(vhost, "outer", "fanout", auto_delete=True)
    inner = exchange(vhost, "inner", "fanout", auto_delete=True)
    bind(vhost, inner, "outer", "")
    bind(vhost, declare(vhost, "q"), "inner", "")
    assert (len(outer), len(inner)) == (1, 1)
    vhost.delete_queue(vhost.queues["q"])
    assert "inner" not in vhost.exchanges
    assert "outer" not in vhost.exchanges


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({}, {"internal": True}, "'internal' .*: received 'true' but current is 'false'"),
        ({}, {"arguments": {"alternate-exchange": b"x"}}, "received the value 'x' of type 'long"),
        ({"arguments": {"alternate-exchange": b"x"}}, {}, "received none but current is the val"),
        ({}, {"arguments": {"alternate-exchange": 1}}, "inequivalent arg 'alternate-exchange'"),
        ({}, {"arguments": {"x-new": 1}}, "argument 'x-new' for exchange 'e' in vhost '/' is not"),
    ],
)
def test_a_declaration_is_compared_with_the_exchange(
    first: dict[str, Any], second: dict[str, Any], text: str
) -> None:
    """406 if it differs in what matters; the same declaration again is fine."""
    vhost = VHost()
    for _ in range(2):
        exchange(vhost, "e", **first)
    with pytest.raises(SoftError, match=text) as caught:
        exchange(vhost, "e", **second)
    assert caught.value.code is ReplyCode.PRECONDITION_FAILED


def test_what_was_taken_out_can_be_put_back() -> None:
    """A rolled back answer leaves the deliveries in order, and counted as before."""
    unacked, queue = Unacked(), Queue("q")
    tags = [unacked.add(Entry(message(str(n)), n), queue, None) for n in range(4)]
    taken = unacked.take(tags[2], multiple=True)
    assert [delivery.tag for delivery in taken] == tags[:3]
    unacked.put_back(taken[:2])
    assert [delivery.tag for delivery in unacked.take(0, multiple=True)] == [*tags[:2], tags[3]]
    assert len(unacked) == 0


@unhurried
@given(st.data())
def test_frames_survive_any_cut(data: st.DataObject) -> None:
    """Frames come out the same however the bytes were cut in transit."""
    frames = data.draw(
        st.lists(st.tuples(st.integers(1, 8), st.integers(0, 9), st.binary(max_size=40)))
    )
    stream = b"".join(make_frame(*parts) for parts in frames)
    reader = FrameReader(4096)
    seen = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        reader.feed(stream[:size])
        stream = stream[size:]
        while (parts := reader.take()) is not None:
            seen.append(parts)
    assert seen == frames


@unhurried
@given(st.binary(max_size=5000), st.integers(4096, 8192))
def test_a_long_body_is_cut_into_frames(body: bytes, frame_max: int) -> None:
    """No frame of a message is larger than the client allows, and pamqp can read them all."""
    head = header.ContentHeader(0, len(body)).marshal()
    stream = content(3, Message(b"\0\0", head, body * 3), frame_max)
    bodies = []
    while stream:
        size, channel, value = frame.unmarshal(stream)
        assert (size <= frame_max, channel) == (True, 3)
        bodies.append(value)
        stream = stream[size:]
    assert b"".join(part.value for part in bodies[1:]) == body * 3


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=8)
    | st.binary(max_size=8).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def plain(value: object) -> object:
    """Turn strings and byte arrays into bytes: a long string is bytes to AMQP."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, bytearray) else value


@unhurried
@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_tables_decode_as_pamqp_encodes_them(table: dict[str, object]) -> None:
    """Every value in a field table comes out as it went in."""
    data = encode.field_table(table)
    assert Cursor(data).table() == plain(table)


METHODS = [
    commands.Queue.Declare(queue="q", durable=True, nowait=True, arguments={"x": 1}),
    commands.Queue.Bind(queue="q", exchange="e", routing_key="k"),
    commands.Exchange.Declare(exchange="e", exchange_type="topic", auto_delete=True),
    commands.Basic.Consume(queue="q", consumer_tag="t", no_ack=True, exclusive=True),
    commands.Basic.Nack(delivery_tag=2**40, multiple=True, requeue=False),
    commands.Basic.Qos(prefetch_count=7, global_=True),
    commands.Connection.TuneOk(10, 4096, 60),
]


def payload_of(method: object) -> bytes:
    """Return the payload of the frame that pamqp makes."""
    return frame.marshal(method, 1)[7:-1]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_methods_decode_as_pamqp_encodes_them(method: commands.base.Frame) -> None:
    """Every argument arrives, bits included."""
    payload = payload_of(method)
    decoded = decode_method(payload)
    assert dict(decoded) == dict(method)
    assert method_index(payload) == method.index


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_cut_or_padded_method_is_a_frame_error(method: commands.base.Frame) -> None:
    """A method that lacks bytes, or has too many, is refused at every length."""
    payload = payload_of(method)
    for wrong in [payload[:size] for size in range(len(payload))] + [payload + b"\0"]:
        with pytest.raises(HardError) as caught:
            decode_method(wrong)
        assert caught.value.code in (ReplyCode.FRAME_ERROR, ReplyCode.NOT_IMPLEMENTED)


@unhurried
@given(st.binary(max_size=200))
def test_decoding_raises_nothing_but_protocol_errors(data: bytes) -> None:
    """Whatever the bytes, decoding answers or raises a HardError."""
    decoders: list[Callable[[bytes], object]] = [
        decode_method,
        decode_content_header,
        lambda part: decode_content_header(b"\0\x3c" + part),
        lambda part: Cursor(part).table(),
    ]
    known = [payload_of(method)[:4] for method in METHODS]
    decoders += [lambda part, start=start: decode_method(start + part) for start in known]
    for decode in decoders:
        try:
            decode(data)
        except HardError as error:
            assert error.reply_text  # noqa: PT017  # answering is fine too


def test_nesting_is_bounded() -> None:
    """Tables within tables end with a frame error, not with a RecursionError."""
    deep: dict[str, object] = {}
    for _ in range(MAX_NESTING - 1):
        deep = {"": deep}
    Cursor(encode.field_table(deep)).table()
    with pytest.raises(HardError, match="nested"):
        Cursor(encode.field_table({"": deep})).table()


def test_reply_texts_fit_their_field() -> None:
    """A reply text is cut at 255 bytes, between characters."""
    text = SoftError(ReplyCode.NOT_FOUND, "ü" * 300).reply_text
    assert len(text.encode()) in (254, 255)
    assert text.startswith("NOT_FOUND - ü")
