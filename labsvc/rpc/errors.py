"""Errors that cross a call: a status code, a text for people, details for programs.

A handler raises `StatusError`, the interceptors of `labsvc.rpc.recovery` send it, and the client
reads it back with `StatusError.of(error)`.

The details are those of google/rpc/error_details.proto: ErrorInfo, BadRequest and RetryInfo, sent
in the metadata key grpc-status-details-bin (gRPC guide "Error handling", AIP-193).
Claim C05; notebook 25 shows the use.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFINITE = frozenset(
    {
        grpc.StatusCode.OK,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.ALREADY_EXISTS,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.UNIMPLEMENTED,
    }
)
"""Codes after which the caller knows what happened: OK, it did; the others, it did not.

After any other code the effect may have happened. RESOURCE_EXHAUSTED is one of those: the client's
own library answers it when the reply of finished work is larger than it accepts. That a service
keeps to the meaning of google.rpc.Code is its own promise.
"""

# gRPC refuses metadata over 16 KiB, and over 8 KiB at random. Text is sent twice, and each byte
# that is not ASCII takes three.
_MAX_TEXT = 300  # characters
_MAX_DETAILS = 2500  # bytes

_NOT_CONNECTED = re.compile(
    r"(?:failed to connect to all addresses|connections to all backends failing); last error: "
    r"(?:[A-Z_]+: )?(?:ipv[46]:)?(?P<rest>.*)",
    re.DOTALL,
)


def never_sent(error: Any, address: str) -> bool:
    """Whether a call over a channel to `address` failed before its request left this process.

    Such an UNAVAILABLE is definite. There was no connection, or the server had closed it for new
    calls (GOAWAY), and the C core could make no other. It says so in words only, and a handler can
    say the same words: of its own call to the next service, after its own effect. So the words
    must name `address`, "host:port" with a numeric host. What they say in another version of
    grpcio counts as sent (made for 1.85; the tests hold the words).

    With a retryPolicy the words are about the last try, and an earlier one may have been sent.
    """
    if error.code() is not grpc.StatusCode.UNAVAILABLE:
        return False
    said = _NOT_CONNECTED.match(error.details() or "")
    return said is not None and said["rest"].startswith(f"{quote(address, safe=':/')}: ")


class StatusError(Exception):
    """An error meant for the caller. Raise it in a handler; nothing in it may be secret.

    Attributes:
        code: the status code.
        text: for people; cut after 300 characters.
        reason: for programs, in capitals such as OUT_OF_STOCK; sent as ErrorInfo.
        domain: who defines the reason, such as "shop.example.com".
        metadata: more for programs, sent with the reason.
        fields: what is wrong with which field of the request, sent as BadRequest. At most some
            2,500 bytes fit; what is over is left out.
        retry_after: seconds to wait before a retry, sent as RetryInfo and as gRPC's own
            grpc-retry-pushback-ms, which a retryPolicy obeys (gRFC A6).

    """

    def __init__(
        self,
        code: grpc.StatusCode,
        text: str,
        *,
        reason: str = "",
        domain: str = "",
        metadata: Mapping[str, str] | None = None,
        fields: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{code.name}: {text}")
        self.code = code
        self.text = text
        self.reason = reason
        self.domain = domain
        self.metadata = dict(metadata or {})
        self.fields = dict(fields or {})
        self.retry_after = retry_after

    @property
    def definite(self) -> bool:
        """Whether the effect is known not to have happened."""
        return self.code in DEFINITE

    @classmethod
    def of(cls, error: grpc.RpcError) -> StatusError:
        """Read what a call raised, of a sync channel or a grpc.aio one, with its details.

        Details of other types are passed over, and those that cannot be read too.
        """
        call: Any = error
        read = cls(call.code(), call.details() or "")
        try:
            status = rpc_status.from_call(call)
        except (AttributeError, ValueError, DecodeError):
            return read
        for detail in status.details if status is not None else ():
            read._take(detail)
        return read

    def _take(self, detail: Any) -> None:
        info = error_details_pb2.ErrorInfo()
        request = error_details_pb2.BadRequest()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            self.reason, self.domain = info.reason, info.domain
            self.metadata = dict(info.metadata)
        elif detail.Unpack(request):
            self.fields = {one.field: one.description for one in request.field_violations}
        elif detail.Unpack(retry):
            self.retry_after = retry.retry_delay.ToMilliseconds() / 1000

    def status(self) -> grpc.Status:
        """Return what `context.abort_with_status` takes."""
        text = self.text if len(self.text) <= _MAX_TEXT else self.text[: _MAX_TEXT - 1] + "…"
        message = status_pb2.Status(code=self.code.value[0], message=text)
        for detail in self._details():
            message.details.add().Pack(detail)
        packed = rpc_status.to_status(message)
        if self.retry_after is not None:
            pushback = ("grpc-retry-pushback-ms", str(round(self.retry_after * 1000)))
            packed = packed._replace(trailing_metadata=(*packed.trailing_metadata, pushback))
        status: grpc.Status = packed
        return status

    def _details(self) -> Iterator[Any]:
        if self.reason:
            yield error_details_pb2.ErrorInfo(
                reason=self.reason, domain=self.domain, metadata=self.metadata
            )
        if self.fields:
            request = error_details_pb2.BadRequest()
            for field, description in self.fields.items():
                request.field_violations.add(field=field, description=description)
                if request.ByteSize() > _MAX_DETAILS:
                    request.field_violations.pop()
                    break
            yield request
        if self.retry_after is not None:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(round(self.retry_after * 1000))
            yield retry
