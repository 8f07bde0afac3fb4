"""Tests of the balancer: who gets the calls, what moves on, and when a channel is closed."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.ports import HOST
from labsvc.rpc._moving import _Requests
from labsvc.rpc.balance import Balancer, NoBackendError
from labsvc.rpc.errors import never_sent
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPTIONS = [
    ("grpc.so_reuseport", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
]
TIMEOUT = 20.0
RELEASES = int(os.environ.get("RELEASES", "2"))  # `make away` asks for 20
RELAYED = "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.9:1: refused"


def until(condition: Callable[[], Any]) -> None:
    """Wait until the condition is true."""
    end = time.monotonic() + patience(10)
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


class Backend:
    """A server that answers all four kinds of call with its own name."""

    def __init__(self, name: bytes, port: int = 0) -> None:
        self.name = name
        self.gate = threading.Event()
        self.gate.set()
        self.entered = 0
        self.pool = ThreadPoolExecutor(8)
        self.server = grpc.server(self.pool, options=OPTIONS)
        kinds: dict[str, Any] = {
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Down": grpc.unary_stream_rpc_method_handler(self.down),
            "Up": grpc.stream_unary_rpc_method_handler(self.up),
            "Both": grpc.stream_stream_rpc_method_handler(self.both),
        }
        handlers = grpc.method_handlers_generic_handler("t.T", kinds)
        self.server.add_generic_rpc_handlers((handlers,))
        self.probes = 0
        self.sick = False
        if name == b"a":  # the others have no health service
            check: dict[str, Any] = {"Check": grpc.unary_unary_rpc_method_handler(self.check)}
            health = grpc.method_handlers_generic_handler("grpc.health.v1.Health", check)
            self.server.add_generic_rpc_handlers((health,))
        self.address = f"{HOST}:{self.server.add_insecure_port(f'{HOST}:{port}')}"
        self.server.start()

    def check(self, request: bytes, context: Any) -> bytes:
        """Answer the balancer's probe."""
        self.probes += 1
        if self.sick:
            context.abort(grpc.StatusCode.UNAVAILABLE, "no upstream")
        return b""

    def enter(self) -> None:
        """Count, and wait for the gate."""
        self.entered += 1
        self.gate.wait(TIMEOUT)

    def unary(self, request: bytes, context: Any) -> bytes:
        """Answer with the name; to b"relay" with the words of a failed call to the next service."""
        self.enter()
        if request == b"relay":
            context.abort(grpc.StatusCode.UNAVAILABLE, RELAYED)
        return self.name

    def down(self, request: bytes, context: Any) -> Iterator[bytes]:
        """Answer with the name, as often as the request is long."""
        for _ in request:
            self.enter()
            yield self.name

    def up(self, requests: Iterator[bytes], context: Any) -> bytes:
        """Answer with the name and all requests."""
        self.enter()
        return self.name + b":" + b"".join(requests)

    def both(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Answer each request with the name and itself."""
        self.enter()
        for request in requests:
            yield self.name + request

    def stop(self, grace: float | None = None) -> None:
        """Stop, so that the address refuses."""
        self.server.stop(grace).wait()

    def close(self) -> None:
        """Stop and let everybody go."""
        self.gate.set()
        self.stop()
        self.pool.shutdown()


class Served:
    """Three backends and what opens channels to them."""

    def __init__(self) -> None:
        self.a, self.b, self.c = self.all = [Backend(name) for name in (b"a", b"b", b"c")]
        self.opened: list[tuple[str, Watched]] = []
        self.made: list[Balancer] = []

    @property
    def addresses(self) -> list[str]:
        """Return the addresses of all."""
        return [backend.address for backend in self.all]

    def open(self, address: str) -> grpc.Channel:
        """Open a channel, and remember it."""
        channel = Watched(grpc.insecure_channel(address, OPTIONS))
        self.opened.append((address, channel))
        return channel

    def balancer(self, *backends: Backend, **how: Any) -> Balancer:
        """Make a balancer over these backends, all connected."""
        balancer = Balancer(self.open, **how)
        self.made.append(balancer)
        balancer.update([backend.address for backend in backends])
        until(lambda: len(balancer.connected) == len(backends))
        return balancer

    def close(self) -> None:
        """Close everything."""
        for balancer in self.made:
            balancer.close()
        for backend in self.all:
            backend.close()


class Watched(grpc.Channel):
    """A channel that knows whether it was closed."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.closed = 0

    def close(self) -> None:
        """Close."""
        self.closed += 1
        self.channel.close()

    def __getattribute__(self, name: str) -> Any:
        if name in ("channel", "close", "closed", "__class__", "__dict__"):
            return object.__getattribute__(self, name)
        return getattr(object.__getattribute__(self, "channel"), name)

    subscribe = unsubscribe = unary_unary = unary_stream = stream_unary = stream_stream = None  # type: ignore[assignment]

    def __enter__(self) -> Any: ...

    def __exit__(self, *_: object) -> None: ...


@pytest.fixture
def served() -> Iterator[Served]:
    """Serve three backends."""
    made = Served()
    yield made
    made.close()


def asks(balancer: Any) -> dict[str, Callable[[], bytes]]:
    """Return each way to make a call, as a function that returns who answered."""
    unary = balancer.unary_unary("/t.T/Unary")
    down = balancer.unary_stream("/t.T/Down")
    up = balancer.stream_unary("/t.T/Up")
    both = balancer.stream_stream("/t.T/Both")
    return {
        "unary": lambda: unary(b"x", timeout=TIMEOUT),
        "with_call": lambda: unary.with_call(b"x", timeout=TIMEOUT)[0],
        "future": lambda: unary.future(b"x", timeout=TIMEOUT).result(),
        "down": lambda: b"".join(down(b"xx", timeout=TIMEOUT))[:1],
        "up": lambda: up(iter([b"1", b"2"]), timeout=TIMEOUT).removesuffix(b":12"),
        "up with_call": lambda: up.with_call(iter([b"1"]), timeout=TIMEOUT)[0].removesuffix(b":1"),
        "both": lambda: b"".join(both(iter([b"1", b"2"]), timeout=TIMEOUT))[:1],
    }


WAYS = ["unary", "with_call", "future", "down", "up", "up with_call", "both"]


def names(balancer: Balancer, calls: int) -> list[bytes]:
    """Make so many calls and return who answered, sorted."""
    ask = asks(balancer)["unary"]
    return sorted(ask() for _ in range(calls))


@pytest.mark.parametrize("way", WAYS)
def test_calls_of_every_kind_take_turns(served: Served, way: str) -> None:
    """Calls of every kind take turns."""
    ask = asks(served.balancer(*served.all))[way]
    assert sorted(ask() for _ in range(6)) == [b"a", b"a", b"b", b"b", b"c", b"c"]


@pytest.mark.parametrize("way", WAYS)
def test_a_dead_backend_costs_no_call_of_any_kind(served: Served, way: str) -> None:
    """A dead backend costs no call of any kind."""
    ask = asks(served.balancer(*served.all))[way]
    served.a.stop()
    assert {ask() for _ in range(12)} == {b"b", b"c"}


@pytest.mark.parametrize("way", WAYS)
def test_an_address_that_refuses_moves_calls_on_when_none_is_connected(
    served: Served, way: str
) -> None:
    """An address that refuses moves calls on when none is connected."""
    served.a.stop()
    for _ in range(4):
        with Balancer(served.open) as balancer:
            balancer.update([served.a.address, served.b.address])
            assert asks(balancer)[way]() == b"b"


def test_an_address_that_comes_back_is_used_again(served: Served) -> None:
    """An address that comes back is used again."""
    balancer = served.balancer(served.a, served.b)
    served.a.stop()
    assert set(names(balancer, 6)) == {b"b"}
    assert balancer.connected == [served.b.address]
    served.all.append(Backend(b"A", port=int(served.a.address.rpartition(":")[2])))
    until(lambda: len(balancer.connected) == 2)
    assert names(balancer, 4) == [b"A", b"A", b"b", b"b"]


def test_a_new_address_is_used_once_it_is_connected(served: Served) -> None:
    """A new address is used once it is connected."""
    balancer = served.balancer(served.a, served.b)
    balancer.update(served.addresses)
    until(lambda: len(balancer.connected) == 3)
    assert names(balancer, 3) == [b"a", b"b", b"c"]


def test_the_same_addresses_again_change_nothing(served: Served) -> None:
    """The same addresses again change nothing."""
    balancer = served.balancer(*served.all)
    balancer.update([*reversed(served.addresses), served.a.address])
    assert len(served.opened) == 3
    assert len(balancer.connected) == 3


def test_stubs_share_one_channel_for_each_address(served: Served) -> None:
    """Stubs share one channel for each address."""
    balancer = served.balancer(*served.all)
    for _ in range(20):
        names(balancer, 3)
    assert len(served.opened) == 3


def test_least_loaded_leaves_a_busy_backend_alone(served: Served) -> None:
    """Least loaded leaves a busy backend alone."""
    balancer = served.balancer(*served.all, policy="least_loaded")
    served.a.gate.clear()
    call = balancer.unary_unary("/t.T/Unary")
    held = []
    while not served.a.entered:
        held.append(call.future(b"x", timeout=TIMEOUT))
        until(lambda: served.a.entered or held[-1].done())
    assert set(names(balancer, 10)) == {b"b", b"c"}
    served.a.gate.set()
    assert held[-1].result() == b"a"


def test_least_loaded_takes_turns_when_nothing_is_busy(served: Served) -> None:
    """Least loaded takes turns when nothing is busy."""
    balancer = served.balancer(*served.all, policy="least_loaded")
    assert names(balancer, 6) == [b"a", b"a", b"b", b"b", b"c", b"c"]


def test_a_call_that_was_sent_is_not_made_again(served: Served) -> None:
    """A call that was sent is not made again."""
    balancer = served.balancer(served.a)
    served.a.gate.clear()
    calls = [balancer.unary_unary("/t.T/Unary").future(b"x", timeout=TIMEOUT)]
    down = balancer.unary_stream("/t.T/Down")(b"x", timeout=TIMEOUT)
    until(lambda: served.a.entered == 2)
    balancer.update([served.a.address, served.b.address])
    until(lambda: len(balancer.connected) == 2)
    served.a.stop()
    for call in [*calls, down]:
        assert call.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.RpcError):
            next(down)
    assert served.b.entered == 0


