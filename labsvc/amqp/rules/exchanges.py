"""The exchanges of a virtual host: their names, and their bindings.

No socket, no clock. Reply codes and texts are RabbitMQ's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labsvc.amqp.errors import HardError, ReplyCode, SoftError
from labsvc.amqp.rules.exchange import KINDS, Binding, Exchange, check_arguments
from labsvc.amqp.rules.names import RESERVED, no_exchange, refuse_reserved
from labsvc.amqp.rules.router import Router

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labsvc.amqp.rules.journal import Journal
    from labsvc.amqp.rules.queue import Queue

_NONE: Mapping[str, Any] = {}


class Exchanges:
    """All exchanges of one virtual host; `amq.direct` and the like are there from the start.

    Args:
        vhost: the name of the virtual host, for texts.
        queues: its queues by name: the default exchange knows them all.
        journal: is told of what is declared, deleted, bound and unbound.

    """

    def __init__(self, vhost: str, queues: Mapping[str, Queue], journal: Journal) -> None:
        self._vhost = vhost
        self._journal = journal
        kinds = [(f"{RESERVED}{kind}", kind) for kind in KINDS] + [(f"{RESERVED}match", "headers")]
        self._exchanges = {name: Exchange(name, kind, durable=True) for name, kind in kinds}
        self.router = Router(vhost, self._exchanges, queues)

    def __contains__(self, name: str) -> bool:
        """Whether there is an exchange of this name."""
        return name in self._exchanges

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._exchanges)

    def get(self, name: str) -> Exchange:
        """Return an exchange.

        Raises:
            SoftError: 403, it is the default exchange; 404, no such exchange.

        """
        _not_default(name)
        exchange = self._exchanges.get(name)
        if exchange is None:
            raise no_exchange(name, self._vhost)
        return exchange

    def declare(
        self,
        name: str,
        kind: str,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Mapping[str, Any] = _NONE,
    ) -> None:
        """Make an exchange, unless there is one with these properties.

        Raises:
            SoftError: 403, the name is reserved; 406, it exists with other properties, or an
                argument is not supported.
            HardError: 503, no such type.

        """
        if kind not in KINDS:
            text = f"unknown exchange type '{kind}'"
            raise HardError(ReplyCode.COMMAND_INVALID, text)
        _not_default(name)
        what = self._named(name)
        current = self._exchanges.get(name)
        if current is not None:
            current.check_same(
                what,
                kind=kind,
                durable=durable,
                auto_delete=auto_delete,
                internal=internal,
                arguments=arguments,
            )
            check_arguments(arguments, what)
            return
        refuse_reserved("exchange", name)
        check_arguments(arguments, what)
        exchange = Exchange(
            name,
            kind,
            durable=durable,
            auto_delete=auto_delete,
            internal=internal,
            arguments=arguments,
        )
        self._exchanges[name] = exchange
        self._journal.exchange_declared(exchange)
        self.router.forget()  # it may be an alternate exchange that was missing

    def delete(self, name: str, *, if_unused: bool = False) -> None:
        """Delete an exchange with its bindings; one that does not exist is no error.

        Raises:
            SoftError: 403, it belongs to the system; 406, it has bindings (`if_unused`).

        """
        _not_default(name)
        if name.startswith(RESERVED):
            text = f"deletion of system {self._named(name)} not allowed"
            raise SoftError(ReplyCode.ACCESS_REFUSED, text)
        exchange = self._exchanges.get(name)
        if exchange is None:
            return
        if if_unused and len(exchange):
            text = f"{self._named(name)} in use"
            raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
        self._delete(exchange)

    def bind(
        self, source: str, destination: Queue | Exchange, key: str, arguments: Mapping[str, Any]
    ) -> None:
        """Bind a queue or an exchange to the exchange `source`; twice is as good as once.

        Raises:
            SoftError: 403, it is the default exchange; 404, no such exchange; 406, the
                arguments are not fit for a headers exchange.

        """
        exchange = self.get(source)
        binding = Binding(source, destination, key, arguments)
        if binding in destination.incoming:
            return
        exchange.add(binding)
        destination.incoming.add(binding)
        self._journal.bound(binding)
        self.router.forget()

    def unbind(
        self, source: str, destination: Queue | Exchange, key: str, arguments: Mapping[str, Any]
    ) -> None:
        """Remove a binding; one that does not exist is no error.

        Raises:
            SoftError: 403, it is the default exchange.

        """
        _not_default(source)
        binding = Binding(source, destination, key, arguments)
        if binding in destination.incoming:
            self._journal.unbound(binding)
            self._unbind(binding)

    def unbind_all(self, destination: Queue | Exchange) -> None:
        """Remove all bindings to a queue or an exchange that is deleted."""
        for binding in destination.incoming.copy():
            self._unbind(binding)

    def _delete(self, exchange: Exchange) -> None:
        del self._exchanges[exchange.name]
        self._journal.exchange_deleted(exchange)
        for binding in exchange.bindings():
            binding.destination.incoming.discard(binding)
        self.unbind_all(exchange)
        self.router.forget()

    def _unbind(self, binding: Binding) -> None:
        binding.destination.incoming.discard(binding)
        exchange = self._exchanges[binding.source]
        exchange.remove(binding)
        self.router.forget()
        if exchange.auto_delete and not len(exchange):
            self._delete(exchange)

    def _named(self, name: str) -> str:
        return f"exchange '{name}' in vhost '{self._vhost}'"


def _not_default(name: str) -> None:
    if not name:
        text = "operation not permitted on the default exchange"
        raise SoftError(ReplyCode.ACCESS_REFUSED, text)
