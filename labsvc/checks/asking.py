"""Helpers of the scenarios: read an error's status, wait, and call a service.

with stub(UserServiceStub, service.target) as users:
    outcome = answer.attempt(users, "u-1", allow=status_of)
if outcome.status != "NOT_FOUND":
    ...
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import grpc

from labsvc.checks.learner_code import chain
from labsvc.checks.wording import SLIPS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

CONNECT_SECONDS = 5.0


def status_of(error: BaseException | None) -> str | None:
    """Return the name of the gRPC status of an error, or of the error that caused it.

    "NOT_FOUND"; None without a gRPC error. `allow=status_of` takes an answer's own class of error
    as long as the gRPC error is kept as its cause.
    """
    for each in () if error is None else chain(error):
        if isinstance(each, SLIPS):  # raised while the gRPC error was handled
            return None
        code = getattr(each, "code", None)
        if isinstance(each, grpc.RpcError) and callable(code):
            return str(code().name)
    return None


def has_status(*names: str) -> Callable[[BaseException], bool]:
    """Return a test for `allow`: whether an error, or its cause, has one of these statuses."""
    return lambda error: status_of(error) in names


def wait(condition: Callable[[], object], seconds: float) -> bool:
    """Wait until a condition holds, `seconds` at most; return whether it does."""
    give_up_at = time.monotonic() + seconds
    while not (holds := bool(condition())) and time.monotonic() < give_up_at:
        time.sleep(0.005)
    return holds


def wait_while_moving(
    condition: Callable[[], object], progress: Callable[[], object], seconds: float
) -> bool:
    """Wait until a condition holds; give up when `progress` has not changed for `seconds`.

    Returns whether the condition holds. A slow answer has all the time it needs, and one that
    stands still is not waited for. Something else must bound the whole: `condition` should ask
    whether the answer is still running.
    """
    seen, since = progress(), time.monotonic()
    while not condition():
        if (now := progress()) != seen:
            seen, since = now, time.monotonic()
        if time.monotonic() - since > seconds:
            return bool(condition())
        time.sleep(0.005)
    return True


@contextmanager
def channel(target: str, **arguments: int | str) -> Iterator[grpc.Channel]:
    """Open a channel with a connection of its own, past every HTTP proxy.

    `arguments` are channel arguments without "grpc.": `initial_reconnect_backoff_ms=100`.
    """
    alone: dict[str, int | str] = {"enable_http_proxy": 0, "use_local_subchannel_pool": 1}
    options = [(f"grpc.{name}", value) for name, value in (alone | arguments).items()]
    with grpc.insecure_channel(target, options) as opened:
        yield opened


@contextmanager
def stub(make: Callable[[grpc.Channel], T], target: str, **arguments: int | str) -> Iterator[T]:
    """Open a channel as `channel` does, connect it, and yield its stub.

    Raises:
        grpc.FutureTimeoutError: there was no connection within five seconds.

    """
    with channel(target, **arguments) as opened:
        grpc.channel_ready_future(opened).result(timeout=CONNECT_SECONDS)
        yield make(opened)
