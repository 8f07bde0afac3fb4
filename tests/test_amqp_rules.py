"""The broker's rules without a socket: decoding, topics, queues, names."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pamqp import commands, encode, frame, header

from labsvc.amqp.errors import AmqpError, HardError, ReplyCode, SoftError
from labsvc.amqp.exchange import Exchange, topic_matches
from labsvc.amqp.fields import (
    MAX_NESTING,
    Cursor,
    decode_content_header,
    decode_method,
    method_index,
)
from labsvc.amqp.message import Message
from labsvc.amqp.queue import Entry, Queue
from labsvc.amqp.vhost import VHost
from labsvc.amqp.wire import FrameReader, content
from labsvc.amqp.wire import frame as make_frame

if TYPE_CHECKING:
    from collections.abc import Callable

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
    exchange = Exchange("e", "topic")
    queue, other = Queue("q"), Queue("other")
    exchange.bind(queue, "a.*")
    exchange.bind(queue, "#")
    exchange.bind(other, "b.#")
    assert exchange.route("a.x") == exchange.route("a.x") == (queue,)
    exchange.bind(other, "a.x")
    assert set(exchange.route("a.x")) == {queue, other}
    exchange.unbind(queue, "a.*")
    exchange.unbind(queue, "#")
    assert exchange.route("a.x") == (other,)


class FakeConsumer:
    """A consumer that takes up to `limit` messages before it wants an answer."""

    def __init__(self, limit: int, *, exclusive: bool = False) -> None:
        self.parked = False
        self.exclusive = exclusive
        self.no_ack = False
        self.limit = limit
        self.held: list[Entry] = []
        self.got: list[Entry] = []

    def wants(self) -> bool:
        """Whether the limit leaves room."""
        return len(self.held) < self.limit

    def deliver(self, entry: Entry) -> None:
        """Take a message."""
        self.held.append(entry)
        self.got.append(entry)


class QueueMachine(RuleBasedStateMachine):
    """A queue under any order of publish, consume, ack, requeue, cancel and purge.

    The model is a sorted list of what waits.
    """

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue("q")
        self.consumers: list[FakeConsumer] = []
        self.count = 0
        self.waiting: list[int] = []
        self.settled = 0

    def taken(self, before: list[int]) -> None:
        """Check deliveries since `before`: always the oldest that waited."""
        handed = sorted(set(before) - set(self.positions()))
        assert handed == sorted(before)[: len(handed)]
        self.waiting = [place for place in before if place not in handed]

    def positions(self) -> list[int]:
        """Return what waits now, according to who holds what."""
        held = {entry.position for consumer in self.consumers for entry in consumer.held}
        return [place for place in self.waiting if place not in held]

    @rule()
    def publish(self) -> None:
        """Publish a message."""
        self.count += 1
        self.waiting.append(self.count)
        self.queue.push(message(str(self.count)))
        before = self.waiting
        self.queue.dispatch()
        self.taken(before)

    @rule(limit=st.integers(1, 3))
    def consume(self, limit: int) -> None:
        """Add a consumer."""
        consumer = FakeConsumer(limit)
        self.consumers.append(consumer)
        self.queue.add(consumer)
        before = self.waiting
        self.queue.dispatch()
        self.taken(before)

    @precondition(lambda self: any(consumer.held for consumer in self.consumers))
    @rule(data=st.data(), requeue=st.booleans())
    def answer(self, data: st.DataObject, *, requeue: bool) -> None:
        """Ack or requeue any message that is held."""
        holders = [consumer for consumer in self.consumers if consumer.held]
        consumer = data.draw(st.sampled_from(holders))
        entry = data.draw(st.sampled_from(consumer.held))
        consumer.held.remove(entry)
        if requeue:
            self.queue.requeue(entry)
            assert entry.redelivered
            self.waiting = sorted([*self.waiting, entry.position])
        else:
            self.queue.settle()
            self.settled += 1
        if consumer.parked:
            self.queue.unpark(consumer)
        before = self.waiting
        self.queue.dispatch()
        self.taken(before)

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        """End a consumer and requeue what it holds, as when its connection drops."""
        consumer = data.draw(st.sampled_from(self.consumers))
        self.consumers.remove(consumer)
        self.queue.remove(consumer)
        for entry in consumer.held:
            self.queue.requeue(entry)
        self.waiting = sorted([*self.waiting, *(entry.position for entry in consumer.held)])
        before = self.waiting
        self.queue.dispatch()
        self.taken(before)

    @rule()
    def purge(self) -> None:
        """Drop what waits."""
        assert self.queue.purge() == len(self.waiting)
        self.settled += len(self.waiting)
        self.waiting = []

    @invariant()
    def nothing_is_lost(self) -> None:
        """Every message waits, is held, or was settled; held ones respect the limit."""
        held = sum(len(consumer.held) for consumer in self.consumers)
        assert len(self.queue) == len(self.waiting)
        assert self.queue.unacked == held
        assert len(self.waiting) + held + self.settled == self.count
        assert all(len(consumer.held) <= consumer.limit for consumer in self.consumers)

    @invariant()
    def nobody_waits_in_vain(self) -> None:
        """Let a message wait only while no consumer wants one."""
        assert not self.waiting or not any(consumer.wants() for consumer in self.consumers)

    @invariant()
    def first_deliveries_are_in_order(self) -> None:
        """Show a consumer new messages in the order in which they were published."""
        for consumer in self.consumers:
            fresh = [entry.position for entry in consumer.got if not entry.redelivered]
            assert all(first < second for first, second in pairwise(fresh))


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = unhurried


def test_consumers_take_turns() -> None:
    """Messages are spread evenly over consumers that want them."""
    queue = Queue("q")
    consumers = [FakeConsumer(10) for _ in range(3)]
    for consumer in consumers:
        queue.add(consumer)
    for number in range(9):
        queue.push(message(str(number)))
        queue.dispatch()
    assert [len(consumer.held) for consumer in consumers] == [3, 3, 3]


def test_an_exclusive_consumer_stays_alone() -> None:
    """Neither a second consumer beside an exclusive one, nor an exclusive one as second."""
    for first, second in ((True, False), (False, True)):
        queue = Queue("q")
        queue.add(FakeConsumer(1, exclusive=first))
        with pytest.raises(SoftError) as caught:
            queue.add(FakeConsumer(1, exclusive=second))
        assert caught.value.code is ReplyCode.ACCESS_REFUSED


def declare(vhost: VHost, name: str, owner: object = None, **properties: bool) -> Queue:
    """Declare a queue, by default without any property."""
    flags = {"durable": False, "exclusive": False, "auto_delete": False, **properties}
    return vhost.declare_queue(name, owner, **flags)


def exchange(vhost: VHost, name: str, kind: str = "direct", **properties: bool) -> None:
    """Declare an exchange, by default direct and without any property."""
    vhost.declare_exchange(name, kind, **{"durable": False, "auto_delete": False, **properties})


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
        (lambda v: exchange(v, "h", "headers"), ReplyCode.NOT_IMPLEMENTED),
        (lambda v: exchange(v, "h", "nonsense"), ReplyCode.COMMAND_INVALID),
        (lambda v: v.delete_exchange("amq.direct", if_unused=False), ReplyCode.ACCESS_REFUSED),
        (lambda v: v.delete_exchange("", if_unused=False), ReplyCode.ACCESS_REFUSED),
        (lambda v: v.delete_exchange("e", if_unused=True), ReplyCode.PRECONDITION_FAILED),
        (lambda v: v.bind(v.queues["plain"], "", "k"), ReplyCode.ACCESS_REFUSED),
        (lambda v: v.bind(v.queues["plain"], "missing", "k"), ReplyCode.NOT_FOUND),
        (lambda v: v.unbind(v.queues["plain"], "missing", "k"), ReplyCode.NOT_FOUND),
        (lambda v: v.route("missing", "k"), ReplyCode.NOT_FOUND),
        (lambda v: v.delete_queue(v.queues["full"], if_empty=True), ReplyCode.PRECONDITION_FAILED),
        (lambda v: v.delete_queue(v.queues["full"], if_unused=True), ReplyCode.PRECONDITION_FAILED),
    ],
)
def test_what_a_virtual_host_refuses(act: Callable[[VHost], object], code: ReplyCode) -> None:
    """Each broken rule has RabbitMQ's reply code and leaves everything as it was."""
    vhost = VHost()
    declare(vhost, "owned", "owner", exclusive=True)
    full = declare(vhost, "full")
    full.push(message("1"))
    full.push(message("2"))
    full.add(FakeConsumer(1))
    exchange(vhost, "e")
    vhost.bind(declare(vhost, "plain"), "e", "k")
    queues, exchanges = set(vhost.queues), set(vhost.exchanges)
    with pytest.raises(AmqpError) as caught:
        act(vhost)
    assert caught.value.code is code
    assert (set(vhost.queues), set(vhost.exchanges)) == (queues, exchanges)


def test_an_auto_delete_exchange_goes_with_its_last_binding() -> None:
    """Unbinding or deleting the last queue deletes the exchange."""
    vhost = VHost()
    for end in (
        lambda queue: vhost.unbind(queue, "e", "k"),
        vhost.delete_queue,
    ):
        exchange(vhost, "e", auto_delete=True)
        vhost.bind(declare(vhost, "q"), "e", "k")
        end(vhost.queues["q"])
        assert "e" not in vhost.exchanges


def test_a_deleted_exchange_is_forgotten_by_its_queues() -> None:
    """A queue outlives an exchange it was bound to, and can be deleted after it."""
    vhost = VHost()
    exchange(vhost, "e")
    queue = declare(vhost, "q")
    vhost.bind(queue, "e", "k")
    vhost.delete_exchange("e", if_unused=False)
    exchange(vhost, "e")
    assert vhost.route("e", "k") == ()
    assert vhost.delete_queue(queue) == 0


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
