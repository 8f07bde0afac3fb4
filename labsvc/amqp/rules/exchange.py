"""One exchange: from a routing key or headers to queues and other exchanges.

AMQP 0-9-1, section 3.1.3; exchange to exchange bindings and alternate exchanges as RabbitMQ
has them. No socket, no clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from labsvc.amqp.rules.arguments import check_same, kind_of, precondition_failed
from labsvc.amqp.rules.matching import check_headers_binding, headers_match, topic_matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from labsvc.amqp.rules.queue import Queue

KINDS = ("direct", "fanout", "headers", "topic")
ALTERNATE = "alternate-exchange"

_NO_ARGUMENTS: Mapping[str, Any] = {}


class Exchange:
    """One exchange with its bindings.

    Args:
        name: unique in its virtual host.
        kind: "direct" (key equal), "fanout" (always), "topic" (`topic_matches`) or
            "headers" (`headers_match`).
        durable: declared so.
        auto_delete: to be deleted when its last binding has gone.
        internal: no client may publish to it; other exchanges do.
        arguments: as declared. `alternate-exchange` takes what matches no binding.

    """

    def __init__(
        self,
        name: str,
        kind: str,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Mapping[str, Any] = _NO_ARGUMENTS,
    ) -> None:
        self.name = name
        self.kind = kind
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments = arguments
        self.alternate: str | None = None
        if ALTERNATE in arguments:
            self.alternate = arguments[ALTERNATE].decode(errors="replace")
        self.incoming: set[Binding] = set()  # from other exchanges to this one
        self._bindings: dict[str, dict[Binding, None]] = {}  # by key, in order

    def check_same(
        self,
        what: str,
        *,
        kind: str,
        durable: bool,
        auto_delete: bool,
        internal: bool,
        arguments: Mapping[str, Any],
    ) -> None:
        """Compare a declaration of this exchange with it; `what` names it in texts.

        Raises:
            SoftError: 406, it was made with other properties.

        """
        current = self.arguments.get(ALTERNATE)
        check_same("type", what, received=kind.encode(), current=self.kind.encode())
        check_same("durable", what, received=durable, current=self.durable)
        check_same("auto_delete", what, received=auto_delete, current=self.auto_delete)
        check_same("internal", what, received=internal, current=self.internal)
        check_same(ALTERNATE, what, received=arguments.get(ALTERNATE), current=current)

    def __len__(self) -> int:
        """Return the number of bindings that lead away from it."""
        return sum(map(len, self._bindings.values()))

    def bindings(self) -> list[Binding]:
        """Return the bindings that lead away from it."""
        return list(chain.from_iterable(self._bindings.values()))

    def add(self, binding: Binding) -> None:
        """Add a binding; an equal one stays as it is.

        Raises:
            SoftError: 406, this is a headers exchange and `x-match` is wrong.

        """
        if self.kind == "headers":
            check_headers_binding(binding.arguments)
        self._bindings.setdefault(binding.key, {})[binding] = None

    def remove(self, binding: Binding) -> None:
        """Remove a binding that it has."""
        same_key = self._bindings[binding.key]
        del same_key[binding]
        if not same_key:
            del self._bindings[binding.key]

    def matching(self, key: str, headers: Mapping[str, Any]) -> Iterable[Binding]:
        """Return the bindings that match a message."""
        if self.kind == "direct":
            return self._bindings.get(key, {})
        if self.kind == "topic":
            found = (
                same for pattern, same in self._bindings.items() if topic_matches(pattern, key)
            )
            return chain.from_iterable(found)
        if self.kind == "headers":
            return [one for one in self.bindings() if headers_match(one.arguments, headers)]
        return self.bindings()


@dataclass(frozen=True, slots=True)
class Binding:
    """From the exchange `source` to a queue or another exchange.

    Two bindings are equal if source, destination, key and arguments are: each is added,
    and removed, on its own.
    """

    source: str
    destination: Queue | Exchange
    key: str
    arguments: Mapping[str, Any] = field(default_factory=dict, compare=False)
    _identity: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_identity", repr(sorted(self.arguments.items())))


def check_arguments(arguments: Mapping[str, Any], what: str) -> None:
    """Check the arguments of an exchange that is declared; `what` names it in texts.

    Raises:
        SoftError: 406, one is not supported, or of a wrong type.

    """
    alternate = arguments.get(ALTERNATE, b"")
    if not isinstance(alternate, bytes):
        precondition_failed(f"invalid type '{kind_of(alternate)}' for arg '{ALTERNATE}' in {what}")
    for name in arguments:
        if name != ALTERNATE:
            precondition_failed(f"argument '{name}' for {what} is not supported")
