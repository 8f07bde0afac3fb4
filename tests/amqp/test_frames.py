"""The broker against raw sockets: garbage, limits, silence. It closes one connection only."""

from __future__ import annotations

import logging
import socket
import struct
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pika
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pamqp import commands, frame, header
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Confirm, Connection, Exchange, Queue
from pamqp.heartbeat import Heartbeat

from labsvc.amqp import Broker
from tests.amqp.tools import quiet_loop
from tests.engines.raw import CAPABILITIES, HEADER, Raw, envelope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labsvc.loop import Loop


@pytest.fixture(scope="module")
def loop() -> Iterator[Loop]:
    """Run a loop that must not log anything."""
    with quiet_loop() as loop:
        yield loop


@pytest.fixture(scope="module")
def broker(loop: Loop) -> Iterator[Broker]:
    """Run a broker for all tests of this module: none of them may harm it."""
    broker = Broker("learner", "secret")
    loop.run(broker.start())
    yield broker
    loop.run(broker.stop())


@pytest.fixture
def raw(broker: Broker) -> Iterator[Raw]:
    """Connect a raw client."""
    with Raw(broker.url) as client:
        yield client


@pytest.fixture(scope="module")
def good(broker: Broker) -> Iterator[Callable[[], None]]:
    """Return a function by which a well-behaved client proves that it is served."""
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    channel = connection.channel()
    channel.queue_declare("good", exclusive=True)

    def served() -> None:
        channel.basic_publish("", "good", b"hello")
        assert channel.basic_get("good", auto_ack=True)[2] == b"hello"

    yield served
    connection.close()


# The handshake


@pytest.mark.parametrize(
    "wrong", [b"GET / HTTP/1.1\r\n\r\n", b"AMQP\x00\x01\x00\x00", b"AMQP\x03", b"\0" * 64]
)
def test_a_wrong_protocol_header_is_answered_with_ours(
    raw: Raw, good: Callable[[], None], wrong: bytes
) -> None:
    """Another protocol or version gets the header of AMQP 0-9-1, and the connection closes."""
    raw.send(wrong)
    assert not raw.read(9)
    assert not raw.reset
    assert raw.buffer == HEADER
    good()


def test_a_wrong_password_is_refused(raw: Raw, good: Callable[[], None]) -> None:
    """The client learns 403 ACCESS_REFUSED; its method is named by class and method."""
    raw.send(HEADER, (0, Connection.StartOk(CAPABILITIES, response="\0learner\0wrong")))
    raw.expect(Connection.Start)
    close = raw.expect(Connection.Close)
    assert (close.reply_code, close.class_id, close.method_id) == (403, 0, 0)
    assert close.reply_text.startswith("ACCESS_REFUSED - ")
    raw.send((0, Connection.CloseOk()))
    assert raw.rest() == []
    good()


def test_a_client_that_cannot_be_told_is_just_closed(raw: Raw) -> None:
    """Without authentication_failure_close a refused login ends without a word."""
    raw.send(HEADER, (0, Connection.StartOk(response="\0learner\0wrong")))
    raw.expect(Connection.Start)
    assert raw.rest() == []


@pytest.mark.parametrize(
    "method",
    [
        Connection.Open(),
        Connection.StartOk(CAPABILITIES, mechanism="EXTERNAL"),
        Channel.Open(),
    ],
)
def test_the_handshake_has_an_order(raw: Raw, method: Any) -> None:
    """A method that is not due, or an unknown mechanism, closes the connection."""
    raw.send(HEADER, (0, method))
    raw.expect(Connection.Start)
    assert raw.expect(Connection.Close).reply_code == 504


@pytest.mark.parametrize("limits", [(0, 4096), (2048, 4096), (1, 4095), (1, 0), (1, 131073)])
def test_limits_above_ours_are_not_allowed(raw: Raw, limits: tuple[int, int]) -> None:
    """A client cannot tune channel_max or frame_max out of bounds."""
    raw.send(HEADER, (0, Connection.StartOk(CAPABILITIES, response="\0learner\0secret")))
    raw.send((0, Connection.TuneOk(*limits, 0)))
    raw.expect(Connection.Start)
    tune = raw.expect(Connection.Tune)
    assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)
    assert raw.expect(Connection.Close).reply_code == 530


