"""Stage of notebook 30's exercise: prices over HTTP/1.1, in trouble when they are asked to be."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from contextlib import closing, contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from labsvc.checks.scenarios.by_hand import ByHand, drip, head, silence
from labsvc.ports import hold

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.by_hand import Request

Trouble = Literal["error", "lost", "cut", "silent", "drips", "slow"]

SLOW_SECONDS = 0.5

_numbers = itertools.count(1)
_names = ("tea", "pen", "cup", "ink", "jar", "hat", "map", "bag")


class ThirdParty(ByHand):
    """Answers with the price of an item; `trouble` says what happens to some of them.

    `asked` are the items in the order of the requests.
    """

    def __init__(
        self, room: Sandbox, trouble: Mapping[int, Trouble] | None = None, *, items: int = 8
    ) -> None:
        names = random.sample(_names, items)
        self.prices = {f"{name}-{random.randrange(100, 999)}": _cents() for name in names}
        self.items = list(self.prices)
        self.trouble = {self.items[place]: kind for place, kind in (trouble or {}).items()}
        self.asked: list[str] = []
        name = "-".join(["prices", *set(self.trouble.values()), str(next(_numbers))])
        super().__init__(room, name)  # a replay names it

    @property
    def there(self) -> dict[str, int]:
        """The prices that can be had."""
        gone = {item for item, kind in self.trouble.items() if kind != "slow"}
        return {item: cents for item, cents in self.prices.items() if item not in gone}

    @property
    def arguments(self) -> tuple[str, list[str]]:
        """What the answer is called with."""
        return self.url, list(self.items)

    async def answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer with a price, or with trouble."""
        item = request.path.removeprefix("/prices/")
        self.asked.append(item)
        await self.meet(len(self.items))
        kind = self.trouble.get(item)
        if kind == "lost":
            raise ConnectionResetError
        if kind == "silent":
            await silence(reader)
        if kind == "drips":
            await drip(reader, writer)
        if kind == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        body = json.dumps({"cents": self.prices.get(item, 0)}).encode()
        status = 500 if kind == "error" else 200 if item in self.prices else 404
        writer.write(head(status, len(body)) + (body[:-2] if kind == "cut" else body))
        await writer.drain()
        if kind == "cut":
            raise ConnectionResetError


@contextmanager
def cheap_clients() -> Iterator[None]:
    """Let all clients share the certificates that they trust.

    To load them takes 50 ms of a processor for each client, and here all are plain HTTP.
    """
    module: Any = import_module("httpx2._transports.default")
    original = module.create_ssl_context
    shared = original()
    module.create_ssl_context = lambda *_, **__: shared
    try:
        yield
    finally:
        module.create_ssl_context = original


def closed_port(room: Sandbox) -> str:
    """Return an address that takes no connections."""
    held = room.enter(closing(hold(0)))
    return f"http://127.0.0.1:{held.getsockname()[1]}"


def _cents() -> int:
    return random.randrange(100, 10_000)
