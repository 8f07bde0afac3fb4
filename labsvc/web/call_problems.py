"""What an HTTP caller reads when a call fails: a problem document (RFC 9457), and back.

`code` is the gRPC code, `errors`, `reason`, `domain` and `metadata` the details of the status; they
are extension members. The text of a 5xx stays inside, in the log: it may hold addresses, or what an
exception said. `Retry-After` stands for RetryInfo.
"""

from __future__ import annotations

import json
import logging
import math
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.rpc.errors import StatusError
from labsvc.web.problem import problem, problem_response, title_of
from labsvc.web.statuses import HTTP_STATUS, code_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())

_SERVER_ERROR = 500
_HIDDEN = {
    grpc.StatusCode.UNAVAILABLE: "the service did not answer; try again later",
    grpc.StatusCode.DEADLINE_EXCEEDED: "the answer did not come in time",
    grpc.StatusCode.UNIMPLEMENTED: "the service does not have this method",
}


def document_of(error: StatusError) -> dict[str, Any]:
    """Return the problem document of an error."""
    status = HTTP_STATUS[error.code]
    hidden = status >= _SERVER_ERROR
    if hidden:
        log.warning("answered %s for %s", status, error)
    return problem(
        status,
        _HIDDEN.get(error.code, "something went wrong here") if hidden else error.text,
        code=error.code.name,
        errors=error.fields.items(),
        reason=error.reason,
        domain=error.domain,
        metadata=error.metadata,
    )


def response_of(error: StatusError) -> Response:
    """Return the answer for an error."""
    seconds = error.retry_after
    headers = {} if seconds is None else {"retry-after": str(math.ceil(seconds))}
    return problem_response(document_of(error), headers)


def error_of(status: int, headers: Mapping[str, str], content: bytes) -> StatusError:
    """Read an error that was answered over HTTP, of a gateway or of anybody else.

    Whatever the document leaves out, the status and the headers say; `headers` have lower-case
    names.
    """
    document = _document(content)
    name = document.get("code")
    known = grpc.StatusCode.__members__.get(name) if isinstance(name, str) else None
    error = StatusError(known or code_of(status), _text(document.get("detail")) or title_of(status))
    error.reason, error.domain = _text(document.get("reason")), _text(document.get("domain"))
    metadata, errors = document.get("metadata"), document.get("errors")
    if isinstance(metadata, dict):
        error.metadata = {key: _text(value) for key, value in metadata.items()}
    for each in errors if isinstance(errors, list) else ():
        if isinstance(each, dict) and isinstance(each.get("field"), str):
            error.fields[each["field"]] = _text(each.get("problem"))
    seconds = headers.get("retry-after", "")
    if seconds.isascii() and seconds.isdecimal():  # the other form is a date
        error.retry_after = float(seconds)
    return error


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
