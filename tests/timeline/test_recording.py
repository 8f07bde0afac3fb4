"""What a timeline keeps, and what it leaves behind: nothing."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import httpx2
import pytest
from fastapi import FastAPI, Response
from starlette.requests import Request  # noqa: TC002  # FastAPI reads the annotation

from labsvc import Lab, LabError, outcome
from labsvc.shop.model import OrderLine
from labsvc.shop.store import Store
from labsvc.timeline import record
from labsvc.timeline.patches import install
from tests.timeline.streams import AioEcho, Stub

if TYPE_CHECKING:
    from collections.abc import Callable


def watched() -> list[Any]:
    """Return what a recording replaces, as it is now."""
    replaced: list[tuple[type, str]] = []

    class Stack:
        def callback(self, _: object, owner: type, name: str, original: object) -> None:
            replaced.append((owner, name))
            originals.append(original)

    originals: list[Any] = []
    stack: Any = Stack()
    install(record.Tape(), stack)
    for (owner, name), original in zip(replaced, originals, strict=True):
        setattr(owner, name, original)
    return originals


ORIGINALS = watched()


@pytest.fixture(autouse=True)
def nothing_is_left() -> Any:
    """Hold that after each test every client is as it was."""
    yield
    assert record.current() is None
    assert watched() == ORIGINALS


def test_an_error_in_the_block_leaves_nothing(lab: Lab) -> None:
    """It passes, and what was recorded so far is there."""
    seen = lab.timeline()

    def interrupted() -> None:
        with seen:
            seen.note("begun")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert str(seen) == "caller  begun"


def test_a_lab_that_stops_in_the_block_leaves_nothing() -> None:
    """The block goes on, and records no more."""
    with Lab() as lab, lab.timeline() as seen:
        echo = lab.serve_grpc(AioEcho(), name="echo")
        lab.stop()
        assert record.current() is None
        with grpc.insecure_channel(echo.target) as channel:
            assert outcome(lambda: Stub(channel).Unary(b"a", timeout=1)) == "UNAVAILABLE"
    assert seen.count("called") == 0


def test_one_at_a_time(lab: Lab) -> None:
    """A second one says what to do; the first one goes on."""
    with lab.timeline() as seen:
        with pytest.raises(LabError, match="end the other `with` block first"), lab.timeline():
            pass
        record.note("still here")
    assert str(seen) == "caller  still here"
    with pytest.raises(LabError, match="only once"), seen:
        pass


def test_nothing_was_recorded(lab: Lab) -> None:
    """It says so."""
    with lab.timeline() as seen:
        pass
    assert str(seen) == "nothing was recorded: make the calls inside of the `with` block"


def test_a_thousand_calls_are_all_there(lab: Lab) -> None:
    """Counted against what the server counts."""
    echo = lab.serve_grpc(AioEcho(), name="counted")
    with grpc.insecure_channel(echo.target) as channel, ThreadPoolExecutor(20) as pool:
        unary = Stub(channel).Unary
        with lab.timeline() as seen:
            list(pool.map(lambda _: unary(b"a", timeout=30), range(1000)))
    assert echo.stats.calls == 1000
    assert [seen.count(kind) for kind in ("called", "entered", "left", "seen")] == [1000] * 4
    assert len({event.flow for event in seen.events}) == 1000
    assert seen.dropped == 0
    assert str(seen).splitlines() == [
        "caller   | calls Echo/Unary, with a deadline (1000 times)",
        "counted  |   begins Echo/Unary",
        "counted  |   answers OK",
        "caller   | gets OK",
        "(| side by side: these have no order)",
    ]


def test_the_oldest_events_are_dropped_and_counted(lab: Lab) -> None:
    """What is kept says that something is missing."""
    with lab.timeline(most=10) as seen:
        for number in range(25):
            seen.note(str(number))
    assert [event.detail for event in seen.events] == [str(number) for number in range(15, 25)]
    assert seen.dropped == 15
    assert str(seen).splitlines()[-1] == "(15 older events were dropped)"


def test_a_reset_tape_has_no_end() -> None:
    """However many events: as many as it may keep."""
    tape = record.Tape(most=100)
    for _ in range(10_000):
        tape.add("noted")
    assert len(tape.events) == 100


def shop() -> FastAPI:
    """Return an app that answers, fails twice, or waits."""
    app = FastAPI()
    failures = iter([503, 503])

    @app.get("/flaky")
    async def flaky() -> Response:
        return Response(status_code=next(failures, 200))

    @app.get("/wait")
    async def wait(request: Request) -> str:
        while not await request.is_disconnected():  # noqa: ASYNC110  # there is no event
            await asyncio.sleep(0.01)
        return "nobody"

    @app.get("/raise")
    async def fail() -> str:
        raise ValueError

    return app


def blocking(url: str, path: str) -> None:
    """Ask three times with a plain client."""
    with httpx2.Client(base_url=url, trust_env=False, timeout=0.5) as http:
        for _ in range(3):
            outcome(lambda: http.get(path))


def on_asyncio(url: str, path: str) -> None:
    """Ask three times with an asyncio client."""

    async def ask() -> None:
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=0.5) as http:
            for _ in range(3):
                try:
                    await http.get(path)
                except httpx2.HTTPError:
                    continue

    asyncio.run(ask())


@pytest.mark.parametrize("ask", [blocking, on_asyncio])
def test_requests_over_http(lab: Lab, ask: Callable[[str, str], None]) -> None:
    """Each try on the wire, with the status at both ends."""
    with lab.timeline() as seen:
        ask(lab.serve_http(shop(), name="shop").url, "/flaky")
    assert str(seen).splitlines() == [
        "shop    started",
        "caller  calls GET /flaky",
        "shop      begins GET /flaky",
        "shop      answers 503",
        "caller  gets 503",
        "caller  calls GET /flaky, try 2",
        "shop      begins GET /flaky",
        "shop      answers 503",
        "caller  gets 503",
        "caller  calls GET /flaky, try 3",
        "shop      begins GET /flaky",
        "shop      answers 200",
        "caller  gets 200",
    ]
    assert seen.edges() == {("caller", "shop")}


@pytest.mark.parametrize(("path", "status"), [("/raise", "500"), ("/nowhere", "404")])
def test_an_app_that_fails(lab: Lab, path: str, status: str) -> None:
    """The status that the server makes of it."""
    with lab.timeline() as seen:
        httpx2.get(lab.serve_http(shop(), name="shop").url + path, trust_env=False)
    assert seen.count("left", "shop", status) == seen.count("seen", "caller", status) == 1


def test_a_client_that_gives_up(lab: Lab) -> None:
    """It sees its own timeout; the handler's answer comes later."""
    with lab.timeline() as seen:
        url = lab.serve_http(shop(), name="shop").url
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.get(f"{url}/wait", trust_env=False, timeout=0.3)
        while not seen.count("left"):
            pass
    assert [event.detail for event in seen.events if event.kind in ("seen", "left")] == [
        "ReadTimeout",
        "200",
    ]


