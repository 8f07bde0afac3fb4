"""How a learner's function ends a handler on a server with threads."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.wording import summary

if TYPE_CHECKING:
    from collections.abc import Iterator


def may_end(error: BaseException) -> bool:
    """Return whether an error may end a handler: one of gRPC's, or what `context.abort` raises."""
    return _aborted(error) or isinstance(
        error, grpc.RpcError | grpc.FutureCancelledError | grpc.FutureTimeoutError
    )


@contextmanager
def as_grpc_ends_it(context: Any) -> Iterator[None]:
    """Answer with the status that was set before an error, or UNKNOWN, as gRPC does.

    It would log the stack trace as well.
    """
    try:
        yield
    except Exception as error:
        if _aborted(error):
            raise
        code = context.code() or grpc.StatusCode.UNKNOWN
        context.abort(code, f"Exception calling application: {summary(error)}")


def _aborted(error: BaseException) -> bool:
    # A bare Exception() is what grpcio raises there; it has no class of its own.
    return type(error) is Exception and not error.args