def test_an_unknown_virtual_host_is_not_allowed(raw: Raw) -> None:
    """Only / exists."""
    raw.send(HEADER, (0, Connection.StartOk(CAPABILITIES, response="\0learner\0secret")))
    raw.send((0, Connection.TuneOk(10, 4096, 0)), (0, Connection.Open("elsewhere")))
    raw.expect(Connection.Start)
    raw.expect(Connection.Tune)
    assert raw.expect(Connection.Close).reply_code == 530


def test_a_frame_before_login_is_small(raw: Raw) -> None:
    """Nobody can make the broker buffer a large frame before they have logged in."""
    raw.send(HEADER, struct.pack(">BHI", 1, 0, 100_000))
    raw.expect(Connection.Start)
    assert raw.expect(Connection.Close).reply_code == 501
    assert raw.rest() == []


# Frames


PUBLISH = frame.marshal(Basic.Publish(routing_key="good"), 1)
BAD_FRAMES = {
    "oversized": (struct.pack(">BHI", 3, 1, 200_000), 501),
    "no end octet": (envelope(1, 1, b"\0\x3c\0\x0a", b"\0"), 501),
    "unknown type": (envelope(7, 1, b"payload"), 501),
    "heartbeat with payload": (envelope(8, 0, b"payload"), 501),
    "heartbeat on a channel": (envelope(8, 1, b""), 505),
    "empty method": (envelope(1, 1, b""), 501),
    "cut method": (envelope(1, 1, b"\0\x32\0\x0a\0\0\x05ab"), 501),
    "cut publish": (envelope(1, 1, b"\0\x3c\0\x28\0\0\x05ab"), 501),
    "name not UTF-8": (envelope(1, 1, b"\0\x3c\0\x28\0\0\x00\x02\xff\xfe\0"), 501),
    "unknown method": (envelope(1, 1, b"\0\x63\0\x63"), 540),
    "header out of place": (envelope(2, 1, b"\0\x3c" + bytes(12)), 505),
    "body out of place": (envelope(3, 1, b"body"), 505),
    "content on channel 0": (envelope(3, 0, b"body"), 505),
    "channel never opened": (frame.marshal(Basic.Get(queue="good"), 9), 504),
    "channel opened twice": (frame.marshal(Channel.Open(), 1), 504),
    "queue method on channel 0": (frame.marshal(Queue.Declare(queue="q"), 0), 504),
    "connection method on a channel": (frame.marshal(Connection.Open(), 1), 503),
    "method instead of a header": (PUBLISH + frame.marshal(Basic.Get(queue="good"), 1), 505),
    "body instead of a header": (PUBLISH + envelope(3, 1, b"body"), 505),
    "header of another class": (PUBLISH + envelope(2, 1, b"\0\x0a" + bytes(12)), 505),
    "cut header": (PUBLISH + envelope(2, 1, b"\0\x3c" + bytes(9)), 501),
    "unknown property": (PUBLISH + envelope(2, 1, b"\0\x3c" + bytes(10) + b"\0\x02"), 541),
    "cut property": (PUBLISH + envelope(2, 1, b"\0\x3c" + bytes(10) + b"\x80\0\x09abc"), 501),
    "longer than announced": (
        PUBLISH + frame.marshal(header.ContentHeader(0, 3), 1) + envelope(3, 1, b"body"),
        501,
    ),
}


@pytest.mark.parametrize(("data", "code"), BAD_FRAMES.values(), ids=BAD_FRAMES.keys())
def test_a_bad_frame_closes_its_connection_alone(
    raw: Raw, good: Callable[[], None], data: bytes, code: int
) -> None:
    """The client learns the reply code, the broker and its other clients go on."""
    raw.log_in()
    raw.open_channel()
    raw.send(data)
    close = raw.expect(Connection.Close)
    assert close.reply_code == code
    raw.send((0, Connection.CloseOk()))
    assert raw.rest() == []
    good()


def test_the_close_names_the_method_that_caused_it(raw: Raw) -> None:
    """Class and method are those of the frame that was refused."""
    raw.log_in()
    raw.open_channel()
    raw.send((1, Basic.Recover(requeue=False)))
    close = raw.expect(Connection.Close)
    assert (close.reply_code, close.class_id, close.method_id) == (540, 60, 110)


