"""Sending on to another collector: in order, out of band, and counted."""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING

import grpc
import pytest
import trustme

from labsvc import Lab, LabError, until
from labsvc.ports import hold
from labsvc.telemetry import forward
from labsvc.telemetry.forward import Forward
from labsvc.telemetry.receiver import Received, TraceReceiver
from tests.patience import patience
from tests.telemetry.otlp import message, request

if TYPE_CHECKING:
    from pathlib import Path


class Sender:
    """A `Forward` on the lab's loop, used from the test."""

    def __init__(self, lab: Lab, endpoint: str) -> None:
        self.log: deque[str] = deque()
        self._lab = lab
        self.forward = Forward(endpoint, self.log)

    async def _do(self, *numbers: int) -> None:
        if numbers:
            for number in numbers:
                self.forward.put(request(message(number)))
        else:
            self.forward.start()

    def start(self) -> None:
        """Begin to send."""
        self._lab.loop.run(self._do())

    def put(self, *numbers: int) -> None:
        """Hand in requests, each with one span of this number."""
        self._lab.loop.run(self._do(*numbers))

    def close(self) -> None:
        """End."""
        self._lab.loop.run(self.forward.close())

    def has(self, counts: tuple[int, int]) -> bool:
        """Whether this is what it has sent and dropped."""
        return self.counts == counts

    @property
    def counts(self) -> tuple[int, int]:
        """What was sent, and what was dropped."""
        return self.forward.sent, self.forward.dropped


def names(received: Received) -> list[str]:
    """Return the names of the spans that came, in the order in which they came."""
    return [span.name for trace in received.traces() for span in trace.spans]


def test_requests_are_sent_on_in_order(lab: Lab) -> None:
    """Those that waited for the start, and those that came later."""
    other = lab.serve_collector()
    sender = Sender(lab, other.endpoint)
    sender.put(1, 2)
    sender.start()
    until(lambda: sender.counts == (2, 0), timeout=patience(10))
    sender.put(3)
    until(lambda: sender.counts == (3, 0), timeout=patience(10))
    sender.close()
    [trace] = other.traces()
    assert [span.name for span in trace.spans] == ["work 1", "work 2", "work 3"]
    assert list(sender.log) == []


def test_it_speaks_tls(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address with https is called with TLS, and its certificate is looked at."""
    authority = trustme.CA()
    own = authority.issue_cert("localhost")
    key = own.private_key_pem.bytes()
    chain = b"".join(pem.bytes() for pem in own.cert_chain_pems)
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(str(roots))
    received = Received()
    other = lab.serve_grpc(
        TraceReceiver(received.take, lambda: 0.0),
        credentials=grpc.ssl_server_credentials([(key, chain)]),
    )
    strangers = grpc.ssl_channel_credentials()
    trusted = grpc.ssl_channel_credentials(roots.read_bytes())
    given = iter([strangers, trusted])
    monkeypatch.setattr(grpc, "ssl_channel_credentials", lambda: next(given))
    for counts in ((0, 1), (1, 0)):
        sender = Sender(lab, f"https://localhost:{other.target.partition(':')[2]}")
        sender.start()
        sender.put(1)
        until(partial(sender.has, counts), timeout=patience(10))
        sender.close()
    assert names(received) == ["work 1"]


def test_what_cannot_be_sent_is_dropped(lab: Lab) -> None:
    """The reason is in the log, and when the other collector is there the next one arrives."""
    other = lab.serve_collector()
    other.stop()
    sender = Sender(lab, other.endpoint)
    sender.start()
    sender.put(1)
    until(lambda: sender.counts == (0, 1), timeout=patience(10))
    assert list(sender.log) == ["not sent on: UNAVAILABLE"]
    other.start()

    def arrives() -> bool:
        sender.put(2)
        return other.stats.received > 0

    until(arrives, timeout=patience(20))
    sender.close()


def test_beyond_the_most_the_oldest_is_dropped(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest wait for their turn; none is dropped without being counted."""
    monkeypatch.setattr(forward, "MOST_WAITING", 3)
    other = lab.serve_collector()
    sender = Sender(lab, other.endpoint)
    sender.put(*range(1, 6))
    assert sender.counts == (0, 2)
    sender.start()
    until(lambda: sender.counts == (3, 2), timeout=patience(10))
    sender.close()
    assert [span.name for span in other.traces()[0].spans] == ["work 3", "work 4", "work 5"]


def test_closing_drops_what_waits(lab: Lab) -> None:
    """The request under way and those behind it are counted; closing once more does nothing."""
    other = lab.serve_collector()
    other.delay = 3600
    sender = Sender(lab, other.endpoint)
    sender.start()
    sender.put(1, 2, 3)
    until(lambda: len(sender.forward._waiting) == 2, timeout=patience(10))
    sender.close()
    sender.close()
    assert sender.counts == (0, 3)
    other.delay = 0
    sender.start()
    sender.put(4)
    until(lambda: sender.counts == (1, 3), timeout=patience(10))
    sender.close()
    assert [span.name for span in other.traces()[0].spans] == ["work 4"]


def test_a_hung_collector_holds_it_up_for_a_while_only(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request has its time, and is dropped then."""
    monkeypatch.setattr(forward, "TIMEOUT_SECONDS", 0.1)
    with hold(0) as silent:
        silent.listen()
        sender = Sender(lab, f"http://127.0.0.1:{silent.getsockname()[1]}")
        sender.start()
        sender.put(1, 2)
        until(lambda: sender.counts == (0, 2), timeout=patience(10))
        sender.close()
    assert list(sender.log) == ["not sent on: DEADLINE_EXCEEDED"] * 2


@pytest.mark.parametrize(
    "endpoint",
    ["127.0.0.1:4317", "jaeger", "http://", "http://127.0.0.1", "http://:4317", "grpc://h:4317",
     "http://h:port", "http://h:99999", "http://[::1:4317"],
)  # fmt: skip
def test_what_is_no_address(endpoint: str) -> None:
    """The error says what to write, whatever is wrong."""
    with pytest.raises(LabError, match=r"write http://127\.0\.0\.1:4317"):
        Forward(endpoint, deque())