def test_the_words_of_a_handler_move_no_call(served: Served) -> None:
    """The words of a handler move no call."""
    balancer = served.balancer(served.a, served.b)
    with pytest.raises(grpc.RpcError) as caught:
        balancer.unary_unary("/t.T/Unary")(b"relay", timeout=TIMEOUT)
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        RELAYED,
    )
    assert served.a.entered + served.b.entered == 1


def test_all_refuse(served: Served) -> None:
    """All refuse."""
    balancer = served.balancer(served.a, served.b)
    served.a.stop()
    served.b.stop()
    for way, ask in asks(balancer).items():
        with pytest.raises(grpc.RpcError) as caught:
            ask()
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, way


def test_a_channel_is_closed_after_its_last_call(served: Served) -> None:
    """A channel is closed after its last call."""
    balancer = served.balancer(served.a, served.b)
    served.a.gate.clear()
    served.b.gate.clear()
    calls = [balancer.unary_unary("/t.T/Unary").future(b"x", timeout=TIMEOUT) for _ in range(4)]
    until(lambda: served.a.entered + served.b.entered == 4)
    balancer.update([served.b.address])
    assert [channel.closed for _, channel in served.opened] == [0, 0]
    served.a.gate.set()
    served.b.gate.set()
    assert sorted(call.result() for call in calls) == [b"a", b"a", b"b", b"b"]
    until(lambda: [channel.closed for _, channel in served.opened] == [1, 0])
    assert set(names(balancer, 4)) == {b"b"}


