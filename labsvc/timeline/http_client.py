"""Requests of plain httpx2 clients, noted where they leave: one event for each try on the wire."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import httpx2

from labsvc.timeline.outgoing import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.timeline.patches import Patch
    from labsvc.timeline.record import Tape

_FAILED = 500  # and above: the service's own failures


def patches(tape: Tape) -> Iterator[Patch]:
    """Yield what to put in the place of which attribute of which class."""
    plain, aio = httpx2.HTTPTransport, httpx2.AsyncHTTPTransport
    yield plain, "handle_request", _blocking(tape, plain.handle_request)
    yield aio, "handle_async_request", _asynchronous(tape, aio.handle_async_request)


def _outgoing(tape: Tape, request: httpx2.Request) -> Outgoing:
    url = request.url
    what = f"{request.method} {url.path}"
    outgoing = Outgoing(tape, what, _content(request), f"{url.host}:{url.port or 80}")
    name, value = outgoing.pair
    request.headers[name] = value
    return outgoing


def _content(request: httpx2.Request) -> object:
    """Return what makes a second request the same; a body that streams is never the same."""
    return getattr(request, "_content", request)


def _answered(outgoing: Outgoing, status: int) -> None:
    outgoing.end(str(status), answered=status < _FAILED)


def _blocking(tape: Tape, original: Any) -> Any:
    @wraps(original)
    def send(self: Any, request: httpx2.Request) -> Any:
        outgoing = _outgoing(tape, request)
        try:
            answer = original(self, request)
        except BaseException as error:
            outgoing.end(type(error).__name__, answered=False)
            raise
        _answered(outgoing, answer.status_code)
        return answer

    return send


def _asynchronous(tape: Tape, original: Any) -> Any:
    @wraps(original)
    async def send(self: Any, request: httpx2.Request) -> Any:
        outgoing = _outgoing(tape, request)
        try:
            answer = await original(self, request)
        except BaseException as error:
            outgoing.end(type(error).__name__, answered=False)
            raise
        _answered(outgoing, answer.status_code)
        return answer

    return send
