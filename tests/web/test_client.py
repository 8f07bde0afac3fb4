from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import trustme
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span

from labsvc.lab import Lab
from labsvc.web.client import KEPT_SECONDS, aio_client, client, trace_headers
from labsvc.web.deadline import DeadlineError, within
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DRIPS = 1.5  # seconds for which a body drips
SILENT = 5.0  # seconds for which a server that says nothing waits for its caller to leave


class Page:
    """Answers at once; "/drip" drips its body, "/held" waits, "/silent" never answers."""

    def __init__(self) -> None:
        self.seen: list[dict[str, str]] = []
        self.held = 0
        self.left = 0
        self.gate = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        self.seen.append({key.decode(): value.decode() for key, value in scope["headers"]})
        if scope["path"] == "/silent":
            await asyncio.wait_for(_left(receive), SILENT)
            self.left += 1
        if scope["path"] == "/held":
            self.held += 1
            await self.gate.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        if scope["path"] == "/drip":
            for _ in range(int(DRIPS / 0.05)):
                await send({"type": "http.response.body", "body": b".", "more_body": True})
                await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b"ok"})


async def _left(receive: Any) -> None:
    """Wait until the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


@pytest.fixture
def page(lab: Lab) -> Any:
    """Serve the page behind a proxy that counts."""
    app = Page()
    served = lab.serve_http(app, name="page")
    door = lab.proxy(served, name="door")
    door.reset_stats()
    return SimpleNamespace(app=app, door=door, url=door.url)


def wait_for(condition: Callable[[], object]) -> bool:
    """Wait until a condition holds; return whether it does."""
    give_up_at = time.monotonic() + patience(3)
    while not condition() and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return bool(condition())


def get(
    url: str, path: str, headers: dict[str, str] | None = None, **settings: Any
) -> httpx2.Response:
    """Make one exchange with a client for threads."""
    with client(url, **({"seconds": 5.0, "connections": 4} | settings)) as http:
        return http.get(path, headers=headers)


def aio_get(
    url: str, path: str, headers: dict[str, str] | None = None, **settings: Any
) -> httpx2.Response:
    """Make one exchange with a client for asyncio."""

    async def once() -> httpx2.Response:
        async with aio_client(url, **({"seconds": 5.0, "connections": 4} | settings)) as http:
            return await http.get(path, headers=headers)

    return asyncio.run(once())


both = pytest.mark.parametrize("ask", [get, aio_get])


@both
@pytest.mark.parametrize("path", ["/drip", "/silent"])
def test_deadline_ends_a_body_that_drips(ask: Any, path: str, page: Any) -> None:
    """The whole exchange ends, though each byte is in time, and nothing goes on at the server."""
    began = time.monotonic()
    with pytest.raises(DeadlineError, match="is up"):
        ask(page.url, path, seconds=0.3)
    assert time.monotonic() - began < patience(DRIPS * 0.8)
    assert wait_for(lambda: page.door.stats.open == 0)


@both
def test_own_timeout_of_httpx2_does_not(ask: Any, page: Any) -> None:
    """Show that the test above is about the deadline: a long one lets the body drip."""
    assert len(ask(page.url, "/drip", seconds=20.0).content) > DRIPS / 0.05


@both
def test_exchanges_in_a_block_share_a_deadline(ask: Any, page: Any) -> None:
    """What is spent is spent, and a block inside cannot ask for more."""
    with within(DRIPS * 0.8):
        assert ask(page.url, "/").text == "ok"
        with within(60.0), pytest.raises(DeadlineError):
            ask(page.url, "/drip")
        before = len(page.app.seen)
        with pytest.raises(DeadlineError):
            ask(page.url, "/")
    assert ask(page.url, "/").text == "ok"
    assert len(page.app.seen) == before + 1  # what was sent too late would be here before this one


@both
def test_block_ends_the_wait_for_headers(ask: Any, page: Any) -> None:
    """Its deadline comes first: the caller leaves before the server has anything to say."""
    with within(1.0), pytest.raises(DeadlineError):
        ask(page.url, "/silent", seconds=60.0)
    assert wait_for(lambda: page.app.left == 1)


def test_deadline_follows_a_task(page: Any) -> None:
    """A task that is made in the block has its deadline."""

    async def main() -> None:
        async with aio_client(page.url, seconds=5, connections=4) as http:
            with within(0.3):
                task = asyncio.create_task(http.get("/drip"))
            with pytest.raises(DeadlineError):
                await task

    asyncio.run(main())


def test_headers_that_drip_end_with_asyncio(lab: Lab) -> None:
    """The server sends one byte of a status line at a time."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            peer, _ = listening.accept()
            with peer, suppress(OSError):  # the client leaves
                for byte in b"HTTP/1.1 200 OK" * 100:
                    peer.sendall(bytes([byte]))
                    time.sleep(0.05)

        thread = threading.Thread(target=drip)
        thread.start()
        with pytest.raises(DeadlineError):
            aio_get(f"http://127.0.0.1:{listening.getsockname()[1]}", "/", seconds=0.3)
        thread.join(patience(5))
        assert not thread.is_alive()


