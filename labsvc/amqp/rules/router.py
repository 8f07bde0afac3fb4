"""The way of a message: from an exchange over bindings to queues. No socket, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labsvc.amqp.errors import ReplyCode, SoftError
from labsvc.amqp.rules.exchange import Exchange
from labsvc.amqp.rules.names import no_exchange

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from labsvc.amqp.rules.queue import Queue

CACHED_ROUTES = 4096

_NO_HEADERS: Mapping[str, Any] = {}


class Router:
    """Finds the queues for a message, and remembers what it found.

    A message has more than one key when its headers CC and BCC name others. After a
    change of exchanges or bindings call `forget`; queues may come and go.

    Args:
        vhost: the name of the virtual host, for texts.
        exchanges: the exchanges by name.
        queues: the queues by name: the default exchange knows them all.

    """

    def __init__(
        self, vhost: str, exchanges: Mapping[str, Exchange], queues: Mapping[str, Queue]
    ) -> None:
        self._vhost = vhost
        self._exchanges = exchanges
        self._queues = queues
        self._found: dict[tuple[str, tuple[str, ...]], Sequence[Queue]] = {}

    def forget(self) -> None:
        """Forget what was found."""
        self._found.clear()

    def publish(
        self, name: str, keys: tuple[str, ...], headers: Mapping[str, Any] = _NO_HEADERS
    ) -> Sequence[Queue]:
        """Return the queues for a message that a client publishes, each once.

        Raises:
            SoftError: 403, the exchange is internal; 404, no such exchange.

        """
        if not name:
            return self._named(keys)
        found = self._found.get((name, keys))
        if found is not None:
            return found
        exchange = self._exchanges.get(name)
        if exchange is None:
            raise no_exchange(name, self._vhost)
        if exchange.internal:
            text = f"cannot publish to internal exchange '{name}' in vhost '{self._vhost}'"
            raise SoftError(ReplyCode.ACCESS_REFUSED, text)
        return self._walk(exchange, keys, headers)

    def dead_letter(
        self, name: str, keys: tuple[str, ...], headers: Mapping[str, Any]
    ) -> Sequence[Queue]:
        """Return the queues for a message that died, each once; none for a missing exchange."""
        if not name:
            return self._named(keys)
        exchange = self._exchanges.get(name)
        return () if exchange is None else self._walk(exchange, keys, headers)

    def _named(self, keys: tuple[str, ...]) -> Sequence[Queue]:
        """Return the queues that the default exchange sends a message to."""
        if len(keys) == 1:
            queue = self._queues.get(keys[0])
            return () if queue is None else (queue,)
        return [self._queues[key] for key in dict.fromkeys(keys) if key in self._queues]

    def _walk(
        self, start: Exchange, keys: tuple[str, ...], headers: Mapping[str, Any]
    ) -> Sequence[Queue]:
        """Follow the bindings from exchange to exchange; one that was seen leads nowhere new."""
        found: dict[Queue, None] = {}
        seen = {start}
        todo = [start]
        cacheable = not start.internal
        while todo:
            exchange = todo.pop()
            cacheable = cacheable and exchange.kind != "headers"
            ways = [
                binding.destination for key in keys for binding in exchange.matching(key, headers)
            ]
            if not ways and exchange.alternate is not None:
                if not exchange.alternate:
                    cacheable = False
                    ways += self._named(keys)
                elif exchange.alternate in self._exchanges:
                    ways.append(self._exchanges[exchange.alternate])
            for way in ways:
                if not isinstance(way, Exchange):
                    found[way] = None
                elif way not in seen:
                    seen.add(way)
                    todo.append(way)
        queues = tuple(found)
        if cacheable:
            if len(self._found) >= CACHED_ROUTES:
                self._found.clear()
            self._found[start.name, keys] = queues
        return queues
