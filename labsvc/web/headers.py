"""Deadline and metadata of a call, from the headers of a request.

    grpc-timeout      what the caller still waits, as gRPC writes it: "250m" is 250 ms, "2S" 2 s
    authorization     goes on as it is
    traceparent, tracestate, x-request-id   likewise

No other header goes on: `x-user-id` and its like are for services to believe, and everybody can
send them (see `labsvc.rpc.context`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from labsvc.web.transcoding import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

TIMEOUT = "grpc-timeout"
SENT_ON = ("authorization", "traceparent", "tracestate", "x-request-id")
SENT_BACK = ("x-request-id",)

_SECONDS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_MOST_CHARACTERS = 4000  # gRPC refuses some 8 kB of metadata


def timeout_of(text: str | None) -> float | None:
    """Return the seconds that a grpc-timeout stands for; None without one.

    Raises:
        BadInputError: it is not of the form "250m".

    """
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,8})([HMSmun])", text)
    if found is None:
        msg = 'write it as "250m", a number of up to 8 digits and a unit'
        raise BadInputError(msg, TIMEOUT)
    return int(found[1]) * _SECONDS[found[2]]


def metadata_of(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """Return the metadata of a call: what of the headers goes on.

    Raises:
        BadInputError: a value is not ASCII text, or they are too long.

    """
    found = []
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        if name not in SENT_ON:
            continue
        if not value.isascii() or not value.isprintable():
            msg = "it may hold printable ASCII only"
            raise BadInputError(msg, name)
        found.append((name, value))
    if sum(len(name) + len(value) for name, value in found) > _MOST_CHARACTERS:
        raise BadInputError(f"the headers that go on hold over {_MOST_CHARACTERS} characters")
    return found


def headers_of(metadata: Iterable[tuple[str, str | bytes]]) -> dict[str, str]:
    """Return the headers of an answer: what of the metadata goes back."""
    return {name: value for name, value in metadata if name in SENT_BACK and isinstance(value, str)}