@both
def test_connection_that_could_not_be_made_is_tried_again(ask: Any, monkeypatch: Any) -> None:
    """A refused port is tried twice, and the deadline is for both."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        tried = []
        connect = socket.socket.connect

        def counted(self: socket.socket, address: Any) -> None:
            tried.append(address)
            connect(self, address)

        monkeypatch.setattr(socket.socket, "connect", counted)
        with pytest.raises(httpx2.ConnectError):
            ask(url, "/")
    assert len(tried) in ((2,) if ask is get else (0, 2))  # asyncio connects without this method


@both
def test_request_that_was_sent_is_not_sent_again(ask: Any, page: Any) -> None:
    """A connection that breaks after the request is for the caller to judge."""
    page.app.gate.clear()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, page.url, "/held")
        assert wait_for(lambda: page.app.held)
        page.door.cut()
        error = asked.exception(timeout=patience(5))
    assert isinstance(error, httpx2.NetworkError | httpx2.RemoteProtocolError)
    assert page.app.held == 1


def test_connections_are_kept_and_limited(page: Any, lab: Lab) -> None:
    """Two places: a third request waits so long for one, and afterwards both are still open."""
    with (
        client(page.url, seconds=5, connections=2, wait=0.1) as http,
        ThreadPoolExecutor(2) as pool,
    ):
        held = [pool.submit(http.get, "/held") for _ in range(2)]
        assert wait_for(lambda: page.app.held == 2)
        with pytest.raises(httpx2.PoolTimeout):
            http.get("/")
        lab.loop.run(_open(page.app.gate))
        assert [each.result().text for each in held] == ["ok", "ok"]
        assert [http.get("/").status_code for _ in range(5)] == [200] * 5
        assert (page.door.stats.connections, page.door.stats.open) == (2, 2)
    assert wait_for(lambda: page.door.stats.open == 0)


def test_aio_connections_are_kept_and_limited(page: Any) -> None:
    """The same with asyncio."""

    async def main() -> None:
        async with aio_client(page.url, seconds=0.5, connections=2, wait=0.05) as http:
            held = [asyncio.create_task(http.get("/held")) for _ in range(2)]
            assert await asyncio.to_thread(wait_for, lambda: page.app.held == 2)
            with pytest.raises(httpx2.PoolTimeout):
                await http.get("/")
            ended = await asyncio.gather(*held, return_exceptions=True)
            assert [type(each) for each in ended] == [DeadlineError] * 2

    asyncio.run(main())


async def _open(gate: asyncio.Event) -> None:
    gate.set()


def test_idle_connections_go_before_the_server_closes_them() -> None:
    """Uvicorn closes what was idle for five seconds."""
    assert KEPT_SECONDS < 5


SPAN = SpanContext(0x1234, 0x5678, is_remote=False, trace_flags=TraceFlags(1))


@both
def test_trace_is_carried_on(ask: Any, page: Any) -> None:
    """OpenTelemetry's span goes along, and none without one; what was set by hand stays."""
    with use_span(NonRecordingSpan(SPAN)):
        ask(page.url, "/")
        ask(page.url, "/", headers={"traceparent": "by hand"})
    ask(page.url, "/")
    sent = [seen.get("traceparent") for seen in page.app.seen]
    assert sent == [f"00-{0x1234:032x}-{0x5678:016x}-01", "by hand", None]
    assert trace_headers() == []


@both
def test_trace_can_come_from_elsewhere(ask: Any, page: Any) -> None:
    """A service that has its context otherwise says so."""
    ask(page.url, "/", trace=lambda: [("x-request-id", "r-1")])
    assert page.app.seen[-1]["x-request-id"] == "r-1"


@both
def test_certificates_are_checked(ask: Any) -> None:
    """Only what `verify` trusts is asked."""
    authority = trustme.CA()
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    ours = ssl.create_default_context()
    authority.configure_trust(ours)
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:

        def answer() -> None:
            for _ in range(3):  # two tries of a client that does not trust, one of the other
                with suppress(OSError):
                    peer = theirs.wrap_socket(listening.accept()[0], server_side=True)
                    peer.recv(65536)  # what is closed unread is reset, and the answer with it
                    peer.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                    peer.close()

        pool.submit(answer)
        url = f"https://127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            ask(url, "/")
        assert ask(url, "/", verify=ours).text == "ok"
