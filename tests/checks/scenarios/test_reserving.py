from __future__ import annotations

import json
import random
import re
import ssl
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cryptography import x509

from labsvc.rpc.balance import Balancer
from labsvc.rpc.errors import never_sent
from labsvc.shop.v1 import inventory_pb2, inventory_pb2_grpc
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("answers_have_ended")

EXERCISE = "T4-reserve"
CODE = grpc.StatusCode
NAME = ("grpc.default_authority", "inventory.internal")
SOON = ("grpc.max_reconnect_backoff_ms", 100)
OVERRIDE = ("grpc.ssl_target_name_override", "inventory.internal")


def options(
    policy: str = "round_robin",
    name: tuple[str, str] | None = NAME,
    *,
    health: bool = True,
    soon: bool = True,
) -> list[tuple[str, Any]]:
    """Return the options of a channel."""
    config: dict[str, Any] = {"loadBalancingConfig": [{policy: {}}]}
    if health:
        config["healthCheckConfig"] = {"serviceName": ""}
    made = [("grpc.service_config", json.dumps(config)), *([name] if name else [])]
    return [*made, SOON] if soon else made


def trusting(files: Any, _members: list[str]) -> grpc.ChannelCredentials:
    """Return credentials of these files, as the exercise wants them."""
    key, certificate, authority = files
    return grpc.ssl_channel_credentials(authority, key, certificate)


def of_the_system(files: Any, _members: list[str]) -> grpc.ChannelCredentials:
    """Trust the authorities that gRPC brings along."""
    return grpc.ssl_channel_credentials(None, *files[:2])


def nameless(files: Any, _members: list[str]) -> grpc.ChannelCredentials:
    """Show no certificate."""
    return grpc.ssl_channel_credentials(files[2])


def of_whoever_answers(files: Any, members: list[str]) -> grpc.ChannelCredentials:
    """Trust whatever certificate a member shows at first."""
    shown = [ssl.get_server_certificate(address_of(each), timeout=5) for each in members]
    key, certificate, authority = files
    trusted = authority + "".join(shown).encode()
    return grpc.ssl_channel_credentials(trusted, key, certificate)