UNSUPPORTED = [
    (Channel.Flow(active=False), 540),
    (Basic.Qos(prefetch_size=1), 540),
    (Basic.Publish(immediate=True), 540),
    (Basic.Recover(requeue=False), 540),
    (Queue.Declare(queue="new", arguments={"x-invented": 1}), 406),
    (Queue.Declare(queue="new", arguments={"x-cancel-on-ha-failover": True}), 406),
    (Exchange.Declare(exchange="e", arguments={"x-invented": 1}), 406),
    (Basic.Consume(queue="q", arguments={"x-invented": 1}), 406),
]


@pytest.mark.parametrize(
    ("method", "code"), UNSUPPORTED, ids=[f"{method.name}-{code}" for method, code in UNSUPPORTED]
)
def test_what_is_not_supported_is_refused(raw: Raw, method: Any, code: int) -> None:
    """No flag, argument or method is accepted and then ignored."""
    raw.log_in()
    raw.open_channel()
    raw.send((1, Queue.Declare(queue="q", exclusive=True)))
    raw.expect(Queue.DeclareOk)
    raw.send((1, method))
    close = raw.expect(Channel.Close if code == 406 else Connection.Close)
    assert (close.reply_code, close.class_id, close.method_id) == (
        code,
        method.index >> 16,
        method.frame_id,
    )


@pytest.mark.parametrize(
    "properties",
    [
        Basic.Properties(expiration="soon"),
        Basic.Properties(headers={"CC": "other"}),
        Basic.Properties(headers={"BCC": 1}),
        Basic.Properties(user_id="somebody"),
    ],
)
def test_properties_that_cannot_be_honoured_are_refused(
    raw: Raw, properties: Basic.Properties
) -> None:
    """A message that asks for more than it would get is not accepted."""
    raw.log_in()
    raw.open_channel()
    raw.send((1, Basic.Publish(routing_key="good")), (1, header.ContentHeader(0, 0, properties)))
    close = raw.expect(Channel.Close)
    assert (close.reply_code, close.class_id, close.method_id) == (406, 60, 40)


def test_a_message_above_16_mib_closes_the_channel(raw: Raw) -> None:
    """The size is refused when it is announced; the channel's other frames are dropped."""
    raw.log_in()
    raw.open_channel()
    raw.send((1, Basic.Publish(routing_key="good")), (1, header.ContentHeader(0, 2**24 + 1)))
    raw.send((1, ContentBody(b"x" * 1000)), (1, Basic.Get(queue="good")))
    assert raw.expect(Channel.Close).reply_code == 406
    raw.send((1, Channel.CloseOk()), (1, Channel.Open()))
    raw.expect(Channel.OpenOk)


def test_a_close_that_crosses_ours_is_answered(raw: Raw) -> None:
    """Both sides close a channel at once; its number is free again after close-ok."""
    raw.log_in()
    raw.open_channel()
    raw.send((1, Queue.Declare(queue="no", passive=True)), (1, Channel.Close(200, "bye", 0, 0)))
    assert raw.expect(Channel.Close).reply_code == 404
    raw.expect(Channel.CloseOk)
    raw.send((1, Channel.CloseOk()), (1, Channel.Open()))
    raw.expect(Channel.OpenOk)


def test_nowait_gets_no_answer(raw: Raw) -> None:
    """Methods with nowait are carried out in silence."""
    raw.log_in()
    raw.open_channel()
    raw.send(
        (1, Queue.Declare(queue="quiet", exclusive=True, nowait=True)),
        (1, Exchange.Declare(exchange="loud", auto_delete=True, nowait=True)),
        (1, Queue.Bind(exchange="loud", nowait=True)),  # the last queue, under its own name
        (1, Confirm.Select(nowait=True)),
        (1, Basic.Publish(exchange="loud", routing_key="quiet")),
        (1, header.ContentHeader(0, 0)),
    )
    ack = raw.expect(Basic.Ack)
    assert (ack.delivery_tag, ack.multiple) == (1, False)
    raw.send((1, Basic.Get(queue="quiet")))
    assert raw.expect(Basic.GetOk).routing_key == "quiet"