def test_a_channel_without_calls_is_closed_at_once(served: Served) -> None:
    """A channel without calls is closed at once."""
    balancer = served.balancer(served.a, served.b)
    balancer.update([served.b.address])
    assert [channel.closed for _, channel in served.opened] == [1, 0]


def test_an_address_that_returns_before_its_last_call_has_ended_keeps_its_channel(
    served: Served,
) -> None:
    """An address that returns before its last call has ended keeps its channel."""
    balancer = served.balancer(served.a)
    served.a.gate.clear()
    call = balancer.unary_unary("/t.T/Unary").future(b"x", timeout=TIMEOUT)
    until(lambda: served.a.entered)
    balancer.update([])
    balancer.update([served.a.address])
    served.a.gate.set()
    assert call.result() == b"a"
    assert names(balancer, 2) == [b"a", b"a"]
    assert [channel.closed for _, channel in served.opened] == [0]


def test_a_dropped_stream_is_cancelled_and_gives_its_backend_back(served: Served) -> None:
    """A dropped stream is cancelled and gives its backend back."""
    balancer = served.balancer(served.a)
    stream = balancer.unary_stream("/t.T/Down")(b"x" * 10**6, timeout=3600)
    assert next(stream) == b"a"
    balancer.update([])
    del stream
    gc.collect()
    until(lambda: served.opened[0][1].closed)