def test_commits_and_notes(lab: Lab) -> None:
    """A commit is the party's whose handler made it; outside of any it is the caller's."""
    store = Store.seeded()
    with lab.timeline() as seen, seen.caller("clerk"):
        store.reserve("o-1", (OrderLine("book-1", 1),))
    assert [(event.party, event.kind) for event in seen.events] == [("clerk", "committed")]


def test_what_a_proxy_does_belongs_to_the_call_on_its_way(lab: Lab) -> None:
    """Swallowed, cut, delayed, and nobody there."""
    echo = lab.serve_grpc(AioEcho(), name="echo")
    network = lab.proxy(echo, name="network")
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
    with lab.timeline() as seen:
        with grpc.insecure_channel(network.target, options=options) as channel:
            unary = Stub(channel).Unary
            network.set(delay=0.01)
            unary(b"a", timeout=5)
            network.set(delay=0, blackhole=True)
            assert outcome(lambda: unary(b"b", timeout=0.3)) == "DEADLINE_EXCEEDED"
        network.clear()
        echo.stop()
        with grpc.insecure_channel(network.target, options=options) as channel:
            assert outcome(lambda: Stub(channel).Unary(b"c", timeout=5)) == "UNAVAILABLE"
        echo.start()
    assert str(seen).splitlines() == [
        "network  set to: delay=0.01",
        "caller   calls Echo/Unary, with a deadline",
        "network    delays it",
        "echo       begins Echo/Unary",
        "echo       answers OK",
        "caller   gets OK",
        "network  set to: blackhole=True",
        "caller   calls Echo/Unary, with a deadline",
        "network    swallows bytes",
        "caller   gets DEADLINE_EXCEEDED",
        "network  cleared",
        "echo     stopping",
        "echo     stopped",
        "caller   calls Echo/Unary, with a deadline",
        "network    finds nobody",
        "caller   gets UNAVAILABLE",
        "echo     started",
    ]


def test_the_same_text_on_every_run(lab: Lab) -> None:
    """Threads that race stand side by side, whoever is first; what one thread did has an order."""
    echo = lab.serve_grpc(AioEcho(), name="echo")
    texts = set()
    with grpc.insecure_channel(echo.target) as channel:
        unary = Stub(channel).Unary
        for _ in range(20):
            with lab.timeline() as seen:
                unary(b"first", timeout=5)
                words = (b"a", b"abort", b"a", b"abort", b"a")
                threads = [
                    threading.Thread(
                        target=outcome, args=(lambda word=word: unary(word, timeout=5),)
                    )
                    for word in words
                ]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                unary(b"last", timeout=5)
            texts.add(str(seen))
    [text] = texts
    assert text.splitlines() == [
        "caller  calls Echo/Unary, with a deadline",
        "echo      begins Echo/Unary",
        "echo      answers OK",
        "caller  gets OK",
        "caller  | calls Echo/Unary, with a deadline (2 times)",
        "echo    |   begins Echo/Unary",
        "echo    |   answers NOT_FOUND",
        "caller  | gets NOT_FOUND",
        "caller  | calls Echo/Unary, with a deadline (3 times)",
        "echo    |   begins Echo/Unary",
        "echo    |   answers OK",
        "caller  | gets OK",
        "caller  calls Echo/Unary, with a deadline",
        "echo      begins Echo/Unary",
        "echo      answers OK",
        "caller  gets OK",
        "(| side by side: these have no order)",
    ]
