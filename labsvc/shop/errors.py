"""What can go wrong in the shop, and how each way of asking says it.

    ShopError                 gRPC                 HTTP
    ├── InvalidArgument       INVALID_ARGUMENT     422
    ├── NotFound              NOT_FOUND            404
    ├── AlreadyExists         ALREADY_EXISTS       409
    ├── OutOfStock            FAILED_PRECONDITION  409
    ├── Unavailable           UNAVAILABLE          503
    └── DeadlineExceeded      DEADLINE_EXCEEDED    504

The first four are definite: nothing was changed. The last two are indefinite: the change may
have happened or not, and the same request may be sent again, because orders are idempotent.
The codes follow google.rpc.Code and RFC 9110.
"""

# ruff: noqa: N818 - the names are those of the gRPC codes
from __future__ import annotations

from typing import ClassVar

import grpc

from labsvc.rpc.errors import StatusError


class ShopError(Exception):
    """Base of the shop's errors. The text is meant for the caller and holds nothing secret."""

    code: ClassVar[grpc.StatusCode]
    http_status: ClassVar[int]
    definite: ClassVar[bool] = True


class InvalidArgument(ShopError):
    """The request is wrong, whatever the shop holds. The caller's fault: mend the request."""

    code = grpc.StatusCode.INVALID_ARGUMENT
    http_status = 422


class NotFound(ShopError):
    """The user, the goods or the order does not exist. The caller's fault."""

    code = grpc.StatusCode.NOT_FOUND
    http_status = 404


class AlreadyExists(ShopError):
    """The order id was used for another order. The caller's fault: make a new id."""

    code = grpc.StatusCode.ALREADY_EXISTS
    http_status = 409


class OutOfStock(ShopError):
    """There are not enough goods. Nobody's fault: order less, or later."""

    code = grpc.StatusCode.FAILED_PRECONDITION
    http_status = 409


class Unavailable(ShopError):
    """A service behind this one did not answer. Not the caller's fault: send it again."""

    code = grpc.StatusCode.UNAVAILABLE
    http_status = 503
    definite = False


class DeadlineExceeded(ShopError):
    """The answer did not come in time. Not the caller's fault: send it again."""

    code = grpc.StatusCode.DEADLINE_EXCEEDED
    http_status = 504
    definite = False


_BY_CODE: dict[grpc.StatusCode, type[ShopError]] = {
    kind.code: kind
    for kind in (InvalidArgument, NotFound, AlreadyExists, OutOfStock, DeadlineExceeded)
}


def translate(error: Exception) -> StatusError | None:
    """Return the status of a ShopError; None for any other error. For `labsvc.rpc.recovery`."""
    return StatusError(error.code, str(error)) if isinstance(error, ShopError) else None


def from_code(code: grpc.StatusCode, text: str) -> ShopError:
    """Return the shop error for a status that another service answered.

    A code without a class of its own becomes Unavailable: what the other service did is not
    known, and its inner trouble is nothing that our caller could mend.
    """
    kind = _BY_CODE.get(code)
    if kind is None:
        return Unavailable(f"{code.name}: {text}; send the same request again")
    return kind(text)
