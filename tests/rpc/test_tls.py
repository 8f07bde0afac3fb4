"""Tests of TLS: what a caller reads in an error, a renewed certificate, the caller's name."""

from __future__ import annotations

import asyncio
import errno
import logging
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
import trustme

from labsvc.lab import Lab
from labsvc.rpc import tls
from labsvc.rpc.tls import Reason
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

ASK = user_pb2.GetUserRequest(user_id="u-1")
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)
OURS, STRANGER = trustme.CA(), trustme.CA()
DAY = timedelta(days=1)
NOW = datetime.now(UTC)
TIMEOUT = 20


def pair(certificate: trustme.LeafCert) -> tuple[bytes, bytes]:
    """Return key and chain in PEM."""
    chain = b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    return certificate.private_key_pem.bytes(), chain


HERE = pair(OURS.issue_cert("127.0.0.1"))


def trusting(authority: trustme.CA, client: trustme.LeafCert | None = None) -> Any:
    """Return a client's credentials."""
    key, chain = pair(client) if client else (None, None)
    return grpc.ssl_channel_credentials(authority.cert_pem.bytes(), key, chain)


def showing(key_and_chain: tuple[bytes, bytes], *, mutual: bool = False) -> Any:
    """Return a server's credentials."""
    roots = OURS.cert_pem.bytes() if mutual else None
    return grpc.ssl_server_credentials([key_and_chain], roots, mutual)


class AioUsers(user_pb2_grpc.UserServiceServicer):
    """Notes who called."""

    def __init__(self) -> None:
        self.callers: list[tuple[str, ...]] = []

    async def GetUser(self, request: Any, context: Any) -> Any:
        """Answer."""
        self.callers.append(tls.peer_names(context))
        if request.user_id == "talks":
            text = "certificate has expired, Socket closed"
            await context.abort(grpc.StatusCode.UNAVAILABLE, text)
        return user_pb2.GetUserResponse()