def test_a_burst_is_confirmed_with_multiple(raw: Raw) -> None:
    """Publishes that arrive together are confirmed together, none left out."""
    raw.log_in()
    raw.open_channel()
    raw.send((1, Confirm.Select()))
    raw.expect(Confirm.SelectOk)
    one = (1, Basic.Publish(routing_key="nobody")), (1, header.ContentHeader(0, 0))
    raw.send(*one * 100)
    acks = [raw.expect(Basic.Ack)]
    while acks[-1].delivery_tag < 100:
        acks.append(raw.expect(Basic.Ack))
    before = 0
    for ack in acks:
        assert ack.multiple == (ack.delivery_tag > before + 1)
        before = ack.delivery_tag
    assert before == 100


def test_names_that_pamqp_would_refuse_are_allowed(raw: Raw) -> None:
    """A queue name is any UTF-8 text, as in RabbitMQ."""
    raw.log_in()
    raw.open_channel()
    name = "Aufträge|1".encode()
    raw.send(envelope(1, 1, b"\0\x32\0\x0a\0\0" + bytes((len(name),)) + name + b"\x04" + bytes(4)))
    assert raw.expect(Queue.DeclareOk).queue == "Aufträge|1"


# Time and space


def test_a_silent_peer_is_dropped(raw: Raw, broker: Broker, good: Callable[[], None]) -> None:
    """A client that sends no heartbeat gets some, then loses the connection and its queue."""
    raw.log_in(heartbeat=1)
    raw.open_channel()
    raw.send((1, Queue.Declare(queue="silent", exclusive=True)))
    raw.expect(Queue.DeclareOk)
    assert "silent" in broker.stats.queues
    started = time.monotonic()
    beats = raw.rest()
    assert beats
    assert {type(beat) for beat in beats} == {Heartbeat}
    assert time.monotonic() - started >= 1
    assert "silent" not in broker.stats.queues
    good()


def test_a_peer_that_beats_is_kept(raw: Raw) -> None:
    """A client with nothing to say stays connected as long as it sends heartbeats."""
    raw.log_in(heartbeat=1)
    for _ in range(6):
        raw.send((0, Heartbeat()))
        received = raw.receive()
        assert received is not None
        assert type(received[1]) is Heartbeat
    raw.open_channel()


def test_a_client_that_does_not_read_stops_nobody(
    raw: Raw, broker: Broker, good: Callable[[], None]
) -> None:
    """Deliveries wait in the queue, not in memory for one socket; others are served."""
    count, size = 400, 100_000
    raw.log_in()
    raw.open_channel()
    raw.send(
        (1, Queue.Declare(queue="slow", exclusive=True)),
        (1, Basic.Consume(queue="slow", no_ack=True)),
    )
    raw.expect(Queue.DeclareOk)
    raw.expect(Basic.ConsumeOk)
    with closing(pika.BlockingConnection(pika.URLParameters(broker.url))) as connection:
        publisher = connection.channel()
        publisher.confirm_delivery()
        for _ in range(count):
            publisher.basic_publish("", "slow", b"x" * size)
        assert broker.stats.queues["slow"].ready > count // 2
        good()
        received = 0
        while received < count * size:
            value = raw.receive()
            assert value is not None
            received += len(value[1]) if isinstance(value[1], ContentBody) else 0
        assert broker.stats.queues["slow"].ready == 0


def test_requests_of_a_client_that_does_not_read_wait_too(
    raw: Raw, broker: Broker, good: Callable[[], None]
) -> None:
    """Answers are not piled up without bound: the broker stops to read, then goes on."""
    count, size = 300, 100_000
    raw.log_in()
    raw.open_channel()
    publish = (
        (1, Basic.Publish(routing_key="big")),
        (1, header.ContentHeader(0, size)),
        (1, ContentBody(b"x" * size)),
    )
    raw.send((1, Queue.Declare(queue="big", exclusive=True)))
    raw.expect(Queue.DeclareOk)
    published = broker.stats.published + count
    raw.send(*publish * count)
    raw.send(*[(1, Basic.Get(queue="big", no_ack=True))] * count)
    while broker.stats.published < published:
        time.sleep(0.01)
    for _ in range(20):
        good()
    assert broker.stats.queues["big"].ready > count // 4
    for _ in range(count):
        raw.expect(Basic.GetOk)
        raw.expect(header.ContentHeader)
        raw.expect(ContentBody)
    raw.send((1, Basic.Get(queue="big")))
    raw.expect(Basic.GetEmpty)