def test_callbacks_come_once_and_after_the_end(served: Served) -> None:
    """Callbacks come once and after the end."""
    balancer = served.balancer(served.a, served.b)
    served.a.stop()
    said: list[Any] = []
    for _ in range(4):
        call = balancer.unary_unary("/t.T/Unary").future(b"x", timeout=TIMEOUT)
        call.add_done_callback(lambda call: said.append(call.result()))
        call.result()
    until(lambda: len(said) == 4)
    assert said == [b"b"] * 4


def test_no_call_moves_after_cancel(served: Served) -> None:
    """No call moves after cancel."""
    balancer = served.balancer(served.a, served.b)
    served.a.gate.clear()
    served.b.gate.clear()
    call = balancer.unary_unary("/t.T/Unary").future(b"x", timeout=TIMEOUT)
    assert call.cancel()
    assert call.cancelled()
    assert call.done()
    assert call.code() is grpc.StatusCode.CANCELLED


def test_without_an_address_it_says_so() -> None:
    """Without an address it says so."""
    with Balancer(grpc.insecure_channel) as balancer:
        for way, ask in asks(balancer).items():
            with pytest.raises(NoBackendError, match="no backend") as caught:
                ask()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE, way


def test_a_closed_balancer_refuses(served: Served) -> None:
    """A closed balancer refuses."""
    balancer = served.balancer(served.a)
    balancer.close()
    balancer.close()
    with pytest.raises(ValueError, match="closed"):
        names(balancer, 1)
    with pytest.raises(ValueError, match="closed"):
        balancer.update([])
    assert served.opened[0][1].closed == 1


def test_a_probe_that_is_refused_is_not_made_again_at_once(served: Served) -> None:
    """Something on the way that says UNAVAILABLE is asked twice a second, and used in the end."""
    served.a.sick = True
    with Balancer(served.open) as balancer:
        started = time.monotonic()
        balancer.update([served.a.address])
        until(lambda: served.a.probes == 3)
        assert time.monotonic() - started > 0.9
        assert balancer.connected == []
        served.a.sick = False
        until(lambda: balancer.connected)
        assert names(balancer, 1) == [b"a"]


def test_another_policy_is_refused() -> None:
    """Another policy is refused."""
    with pytest.raises(ValueError, match="least_loaded"):
        Balancer(grpc.insecure_channel, policy="random")  # type: ignore[arg-type]