class Users(AioUsers):
    """The same on threads."""

    def GetUser(self, request: Any, context: Any) -> Any:
        """Answer."""
        self.callers.append(tls.peer_names(context))
        return user_pb2.GetUserResponse()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run a lab."""
    with Lab() as running:
        yield running


def connect(target: str, credentials: Any) -> grpc.Channel:
    """Make a channel with a connection of its own."""
    if credentials is None:
        return grpc.insecure_channel(target, OWN_CONNECTION)
    return grpc.secure_channel(target, credentials, OWN_CONNECTION)


def ask(target: str, credentials: Any, user_id: str = "u-1", **settings: Any) -> Any:
    """Call once; return the error, None if there was none."""
    with connect(target, credentials) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        request = user_pb2.GetUserRequest(user_id=user_id)
        return stub.GetUser.future(request, **{"timeout": TIMEOUT} | settings).exception()


@pytest.mark.parametrize(
    ("server", "client", "expected"),
    [
        (showing(HERE), trusting(OURS), None),
        (showing(HERE), None, Reason.CLOSED),
        (None, trusting(OURS), Reason.PLAINTEXT),
        (showing(pair(OURS.issue_cert("a.internal"))), trusting(OURS), Reason.WRONG_NAME),
        (showing(HERE), trusting(STRANGER), Reason.UNKNOWN_CA),
        (showing(HERE), grpc.ssl_channel_credentials(), Reason.UNKNOWN_CA),
        (showing(HERE), grpc.ssl_channel_credentials(b"no PEM"), Reason.BAD_ROOTS),
        (
            showing(pair(OURS.issue_cert("127.0.0.1", not_after=NOW - DAY))),
            trusting(OURS),
            Reason.EXPIRED,
        ),
        (
            showing(pair(OURS.issue_cert("127.0.0.1", not_before=NOW + DAY))),
            trusting(OURS),
            Reason.NOT_YET_VALID,
        ),
        (showing(HERE, mutual=True), trusting(OURS), Reason.CLOSED),
        (showing(HERE, mutual=True), trusting(OURS, STRANGER.issue_cert("a")), Reason.CLOSED),
        (
            showing(HERE, mutual=True),
            trusting(OURS, OURS.issue_cert("a", not_after=NOW - DAY)),
            Reason.CLOSED,
        ),
        (showing(HERE, mutual=True), trusting(OURS, OURS.issue_cert("a")), None),
    ],
)
def test_the_reason_is_read(lab: Lab, server: Any, client: Any, expected: Reason | None) -> None:
    """Each mistake has its reason in the text of this grpcio, for sync and aio callers."""
    target = lab.serve_grpc(AioUsers(), credentials=server).target

    async def aio_ask() -> Any:
        channel = (
            grpc.aio.insecure_channel(target, OWN_CONNECTION)
            if client is None
            else grpc.aio.secure_channel(target, client, OWN_CONNECTION)
        )
        async with channel:
            try:
                await user_pb2_grpc.UserServiceStub(channel).GetUser(ASK, timeout=TIMEOUT)
            except grpc.aio.AioRpcError as error:
                return error
        return None

    for error in (ask(target, client), asyncio.run(aio_ask())):
        assert (error is None) == (expected is None), error
        assert tls.reason(error) is expected, error.details()


def test_what_is_not_about_tls_has_no_reason(lab: Lab) -> None:
    """A server that is down, a deadline, and a service that talks of certificates."""
    service = lab.serve_grpc(AioUsers())
    talks = ask(service.target, None, "talks")
    assert talks.code() is grpc.StatusCode.UNAVAILABLE
    assert tls.reason(talks) is None
    service.stop()
    down = ask(service.target, None)
    assert down.code() is grpc.StatusCode.UNAVAILABLE
    assert tls.reason(down) is None
    secure = lab.serve_grpc(AioUsers(), credentials=showing(HERE)).target
    late = ask(secure, trusting(STRANGER), timeout=0.3, wait_for_ready=True)
    assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert tls.reason(late) is None


@pytest.mark.parametrize("workers", [None, 2])
def test_a_certificate_is_renewed_while_calls_run(lab: Lab, workers: int | None) -> None:
    """The open connection stays, and a new one gets what `read` returns now."""
    files = {"now": HERE}
    users = AioUsers() if workers is None else Users()
    credentials = tls.reloading(lambda: files["now"])
    target = lab.serve_grpc(users, workers=workers, credentials=credentials).target
    with connect(target, trusting(OURS)) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        stub.GetUser(ASK, timeout=TIMEOUT)
        files["now"] = pair(STRANGER.issue_cert("127.0.0.1"))
        assert ask(target, trusting(STRANGER)) is None
        assert tls.reason(ask(target, trusting(OURS))) is Reason.UNKNOWN_CA
        stub.GetUser(ASK, timeout=TIMEOUT)


def test_what_cannot_be_read_leaves_the_old_one(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """An error is logged; a pair that does not fit is passed over by gRPC."""
    other_key, _ = pair(OURS.issue_cert("127.0.0.1"))
    answers: list[Any] = [HERE]
    read_again = threading.Event()

    def read() -> tuple[bytes, bytes]:
        if isinstance(answers[0], Exception):
            read_again.set()
            raise answers[0]
        key, chain = answers[0]
        return key, chain

    target = lab.serve_grpc(AioUsers(), credentials=tls.reloading(read)).target
    answers[0] = (other_key, HERE[1])
    assert ask(target, trusting(OURS)) is None
    answers[0] = OSError("no such file")
    with caplog.at_level(logging.ERROR, logger=tls.__name__):
        assert ask(target, trusting(OURS)) is None
    assert read_again.is_set()
    assert "the one before is used on" in caplog.text


def test_a_first_certificate_that_cannot_be_read_is_an_error() -> None:
    """There is none before it."""

    def read() -> tuple[bytes, bytes]:
        raise FileNotFoundError(errno.ENOENT, "no such file", "users.pem")

    with pytest.raises(FileNotFoundError, match=r"users\.pem"):
        tls.reloading(read)


@pytest.mark.parametrize("workers", [None, 2])
def test_the_caller_has_the_names_of_its_certificate(lab: Lab, workers: int | None) -> None:
    """All of them under mTLS, and none where no certificate is shown."""
    users = AioUsers() if workers is None else Users()
    mutual = tls.reloading(lambda: HERE, clients=OURS.cert_pem.bytes())
    service = lab.serve_grpc(users, workers=workers, credentials=mutual)
    named = OURS.issue_cert("orders.internal", "orders.example")
    assert ask(service.target, trusting(OURS, named)) is None
    assert tls.reason(ask(service.target, trusting(OURS))) is Reason.CLOSED
    assert users.callers == [("orders.internal", "orders.example")]
    users.callers.clear()
    secure = lab.serve_grpc(users, workers=workers, credentials=showing(HERE)).target
    assert ask(secure, trusting(OURS, named)) is None
    bare = lab.serve_grpc(users, name="bare", workers=workers).target
    assert ask(bare, None, metadata=[("x509_subject_alternative_name", "orders")]) is None
    assert users.callers == [(), ()]