def test_a_drop_requeues_what_was_sent_but_not_acked(raw: Raw, broker: Broker) -> None:
    """A reset connection gives its messages back in order, marked as redelivered."""
    with closing(pika.BlockingConnection(pika.URLParameters(broker.url))) as connection:
        channel = connection.channel()
        channel.queue_declare("given-back", exclusive=False, auto_delete=False)
        for number in range(5):
            channel.basic_publish("", "given-back", str(number).encode())
        raw.log_in()
        raw.open_channel()
        raw.send((1, Basic.Get(queue="given-back")), (1, Basic.Get(queue="given-back")))
        for _ in range(2):
            raw.expect(Basic.GetOk)
            raw.expect(header.ContentHeader)
            raw.expect(ContentBody)
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        raw.socket.close()
        while broker.stats.queues["given-back"].ready < 5:
            time.sleep(0.01)
        got = [channel.basic_get("given-back", auto_ack=True) for _ in range(5)]
        assert [(body, method.redelivered) for method, _, body in got] == [
            (b"0", True),
            (b"1", True),
            (b"2", False),
            (b"3", False),
            (b"4", False),
        ]
        channel.queue_delete("given-back")


# Noise

SESSION = [
    frame.marshal(method, 1)
    for method in (
        Channel.Open(),
        Queue.Declare(queue="noise", exclusive=True),
        Exchange.Declare(exchange="noise", exchange_type="topic", auto_delete=True),
        Queue.Bind(queue="noise", exchange="noise", routing_key="a.#"),
        Confirm.Select(),
        Basic.Publish(exchange="noise", routing_key="a.b", mandatory=True),
        header.ContentHeader(0, 4, Basic.Properties(message_id="1", headers={"a": [1, {"b": 2}]})),
        ContentBody(b"body"),
        Basic.Consume(queue="noise", consumer_tag="c"),
        Basic.Qos(prefetch_count=1),
        Basic.Ack(1),
        Basic.Get(queue="noise"),
        Queue.Purge(queue="noise"),
        Basic.Cancel("c"),
        Queue.Delete(queue="noise"),
        Channel.Close(200, "bye", 0, 0),
    )
]


@st.composite
def noise(draw: st.DrawFn) -> bytes:
    """Random bytes, or a valid session that was cut, flipped, or shuffled."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.binary(max_size=300))
    frames = draw(st.permutations(SESSION)) if draw(st.integers(0, 3)) == 0 else SESSION
    data = bytearray(b"".join(frames))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(data) - 1))
        data[place] ^= draw(st.integers(1, 255))
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    return bytes(data)


@settings(
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=noise(), logged_in=st.booleans())
def test_noise_closes_its_connection_alone(  # fixtures and drawn values
    broker: Broker,
    loop: Loop,
    good: Callable[[], None],
    caplog: pytest.LogCaptureFixture,
    data: bytes,
    *,
    logged_in: bool,
) -> None:
    """Whatever comes, the answer is valid AMQP, no defect shows, and others are served."""
    with Raw(broker.url) as raw:
        if logged_in:
            raw.log_in()
        else:
            raw.send(HEADER)
        raw.send(data)
        raw.socket.shutdown(socket.SHUT_WR)
        for value in raw.rest():
            if isinstance(value, commands.Connection.Close):
                assert value.reply_code in (403, 501, 503, 504, 505, 530, 540, 541)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert list(loop.log) == []
    good()


def test_a_client_may_leave_in_the_middle_of_anything(broker: Broker) -> None:
    """However little of a session arrived, nothing of it stays behind."""
    data = b"".join(SESSION[:9])
    for size in range(0, len(data), 7):
        with Raw(broker.url) as raw:
            raw.log_in()
            raw.send(data[:size])
    while broker.stats.connections > 1:
        time.sleep(0.01)
    assert "noise" not in broker.stats.queues