def test_a_timeout_bounds_all_tries(served: Served) -> None:
    """A timeout bounds all tries."""
    balancer = served.balancer(served.b)
    served.b.gate.clear()
    with pytest.raises(grpc.RpcError) as caught:
        balancer.unary_unary("/t.T/Unary")(b"x", timeout=0.2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_future_says_how_far_it_is(served: Served) -> None:
    """Running until its answer is there, and done then."""
    balancer = served.balancer(served.b)
    served.b.gate.clear()
    call = balancer.unary_unary("/t.T/Unary").future(b"x", timeout=TIMEOUT)
    until(lambda: served.b.entered == 1)
    assert (call.running(), call.done(), call.cancelled()) == (True, False, False)
    served.b.gate.set()
    assert call.result() == b"b"
    assert (call.running(), call.done(), call.cancelled()) == (False, True, False)


def test_updates_from_many_threads_while_calls_run(served: Served) -> None:
    """Updates from many threads while calls run."""
    balancer = served.balancer(*served.all)
    stop = threading.Event()

    def turn(number: int) -> None:
        while not stop.is_set():
            balancer.update(served.addresses[number:] + served.addresses[:1])
            balancer.update(served.addresses)

    threads = [threading.Thread(target=turn, args=(number,)) for number in (1, 2)]
    for thread in threads:
        thread.start()
    try:
        assert len(names(balancer, 200)) == 200
    finally:
        stop.set()
        for thread in threads:
            thread.join()


class Refused(grpc.RpcError):
    """What a call raised."""

    def __init__(self, details: str, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> None:
        self._said = code, details

    def code(self) -> grpc.StatusCode:
        """Return the code."""
        return self._said[0]

    def details(self) -> str:
        """Return the words."""
        return self._said[1]


@pytest.mark.parametrize(
    ("details", "address", "expected"),
    [
        (RELAYED, "10.0.0.9:1", True),
        (RELAYED, "0.0.0.9:1", False),
        (RELAYED, "10.0.0.9:12", False),
        (RELAYED, "orders:1", False),
        (RELAYED.replace("UNKNOWN: ", ""), "10.0.0.9:1", True),
        (RELAYED.replace("10.0.0.9:1", "%5B::1%5D:1").replace("4", "6"), "[::1]:1", True),
        ("Stream removed (Socket closed)", "10.0.0.9:1", False),
        ("", "10.0.0.9:1", False),
    ],
)
def test_never_sent_reads_the_words_of_one_address(
    details: str, address: str, *, expected: bool
) -> None:
    """Never sent reads the words of one address."""
    assert never_sent(Refused(details), address) is expected


def test_never_sent_is_about_unavailable_only() -> None:
    """Never sent is about unavailable only."""
    assert not never_sent(Refused(RELAYED, grpc.StatusCode.UNKNOWN), "10.0.0.9:1")


@pytest.mark.timeout(60 + 30 * RELEASES)
def test_a_rolling_release_under_load_fails_no_call(served: Served) -> None:
    """All three backends are replaced, one after the other, and each call is answered."""
    balancer = served.balancer(*served.all)
    ways = asks(balancer)
    stop = threading.Event()
    failed: list[str] = []
    done = dict.fromkeys(ways, 0)

    def load(way: str) -> None:
        while not stop.is_set():
            try:
                ways[way]()
                done[way] += 1
            except grpc.RpcError as error:
                failed.append(f"{way}: {error!r}")

    threads = [threading.Thread(target=load, args=(way,)) for way in ways]
    for thread in threads:
        thread.start()
    try:
        for number in [0, 1, 2] * RELEASES:
            old = served.all[number]
            leaving = next(one for at, one in reversed(served.opened) if at == old.address)
            balancer.update(set(served.addresses) - {old.address})
            until(functools.partial(lambda channel: channel.closed, leaving))
            old.close()
            served.all[number] = Backend(b"n", port=int(old.address.rpartition(":")[2]))
            balancer.update(served.addresses)
            until(lambda: len(balancer.connected) == 3)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert min(done.values()) > 0


def test_a_stream_that_never_was_sent_moves_with_its_requests(served: Served) -> None:
    """A stream that never was sent moves with its requests."""
    served.a.stop()
    with Balancer(served.open) as balancer:
        balancer.update([served.a.address, served.b.address])
        for _ in range(4):
            up = balancer.stream_unary("/t.T/Up")
            assert up(iter([b"1", b"2", b"3"]), timeout=TIMEOUT) == b"b:123"


def test_requests_can_be_had_again_until_too_many_were_taken() -> None:
    """A second call gets what the first one took, up to ten requests."""
    requests = _Requests(iter(range(20)))
    first = requests.replay()
    assert [next(first), next(first)] == [0, 1]
    second = requests.replay()
    assert [next(second) for _ in range(10)] == list(range(10))
    assert not requests.lost
    assert list(second) == list(range(10, 20))
    assert requests.lost


def test_requests_that_come_later_reach_the_backend_that_answers(served: Served) -> None:
    """Requests that come later reach the backend that answers."""
    served.a.stop()
    go = threading.Event()

    def requests() -> Iterator[bytes]:
        go.wait(TIMEOUT)
        yield b"1"
        yield b"2"

    with Balancer(served.open) as balancer, contextlib.ExitStack() as stack:
        stack.callback(go.set)
        balancer.update([served.a.address, served.b.address])
        calls = [balancer.stream_unary("/t.T/Up").future(requests(), timeout=TIMEOUT)]
        calls.append(balancer.stream_unary("/t.T/Up").future(requests(), timeout=TIMEOUT))
        until(lambda: served.b.entered == 2)
        go.set()
        assert [call.result() for call in calls] == [b"b:12", b"b:12"]