def address_of(member: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = member.partition(":")
    return host, int(port)


def plain(call: Any, request: Any, **how: Any) -> Any:
    """Make the call."""
    return call(request, **how)


def by_future(call: Any, request: Any, **how: Any) -> Any:
    """Make the call by a future."""
    return call.future(request, **how).result()


def way(
    *,
    options: list[tuple[str, Any]] = options(),  # noqa: B008  # read only
    credentials: Callable[[Any, list[str]], grpc.ChannelCredentials] | None = trusting,
    key: Callable[[Any, Any], object] = lambda members, files: (members, files),
    look: Callable[[Any], Any] = lambda members: sorted(set(members)),
    close: bool = True,
    empty: bool = True,
    unreadable: bool = True,
    timeout: Callable[[float], float | None] = lambda seconds: seconds,
    wait: bool = True,
    call: Callable[..., Any] = plain,
) -> Callable[..., Any]:
    """Return an answer, right but for what is said here."""

    def reserve(request: Any, members: Any, read: Any, kept: Any, seconds: float) -> Any:
        try:
            files = read()
        except OSError:
            if not unreadable:
                raise
            files = kept["files"]
        members = look(members)
        if empty and not members:
            members = kept["members"]
        if kept.get("key") != key(members, files) or "channel" not in kept:
            if "channel" in kept and close:
                kept["channel"].close()
            elif "channel" in kept:
                kept.setdefault("old", []).append(kept["channel"])
            target = "ipv4:" + ",".join(members)
            if credentials:
                made = grpc.secure_channel(target, credentials(files, members), options)
            else:
                made = grpc.insecure_channel(target, options)
            kept |= {"key": key(members, files), "channel": made}
        kept |= {"files": files, "members": members}
        method = inventory_pb2_grpc.InventoryServiceStub(kept["channel"]).ReserveStock
        how: dict[str, Any] = {"wait_for_ready": True} if wait else {}
        return call(method, request, timeout=timeout(seconds), **how)

    return reserve


def with_balancer(request: Any, members: Any, read: Any, kept: Any, seconds: float) -> Any:
    """Solve it with the balancer of the package, a new one for each renewal."""
    ends = time.monotonic() + seconds
    try:
        files = read()
    except OSError:
        files = kept["files"]
    if kept.get("files") != files:
        if "balancer" in kept:
            kept["balancer"].close()

        def open_channel(address: str) -> grpc.Channel:
            return grpc.secure_channel(address, trusting(files, []), options())

        kept |= {"files": files, "balancer": Balancer(open_channel)}
    balancer = kept["balancer"]
    kept["members"] = list(members) or kept["members"]
    balancer.update(kept["members"])
    while not balancer.connected and time.monotonic() < ends:
        time.sleep(0.01)
    stub = inventory_pb2_grpc.InventoryServiceStub(balancer)
    return stub.ReserveStock(request, timeout=ends - time.monotonic())


def serves(channel: grpc.Channel) -> bool:
    """Say whether the member behind a channel answers a question for its health."""
    ask: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
    try:
        ask(b"", timeout=0.5)
    except grpc.RpcError:
        return False
    return True


def channels(
    members: Any, read: Any, kept: Any, names: Callable[[str], str]
) -> dict[str, grpc.Channel]:
    """Return the channel to each member, out of those that are kept."""
    with suppress(OSError):
        kept["files"] = read()
    files, kept["members"] = kept["files"], list(members) or kept["members"]
    for address in [each for each in kept if ":" in each]:
        if address not in kept["members"] or kept[address][0] != files:
            kept.pop(address)[1].close()
    for address in kept["members"]:
        if address not in kept:
            how = options(name=(NAME[0], names(address)))
            kept[address] = files, grpc.secure_channel(address, trusting(files, []), how)
    return {address: kept[address][1] for address in kept["members"]}


def by_hand(names: Callable[[str], str] = lambda _: NAME[1]) -> Callable[..., Any]:
    """Return an answer with a channel for each member, that takes the names they say."""

    def reserve(request: Any, members: Any, read: Any, kept: Any, seconds: float) -> Any:
        ends = time.monotonic() + seconds
        ways = list(channels(members, read, kept, names).items())
        while True:
            for address, channel in random.sample(ways, len(ways)):
                left = ends - time.monotonic()
                if left > 0 and not serves(channel):
                    continue
                try:
                    stub = inventory_pb2_grpc.InventoryServiceStub(channel)
                    return stub.ReserveStock(request, timeout=left)
                except grpc.RpcError as error:
                    if not never_sent(error, address) or left < 0:
                        raise

    return reserve


def any_member(request: Any, members: Any, read: Any, kept: Any, seconds: float) -> Any:
    """Choose a member, dead or alive."""
    ways = channels(members, read, kept, lambda _: NAME[1])
    stub = inventory_pb2_grpc.InventoryServiceStub(random.choice([*ways.values()]))  # noqa: S311
    return stub.ReserveStock(request, timeout=seconds)


def everybody(request: Any, members: Any, read: Any, kept: Any, seconds: float) -> Any:
    """Ask all members at once, and take the first answer."""
    ways = channels(members, read, kept, lambda _: NAME[1])
    with ThreadPoolExecutor() as pool:
        stubs = [inventory_pb2_grpc.InventoryServiceStub(each) for each in ways.values()]
        asked = [pool.submit(each.ReserveStock, request, timeout=seconds) for each in stubs]
        return next(as_completed(asked)).result()


def as_it_says(member: str) -> str:
    """Return the name in the certificate that a member shows."""
    shown = ssl.get_server_certificate(address_of(member), timeout=5).encode()
    extensions = x509.load_pem_x509_certificate(shown).extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)[0]


def again_after(*codes: grpc.StatusCode) -> Callable[..., Any]:
    """Make a call again after these codes."""

    def call(call: Any, request: Any, **how: Any) -> Any:
        try:
            return call(request, **how)
        except grpc.RpcError as error:
            if error.code() not in codes:
                raise
            return call(request, **how)

    return call


def keeps_a_part(call: Any, request: Any, **how: Any) -> Any:
    """Send the order's id alone."""
    return call(inventory_pb2.ReserveStockRequest(order_id=request.order_id), **how)


def forgets_the_answer(call: Any, request: Any, **how: Any) -> Any:
    """Return an answer of its own in place of the member's."""
    call(request, **how)
    return inventory_pb2.ReserveStockResponse()


