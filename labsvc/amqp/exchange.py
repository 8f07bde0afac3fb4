"""Exchanges: from a routing key to queues (AMQP 0-9-1, section 3.1.3). No socket, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from labsvc.amqp.queue import Queue

KINDS = ("direct", "fanout", "topic")
CACHED_KEYS = 4096


class Exchange:
    """One exchange with its bindings.

    Args:
        name: unique in its virtual host.
        kind: "direct" (key equal), "fanout" (any key) or "topic" (`topic_matches`).
        durable: declared so.
        auto_delete: to be deleted when its last binding has gone.

    """

    def __init__(
        self, name: str, kind: str, *, durable: bool = False, auto_delete: bool = False
    ) -> None:
        self.name = name
        self.kind = kind
        self.durable = durable
        self.auto_delete = auto_delete
        self.bindings: dict[str, dict[str, Queue]] = {}  # key -> queue name -> queue
        self._routes: dict[str, tuple[Queue, ...]] = {}  # what `route` found before

    def bind(self, queue: Queue, key: str) -> None:
        """Bind a queue; binding it again with the same key changes nothing."""
        self.bindings.setdefault(key, {})[queue.name] = queue
        self._routes.clear()

    def unbind(self, queue: Queue, key: str) -> None:
        """Remove a binding; one that does not exist is no error (as in RabbitMQ)."""
        queues = self.bindings.get(key, {})
        if queues.pop(queue.name, None) is not None and not queues:
            del self.bindings[key]
        self._routes.clear()

    def route(self, key: str) -> tuple[Queue, ...]:
        """Return the queues that a message with this routing key goes to, each once."""
        found = self._routes.get(key)
        if found is None:
            if len(self._routes) >= CACHED_KEYS:
                self._routes.clear()
            found = self._routes[key] = tuple(self._matching(key))
        return found

    def _matching(self, key: str) -> Iterable[Queue]:
        if self.kind == "direct":
            return self.bindings.get(key, {}).values()
        matching = (
            queues
            for pattern, queues in self.bindings.items()
            if self.kind == "fanout" or topic_matches(pattern, key)
        )
        return {name: queue for queues in matching for name, queue in queues.items()}.values()


def topic_matches(pattern: str, key: str) -> bool:
    """Whether a topic pattern matches a routing key.

    Both are words between dots; an empty string has no words. `*` stands for exactly one
    word, `#` for any number of words, none included.
    """
    wanted = pattern.split(".") if pattern else []
    reached = _past_hashes({0}, wanted)  # how much of the pattern the words so far may use
    for word in key.split(".") if key else []:
        reached = {
            place if wanted[place] == "#" else place + 1
            for place in reached
            if place < len(wanted) and wanted[place] in ("#", "*", word)
        }
        reached = _past_hashes(reached, wanted)
    return len(wanted) in reached


def _past_hashes(places: set[int], wanted: list[str]) -> set[int]:
    """Add the places behind each `#`, which may stand for no word."""
    for place in sorted(places):
        ahead = place
        while ahead < len(wanted) and wanted[ahead] == "#":
            ahead += 1
            places.add(ahead)
    return places
