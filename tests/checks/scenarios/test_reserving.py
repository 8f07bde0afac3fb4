from __future__ import annotations

import json
import random
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
OVERRIDE = ("grpc.ssl_target_name_override", "inventory.internal")


def options(
    policy: str = "round_robin", name: tuple[str, str] | None = NAME, *, health: bool = True
) -> list[tuple[str, str]]:
    """Return the options of a channel."""
    config: dict[str, Any] = {"loadBalancingConfig": [{policy: {}}]}
    if health:
        config["healthCheckConfig"] = {"serviceName": ""}
    return [("grpc.service_config", json.dumps(config)), *([name] if name else [])]


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
    options: list[tuple[str, str]] = options(),  # noqa: B008  # read only
    credentials: Callable[[Any, list[str]], grpc.ChannelCredentials] | None = trusting,
    key: Callable[[Any, Any], object] = lambda members, files: (sorted(members), files),
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

        kept |= {"files": files, "balancer": Balancer(open_channel), "members": None}
    balancer = kept["balancer"]
    if members and kept["members"] != members:
        kept["members"] = kept["last"] = members
        balancer.update(members)
    elif kept["members"] is None:
        kept["members"] = kept["last"]
        balancer.update(kept["last"])
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
    files, kept["members"] = kept["files"], members or kept["members"]
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
                if not serves(channel):
                    continue
                left = ends - time.monotonic()
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
        (way(credentials=None), "ended with DEADLINE_EXCEEDED", "tls.reason"),
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
        (way(key=lambda members, _: members), "calls went with the old one", "a new channel"),
        (way(key=lambda _, files: files), "came into the list, and got no call", "Notebook 41"),
        (way(close=False), "the connection from before stayed open", "Close a channel when"),
        (way(empty=False, wait=False), "the list came empty, and a call ended", "Notebook 42"),
        (way(unreadable=False), "`read` raised OSError, and a call ended with OSError",
         "Notebook 40"),
        (way(call=again_after(CODE.UNAVAILABLE)), "said UNAVAILABLE, and one order arrived 2",
         "What was sent may be done"),
        (way(call=again_after(CODE.DEADLINE_EXCEEDED)), "said nothing, and one order arrived 2",
         "Notebook 41"),
        (way(timeout=lambda _: None), "a call took longer than `seconds`", "Notebook 22"),
        (way(timeout=lambda _: 30), "a call took longer than `seconds`", "Notebook 22"),
        (way(call=hides), "and your function returned", "let the grpc.RpcError out"),
        (way(call=another_error), "and the caller got LookupError", "as it is"),
        (asks_nobody, "no member got the order", "Send `request` as it is"),
    ],
)  # fmt: skip
def test_reserving_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