def sends_another(call: Any, request: Any, **how: Any) -> Any:
    """Send an order of its own after the caller's."""
    answer = call(request, **how)
    call.future(inventory_pb2.ReserveStockRequest(order_id=request.order_id + "-copy"), **how)
    return answer


def wraps(call: Any, request: Any, **how: Any) -> Any:
    """Raise another error, with its cause."""
    try:
        return call(request, **how)
    except grpc.RpcError as error:
        msg = "no"
        raise RuntimeError(msg) from error


class _Bare(grpc.RpcError):
    """Has the code of another error, and no details."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__()
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return ""


def loses_details(call: Any, request: Any, **how: Any) -> Any:
    """Raise a gRPC error of its own with the same code."""
    try:
        return call(request, **how)
    except grpc.RpcError as error:
        code = error.code()
    raise _Bare(code)


def each_try(seconds: float) -> Callable[..., Any]:
    """Give each try so many seconds, and send again after them."""

    def call(call: Any, request: Any, timeout: float, **how: Any) -> Any:
        tried = call.future(request, timeout=timeout, **how)
        try:
            return tried.result(timeout=seconds)
        except grpc.FutureTimeoutError:
            return call(request, timeout=timeout - seconds, **how)

    return call


def waits_until_connected(call: Any, request: Any, wait_for_ready: bool, **how: Any) -> Any:  # noqa: FBT001
    """Call again for as long as nobody is reached."""
    while True:
        try:
            return call(request, wait_for_ready=not wait_for_ready, **how)
        except grpc.RpcError as error:
            if not re.search(r"last error: .*127\.0\.0\.1", error.details() or ""):
                raise
            time.sleep(0.01)


GLOBAL: dict[Any, Any] = {}


def in_a_global(request: Any, members: Any, read: Any, _kept: Any, seconds: float) -> Any:
    """Keep what it keeps where other callers find it."""
    return way()(request, members, read, GLOBAL, seconds)


def three_reads(request: Any, members: Any, read: Any, kept: Any, seconds: float) -> Any:
    """Take each file from a reading of its own."""
    return way()(request, members, lambda: (read()[0], read()[1], read()[2]), kept, seconds)


def only(which: str) -> Callable[..., Any]:
    """Return an answer that notices only who comes, or only who leaves."""

    def reserve(request: Any, members: Any, read: Any, kept: Any, seconds: float) -> Any:
        before, now = set(kept.get("last", ())), set(members)
        if before and now and not (now - before if which == "comes" else before - now):
            members = kept["last"]
        elif now:
            kept["last"] = sorted(now)
        return way()(request, members, read, kept, seconds)

    return reserve


def list_waits(request: Any, members: Any, read: Any, kept: Any, seconds: float) -> Any:
    """Look at the list only if the files can be read."""
    try:
        read()
    except OSError:
        members = []
    return way()(request, members, read, kept, seconds)


def gone_for_ever(request: Any, members: Any, read: Any, kept: Any, seconds: float) -> Any:
    """Never call a member again that has left once."""
    gone = kept.setdefault("gone", set())
    now = set(members) or set(kept["now"])
    gone |= set(kept.get("now", ())) - now
    kept["now"] = now
    return way()(request, sorted(now - gone), read, kept, seconds)


def hides(call: Any, request: Any, **how: Any) -> Any:
    """Return an answer of its own after an error."""
    try:
        return call(request, **how)
    except grpc.RpcError:
        return inventory_pb2.ReserveStockResponse()


def another_error(call: Any, request: Any, **how: Any) -> Any:
    """Raise another error, without its cause."""
    try:
        return call(request, **how)
    except grpc.RpcError:
        msg = "no"
        raise LookupError(msg) from None


def asks_nobody(*_: Any) -> Any:
    """Return what it was not given."""
    return inventory_pb2.ReserveStockResponse()


@pytest.mark.parametrize(
    "answer",
    [
        way(),
        way(options=options(name=OVERRIDE), wait=False, call=by_future),
        with_balancer,
        by_hand(),
    ],
    ids=["one_channel", "override", "balancer", "by_hand"],
)
def test_reserving_solved(answer: Callable[..., Any]) -> None:
    """Whatever holds the points solves it."""
    assert_solved(EXERCISE, answer)


def test_reserving_stub() -> None:
    """The stub is not attempted."""

    def stub(request: Any, members: Any, read: Any, kept: Any, seconds: float) -> Any:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (way(credentials=None, wait=False), "all was well, and a call ended with UNAVAILABLE",
         "Notebook 40"),
        (way(credentials=None), "ended with DEADLINE_EXCEEDED", "without `wait_for_ready`"),
        (way(credentials=of_the_system, wait=False), "ended with UNAVAILABLE", "tls.reason"),
        (way(credentials=nameless, wait=False), "ended with UNAVAILABLE", "tls.reason"),
        (way(options=options(name=None), wait=False), "ended with UNAVAILABLE", "the name in it"),
        (way(credentials=of_whoever_answers), "a certificate of another authority, and it got",
         "no other, and one name. Notebook 40"),
        (by_hand(names=as_it_says), "a certificate of another name, and it got", "and one name"),
        (way(key=lambda *_: object()), "connections were opened to one member", "Notebook 40"),
        (way(options=options("pick_first")), "one of 3 members got 0", "round_robin. Notebook 41"),
        (way(options=options(health=False)), "said NOT_SERVING, and it got", "healthCheckConfig"),
        (everybody, "one order arrived", "One member gets it, once."),
        (any_member, "and a call ended with UNAVAILABLE", "The others serve"),
        (way(key=lambda members, _: members), "a call went with the old certificate",
         "a new channel"),
        (way(key=lambda _, files: files), "came into the list, and got no call", "Notebook 41"),
        (way(close=False), "the connection from before stayed open", "Close a channel when"),
        (way(empty=False, wait=False), "the list came empty, and a call ended", "Notebook 42"),
        (way(unreadable=False), "`read` raised OSError, and a call ended with OSError",
         "Notebook 40"),
        (way(call=again_after(CODE.UNAVAILABLE)), "said UNAVAILABLE, and one order arrived 2",
         "What was sent may be done"),
        (way(call=again_after(CODE.DEADLINE_EXCEEDED)),
         "said DEADLINE_EXCEEDED, and one order arrived 2", "Notebook 41"),
        (way(timeout=lambda _: None), "given longer than `seconds`", "Notebook 22"),
        (way(timeout=lambda _: 30), "given longer than `seconds`", "Notebook 22"),
        (way(call=hides), "and your function returned", "let the grpc.RpcError out"),
        (way(call=another_error), "and the caller got LookupError", "as it is"),
        (way(call=sends_another), "an order that is not the one of the call", "nothing else"),
        (way(call=keeps_a_part), "an order that is not the one of the call", "all that is in it"),
        (way(call=forgets_the_answer), "another answer than the member's", "as it is"),
        (way(call=waits_until_connected), "no member could be reached, and a call took longer",
         "Notebook 22"),
        (way(call=again_after(CODE.RESOURCE_EXHAUSTED, CODE.ABORTED)), "one order arrived 2",
         "What was sent may be done"),
        (way(call=each_try(1)), "took its time, and one order arrived 2", "Notebook 41"),
        (way(call=wraps), "and the caller got RuntimeError", "with its code and its details"),
        (way(call=loses_details), "and the caller got other details", "its details"),
        (way(options=options(soon=False)), "there again, and got no call", "set its backoff"),
        (way(look=list), "connections were opened to one member", "order of the list"),
        (way(look=lambda members: members), "came into the list, and got no call", "with a copy"),
        (only("comes"), "a member had left the list, and it got", "Forget it"),
        (only("leaves"), "came into the list, and got no call", "Notebook 41"),
        (gone_for_ever, "came into the list, and got no call", "Notebook 41"),
        (list_waits, "OSError when the list had changed", "keep files and members apart"),
        (three_reads, "other files each time, and a call ended", "belong together"),
        (way(key=lambda members, files: (members, files[:2])), "returned another authority",
         "the authority of now alone"),
        (in_a_global, "two callers took turns", "there alone"),
        (way(timeout=lambda seconds: seconds + 1.4), "given longer than `seconds`", "is left of"),
        (way(timeout=lambda seconds: seconds / 2), "a part of `seconds`", "may need them all"),
        (way(timeout=lambda _: 2), "a part of `seconds`", "Notebook 22"),
        (asks_nobody, "no member got the order", "Send `request` as it is"),
    ],
)  # fmt: skip
def test_reserving_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
