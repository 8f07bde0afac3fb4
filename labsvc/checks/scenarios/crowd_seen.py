"""Part of the check of T0: the client's transport, which notes each try and says its fate."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2

from labsvc.checks.scenarios.crowd_plan import PATH

if TYPE_CHECKING:
    from labsvc.checks.scenarios.crowd_plan import Crowd, Fate

HEADER = "fate"  # tells the shop what to do to a try


@dataclass
class Try:
    """One request, from the client's side: `status` is None where no answer came. In seconds."""

    start: float
    what: str
    timeout: dict[str, float | None]
    body: Any
    fate: Fate | None = None
    end: float | None = None
    status: int | None = None


class Seen(httpx2.BaseTransport):
    """Carries requests over the network, notes each try, and says what happens to it.

    `come` begins with a crowd: `tries` are those of its customers, `all_came` is set as soon as
    each of them has sent one. `earlier` are the ids of the orders before.
    """

    def __init__(self, ways: dict[Fate, httpx2.URL], earlier: set[str]) -> None:
        self.earlier = earlier
        self._ways = ways
        self._left: dict[str, list[Fate]] = {}
        self._real = httpx2.HTTPTransport()
        self._row = threading.Lock()
        self.all_came = threading.Event()

    def come(self, crowd: Crowd) -> None:
        """Forget the customers before, but not their ids, and wait for these."""
        self.earlier |= self._left.keys()
        self.tries: list[Try] = []
        self._crowd = crowd
        self._left = {}
        self.all_came.clear()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, and read the whole of its answer."""
        with self._row:
            made = _try(request)
            self.tries.append(made)
            made.fate = self._next(made)
        try:
            answer = self._real.handle_request(self._sent(request, made.fate))
            content = answer.read()
            made.status = answer.status_code
        finally:
            made.end = time.monotonic()
        return httpx2.Response(answer.status_code, headers=answer.headers, content=content)

    def _next(self, made: Try) -> Fate | None:
        """Return what happens to this try."""
        if made.what != PATH or not isinstance(made.body, dict):
            return None
        order_id = str(made.body.get("order_id"))
        if order_id not in self._left:
            self._left[order_id] = list(self._crowd.scripts.get(len(self._left), ()))
            if len(self._left) == self._crowd.size:
                self.all_came.set()
        script = self._left[order_id]
        return script.pop(0) if script else None

    def _sent(self, request: httpx2.Request, fate: Fate | None) -> httpx2.Request:
        """Return the request as it goes out: the caller may send its own again."""
        way = self._ways.get(fate or "", request.url)
        headers = httpx2.Headers(request.headers)
        headers[HEADER] = str(fate)
        return httpx2.Request(
            request.method,
            request.url.copy_with(port=way.port),
            headers=headers,
            content=request.read(),
            extensions=request.extensions,
        )

    def close(self) -> None:
        """Close the connections."""
        self._real.close()


def _try(request: httpx2.Request) -> Try:
    try:
        body = json.loads(request.read())
    except ValueError:
        body = None
    what = f"{request.method} {request.url.raw_path.decode()}"
    return Try(time.monotonic(), what, request.extensions["timeout"], body)
