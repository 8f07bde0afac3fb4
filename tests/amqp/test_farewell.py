"""How a connection ends when its client does not play along, or when the broker has a defect."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pamqp.commands import Basic, Connection, Queue

from labsvc.amqp import Broker
from labsvc.amqp.rules.vhost import VHost
from tests.amqp.tools import channel_of, wait_for
from tests.engines.raw import Raw, envelope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.loop import Loop


@pytest.fixture
def broker(loop: Loop) -> Iterator[Broker]:
    """Run a broker."""
    broker = Broker("learner", "secret")
    loop.run(broker.start())
    yield broker
    loop.run(broker.stop())


def gone(broker: Broker) -> bool:
    """Whether the broker has closed its last connection."""
    return broker.stats.connections == 0


def opened(broker: Broker) -> Raw:
    """Return a client with one channel."""
    raw = Raw(broker.url)
    raw.log_in()
    raw.open_channel()
    return raw


def test_who_does_not_answer_a_close_is_dropped(broker: Broker) -> None:
    """The broker says why it closes, and does not wait for the answer for ever."""
    with opened(broker) as raw:
        raw.send(Basic.Publish(immediate=True))
        assert raw.closed()[:2] == ("connection", 540)
        wait_for(lambda: gone(broker))
        assert raw.receive() is None


def test_who_does_not_hang_up_is_dropped(broker: Broker) -> None:
    """After a frame that cannot be read the broker waits for the client's end, but not for ever."""
    with opened(broker) as raw:
        raw.send(envelope(1, 1, b"\0\0\0\0", b"\0"))
        assert raw.closed()[:2] == ("connection", 501)
        assert raw.receive() is None
        assert not raw.reset
        wait_for(lambda: gone(broker))


def test_who_says_good_bye_and_does_not_read_is_dropped(broker: Broker) -> None:
    """What the client asked for is still written, unless it takes too long."""
    with opened(broker) as raw:
        (connection,) = broker._connections
        raw.ask(Queue.Declare(queue="big"), Queue.DeclareOk)
        with channel_of(broker) as other:
            for _ in range(20):  # more than the buffers of two sockets can take
                other.basic_publish("", "big", bytes(900_000))
        wait_for(lambda: broker.stats.queues["big"].ready == 20)
        raw.send(Basic.Consume(queue="big", no_ack=True))
        wait_for(lambda: connection.transport.get_write_buffer_size() > 0)
        raw.send((0, Connection.Close(200, "bye", 0, 0)))
        wait_for(lambda: gone(broker))


def test_who_says_nothing_is_dropped(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that is opened and left alone does not stay; one that has logged in does."""
    monkeypatch.setattr("labsvc.amqp.session.farewell.HANDSHAKE_SECONDS", 0.5)
    with channel_of(broker) as channel:
        with Raw(broker.url) as raw:
            assert raw.receive() is None
        assert channel.connection.is_open
        channel.queue_declare("q", exclusive=True)
        assert broker.stats.connections == 1


def test_a_defect_closes_one_connection_and_is_logged(
    broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The client hears 541, the log has the traceback, and the others are served."""
    declare = VHost.declare_queue

    def broken(self: VHost, name: str, owner: object, **properties: Any) -> Any:
        if name == "cursed":
            msg = "a bug that nobody knows"
            raise ZeroDivisionError(msg)
        return declare(self, name, owner, **properties)

    monkeypatch.setattr(VHost, "declare_queue", broken)
    with channel_of(broker) as channel, opened(broker) as raw:
        raw.send(Queue.Declare(queue="cursed"))
        text = "INTERNAL_ERROR - a defect of the broker; its log says more"
        assert raw.closed() == ("connection", 541, 50, 10, text)
        channel.queue_declare("fine", exclusive=True)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("labsvc.amqp", "ERROR")
    assert "please report it" in record.getMessage()
    assert "a bug that nobody knows" in caplog.text
