"""Connections: log-in, limits, channels, heartbeats, blocked publishers. On both brokers.

The suite goes on in the modules `test_amqp_behaviour_*` beside this one. RabbitMQ is what the
expectations were taken from; ours has to do the same. Where a test asks for `channel` or
`client`, it runs through pika and through aio-pika; `raw` is a socket.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pika
import pytest
from pamqp import encode
from pamqp.commands import Basic, Channel, Confirm, Connection, Queue
from pamqp.heartbeat import Heartbeat

from tests.engines.clients import ClosedError, until
from tests.engines.raw import CAPABILITIES, HEADER, Raw, publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engines.clients import Client
    from tests.engines.engine import Engine

REFUSED = (
    "ACCESS_REFUSED - Login was refused using authentication mechanism {}."
    " For details see the broker logfile."
)


# Log-in


def test_the_broker_says_what_it_can_do(engine: Engine) -> None:
    """connection.start offers PLAIN and AMQPLAIN, connection.tune the usual limits."""
    with Raw(engine.url()) as raw:
        start = raw.greet()
        assert (start.version_major, start.version_minor) == (0, 9)
        assert set(start.mechanisms.split()) >= {"PLAIN", "AMQPLAIN"}
        assert start.locales == "en_US"
        can: Any = start.server_properties["capabilities"]
        assert {name for name, value in can.items() if value} >= {
            "authentication_failure_close",
            "basic.nack",
            "connection.blocked",
            "consumer_cancel_notify",
            "consumer_priorities",
            "exchange_exchange_bindings",
            "per_consumer_qos",
            "publisher_confirms",
        }
        tune = raw.expect(Connection.Tune)
        assert (tune.channel_max, tune.frame_max, tune.heartbeat) == (2047, 131072, 60)


def amqplain(user: str, password: str) -> str:
    """Return a response for AMQPLAIN: a field table without its length."""
    table = encode.field_table({"LOGIN": user, "PASSWORD": password})
    return table[4:].decode("latin-1")


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
def test_either_mechanism_logs_in(engine: Engine, mechanism: str) -> None:
    """The right password opens the connection."""
    with Raw(engine.url()) as raw:
        _, user, password = raw.login.split("\0")
        raw.greet(mechanism, raw.login if mechanism == "PLAIN" else amqplain(user, password))
        raw.expect(Connection.Tune)
        raw.send((0, Connection.TuneOk(2047, 131072, 0)))
        raw.ask((0, Connection.Open("/")), Connection.OpenOk)


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", "\0lab\0wrong"),
        ("PLAIN", "\0nobody\0wrong"),
        ("AMQPLAIN", amqplain("lab", "wrong")),
    ],
)
def test_a_wrong_password_is_refused(engine: Engine, mechanism: str, response: str) -> None:
    """403 after start-ok for a client that can be told."""
    with Raw(engine.url()) as raw:
        raw.greet(mechanism, response)
        assert raw.closed() == ("connection", 403, 0, 0, REFUSED.format(mechanism))


def test_a_client_that_cannot_be_told_is_just_dropped(engine: Engine) -> None:
    """Without authentication_failure_close the socket closes."""
    with Raw(engine.url()) as raw:
        raw.send(HEADER)
        raw.expect(Connection.Start)
        raw.send((0, Connection.StartOk({}, "PLAIN", "\0lab\0wrong")))
        assert raw.closed()[0] == "socket"


def test_a_wrong_password_is_an_exception(engine: Engine, connect: Callable[..., Client]) -> None:
    """Both libraries say that access was refused."""
    parts = urlsplit(engine.url())
    with pytest.raises(ClosedError, match="ACCESS_REFUSED"):
        connect(f"amqp://lab:wrong@{parts.hostname}:{parts.port}/")


@pytest.mark.parametrize(
    "wrong", [b"GET / HTTP/1.1\r\n\r\n", b"AMQP\x00\x00\x08\x00", b"AMQP\x01\x01\x00\x0a"]
)
def test_another_protocol_is_told_ours(engine: Engine, wrong: bytes) -> None:
    """The answer is the header of AMQP 0-9-1, and the socket closes."""
    with Raw(engine.url()) as raw:
        raw.send(wrong)
        assert raw.receive() is None
        assert raw.buffer == HEADER


WRONG_STEPS: dict[str, list[Any]] = {
    "mechanism": [Connection.StartOk(CAPABILITIES, "EXTERNAL", "")],
    "start-ok": [Connection.Open("/")],
    "close": [Connection.Close(200, "bye", 0, 0)],
    "frame-max-high": [None, Connection.TuneOk(2047, 131073, 0)],
    "frame-max-low": [None, Connection.TuneOk(2047, 4095, 0)],
    "frame-max-0": [None, Connection.TuneOk(2047, 0, 0)],
    "channel-max-high": [None, Connection.TuneOk(2048, 131072, 0)],
    "channel-max-0": [None, Connection.TuneOk(0, 131072, 0)],
    "tune-ok": [None, Connection.Open("/")],
    "update-secret": [None, Connection.UpdateSecret("new", "too early")],
}


def test_a_wrong_step_of_the_handshake_ends_it(engine: Engine) -> None:
    """An unknown mechanism, a method that is not due, a limit above those offered.

    RabbitMQ closes the socket without a word after 3 s, so all of them are tried at once.
    Ours says why, and closes.
    """
    with ExitStack() as stack:
        tried = {}
        for name, steps in WRONG_STEPS.items():
            raw = tried[name] = stack.enter_context(Raw(engine.url()))
            raw.send(HEADER)
            for step in steps:
                good = Connection.StartOk(CAPABILITIES, "PLAIN", raw.login)
                raw.send((0, good if step is None else step))
            raw.send((0, Connection.Open("/")))
        for name, raw in tried.items():
            frames = []
            while (value := raw.next()) is not None:
                frames.append(type(value))
            assert Connection.OpenOk not in frames, name


def test_no_queue_before_the_virtual_host(engine: Engine) -> None:
    """504 for another method than connection.open."""
    with Raw(engine.url()) as raw:
        raw.greet()
        raw.expect(Connection.Tune)
        raw.send((0, Connection.TuneOk(2047, 131072, 0)), (0, Queue.Declare(queue="q")))
        assert raw.closed() == (
            "connection",
            504,
            50,
            10,
            "CHANNEL_ERROR - unexpected method in connection state opening",
        )


# A new secret


def test_a_connection_goes_on_with_a_new_secret(client: Client, new: Callable[[str], str]) -> None:
    """The broker takes any: a password does not expire, so nobody looks at the new one."""
    channel = client.channel()
    channel.queue_declare(new("q"), exclusive=True)
    client.update_secret("not the password", "it was about to expire")
    channel.publish("", new("q"), "before and after")
    assert channel.bodies(new("q")) == ["before and after"]
    client.channel().queue_declare(new("q"), passive=True)


def test_the_password_stays_what_it_was(engine: Engine) -> None:
    """update-secret is about one connection; the next one logs in with the password."""
    with Raw(engine.url()) as raw:
        raw.log_in()
        raw.send((0, Connection.UpdateSecret("another", "")))
        raw.expect(Connection.UpdateSecretOk)
        with Raw(engine.url()) as later:
            later.log_in()
        with Raw(engine.url()) as wrong:
            wrong.greet(response=raw.login.rpartition("\0")[0] + "\0another")
            assert wrong.closed()[:2] == ("connection", 403)


@pytest.mark.parametrize(
    ("number", "method", "error"),
    [
        (1, Connection.UpdateSecret("new", ""), (503, 10, 70, "COMMAND_INVALID")),
        (0, Connection.UpdateSecretOk(), (504, 10, 71, "CHANNEL_ERROR")),
    ],
)
def test_a_secret_in_a_wrong_place(
    raw: Raw, number: int, method: Any, error: tuple[int, int, int, str]
) -> None:
    """503 on a channel; 504 for the answer that only the broker gives."""
    raw.send((number, method))
    scope, code, class_id, method_id, text = raw.closed()
    assert (scope, code, class_id, method_id, text.partition(" ")[0]) == ("connection", *error)


# Virtual hosts


@pytest.mark.parametrize("vhost", ["missing", "/missing", ""])
def test_a_virtual_host_that_does_not_exist(engine: Engine, vhost: str) -> None:
    """530 at connection.open."""
    with Raw(engine.url()) as raw:
        raw.greet()
        raw.expect(Connection.Tune)
        raw.send((0, Connection.TuneOk(2047, 131072, 0)), (0, Connection.Open(vhost)))
        text = f"NOT_ALLOWED - vhost {vhost} not found"
        assert raw.closed() == ("connection", 530, 10, 40, text)


def test_both_libraries_hear_of_a_missing_virtual_host(
    engine: Engine, connect: Callable[..., Client]
) -> None:
    """They raise (aio-pika without the broker's words)."""
    with pytest.raises(ClosedError):
        connect(engine.url("missing"))


# Channels


def test_channels_are_apart(raw: Raw, new: Callable[[str], str]) -> None:
    """An error closes one channel; the others and their consumers go on, any number is free."""
    for number in (7, 2047):
        raw.open_channel(number)
    raw.ask((7, Queue.Declare(queue=new("q"), exclusive=True)), Queue.DeclareOk)
    raw.ask((7, Basic.Consume(queue=new("q"), consumer_tag="t", no_ack=True)), Basic.ConsumeOk)
    raw.send((2047, Queue.Declare(queue=new("missing"), passive=True)))
    assert raw.closed()[:2] == ("channel", 404)
    raw.send(*publish("", new("q"), b"m"))
    assert raw.expect(Basic.Deliver).consumer_tag == "t"
    assert raw.content()[1] == b"m"
    raw.send((2047, Channel.CloseOk()))
    raw.open_channel(2047)


def test_there_is_a_number_of_channels(engine: Engine) -> None:
    """530 for one more than was agreed."""
    with Raw(engine.url()) as raw:
        raw.greet()
        raw.expect(Connection.Tune)
        raw.send((0, Connection.TuneOk(2, 131072, 0)))
        raw.ask((0, Connection.Open("/")), Connection.OpenOk)
        for number in (1, 2):
            raw.open_channel(number)
        raw.send((3, Channel.Open()))
        text = "number of channels opened (2) has reached the negotiated channel_max (2)"
        assert raw.closed() == ("connection", 530, 0, 0, f"NOT_ALLOWED - {text}")


def test_a_closing_channel_hears_nothing(raw: Raw, new: Callable[[str], str]) -> None:
    """What is sent after the broker's channel.close and before close-ok is dropped."""
    raw.send(
        Queue.Declare(queue=new("missing"), passive=True),
        Queue.Declare(queue=new("q")),
        *publish("", new("q"), b"m"),
    )
    assert raw.closed()[:2] == ("channel", 404)
    raw.send(Channel.CloseOk())
    raw.open_channel()
    raw.send(Queue.Declare(queue=new("q"), passive=True))
    assert raw.closed()[:2] == ("channel", 404)


def test_closes_that_cross_are_both_answered(raw: Raw, new: Callable[[str], str]) -> None:
    """The client closes a channel that the broker has just closed."""
    raw.send(Queue.Declare(queue=new("missing"), passive=True), Channel.Close(200, "bye", 0, 0))
    raw.expect(Channel.Close)
    raw.expect(Channel.CloseOk)
    raw.send(Channel.CloseOk())
    raw.open_channel()


def test_a_connection_closes_in_good_order(raw: Raw) -> None:
    """The answer to close is close-ok."""
    raw.ask((0, Connection.Close(200, "bye", 0, 0)), Connection.CloseOk)


def test_a_channel_is_closed_and_opened_again(raw: Raw) -> None:
    """Its number is free after close-ok, and nothing of the old one is left."""
    raw.ask(Confirm.Select(), Confirm.SelectOk)
    raw.ask(Channel.Close(200, "bye", 0, 0), Channel.CloseOk)
    raw.open_channel()
    raw.send(*publish("amq.fanout", "k"))
    raw.ask(Channel.Flow(active=True), Channel.FlowOk)  # no confirm comes before


# Heartbeats


def test_heartbeats_tell_the_dead_from_the_quiet(engine: Engine, new: Callable[[str], str]) -> None:
    """Who falls silent is dropped; who beats, or agreed on no heartbeats, is kept.

    The dead client's message goes back to its queue.
    """
    with ExitStack() as stack:
        dead, alive, quiet = (stack.enter_context(Raw(engine.url())) for _ in range(3))
        for raw, heartbeat in ((dead, 1), (alive, 1), (quiet, 0)):
            raw.log_in(heartbeat)
            raw.open_channel()
        quiet.ask(Queue.Declare(queue=new("q")), Queue.DeclareOk)
        quiet.ask(Confirm.Select(), Confirm.SelectOk)
        quiet.send(*publish("", new("q"), b"m"))
        quiet.expect(Basic.Ack)
        dead.ask(Basic.Get(queue=new("q")), Basic.GetOk)
        dead.content()
        give_up = time.monotonic() + 3.5
        while time.monotonic() < give_up:
            alive.send((0, Heartbeat()))
            received = alive.receive()
            assert received is not None
            assert isinstance(received[1], Heartbeat)
        beats = []
        while (received := dead.receive()) is not None:
            beats.append(type(received[1]))
        assert set(beats) == {Heartbeat}
        alive.open_channel(2)
        quiet.send(Basic.Get(queue=new("q")))
        received = quiet.receive()  # the first frame since: no heartbeat came
        assert received is not None
        assert isinstance(received[1], Basic.GetOk)
        assert received[1].redelivered


# Blocked publishers


def test_publishers_are_blocked_while_memory_is_short(
    engine: Engine, new: Callable[[str], str]
) -> None:
    """connection.blocked comes to who publishes; the rest waits until connection.unblocked."""
    with Raw(engine.url()) as publisher, Raw(engine.url()) as consumer:
        for raw in (publisher, consumer):
            raw.log_in()
            raw.open_channel()
        consumer.ask(Queue.Declare(queue=new("q")), Queue.DeclareOk)
        consumer.send(Basic.Consume(queue=new("q"), consumer_tag="t", no_ack=True))
        consumer.expect(Basic.ConsumeOk)
        publisher.ask(Confirm.Select(), Confirm.SelectOk)
        with engine.memory_alarm():
            publisher.send(*publish("", new("q"), correlation_id="0"))
            frames = [publisher.next(), publisher.next()]
            assert {type(frame) for frame in frames} == {Connection.Blocked, Basic.Ack}
            reasons = [f.reason for f in frames if isinstance(f, Connection.Blocked)]
            assert reasons == ["low on memory"]
            publisher.send(*publish("", new("q"), correlation_id="1"))
            consumer.expect(Basic.Deliver)
            assert consumer.content()[0].correlation_id == "0"
            answer = consumer.ask(Queue.Declare(queue=new("q"), passive=True), Queue.DeclareOk)
            assert answer.message_count == 0
        publisher.expect(Connection.Unblocked)
        publisher.expect(Basic.Ack)
        consumer.expect(Basic.Deliver)
        assert consumer.content()[0].correlation_id == "1"
        consumer.ask(Queue.Delete(queue=new("q")), Queue.DeleteOk)


def test_who_did_not_ask_is_blocked_in_silence(
    engine: Engine, connect: Callable[[], Client], new: Callable[[str], str]
) -> None:
    """Without the capability connection.blocked no such frame comes; it is blocked all the same."""
    watcher = connect().channel()
    watcher.queue_declare(new("q"))
    quiet: dict[str, Any] = {
        "capabilities": {**CAPABILITIES["capabilities"], "connection.blocked": False}
    }
    with Raw(engine.url()) as raw:
        raw.send(HEADER)
        raw.expect(Connection.Start)
        raw.send((0, Connection.StartOk(quiet, "PLAIN", raw.login)))
        raw.expect(Connection.Tune)
        raw.send((0, Connection.TuneOk(2047, 131072, 0)))
        raw.ask((0, Connection.Open("/")), Connection.OpenOk)
        raw.open_channel()
        raw.ask(Confirm.Select(), Confirm.SelectOk)
        with engine.memory_alarm():
            for _ in range(2):
                raw.send(*publish("", new("q")))
            raw.expect(Basic.Ack)
            for _ in range(20):
                assert watcher.count(new("q")) == 1
        raw.expect(Basic.Ack)
        assert watcher.count(new("q")) == 2


def test_pika_tells_of_a_blocked_connection(engine: Engine, new: Callable[[str], str]) -> None:
    """Its callbacks run, and the publish that waited is confirmed."""
    told: list[Any] = []
    connection = pika.BlockingConnection(pika.URLParameters(engine.url()))
    connection.add_on_connection_blocked_callback(lambda *_: told.append("blocked"))
    connection.add_on_connection_unblocked_callback(lambda *_: told.append("unblocked"))
    channel = connection.channel()
    with engine.memory_alarm():
        channel.basic_publish("", new("nobody"), b"m")
        until(lambda: told == ["blocked"], lambda: connection.process_data_events(0.01))
    until(lambda: told == ["blocked", "unblocked"], lambda: connection.process_data_events(0.01))
    connection.close()
