"""A message as the broker keeps it: bytes that pass through, and what the rules need."""

from __future__ import annotations


class Message:
    """One published message. What was published never changes, so queues share it.

    Args:
        route: exchange name and routing key as they stand in the publish method and again
            in the deliver method.
        header: the payload of the content header frame.
        body: the whole body.
        persistent: its delivery mode is 2.
        priority: 0 if the publisher set none.
        expiration: its time to live in milliseconds, or None.
        copies: the routing keys in its headers CC and BCC.

    """

    __slots__ = (
        "body",
        "copies",
        "expiration",
        "header",
        "persistent",
        "priority",
        "route",
        "stored_id",
    )

    def __init__(
        self,
        route: bytes,
        header: bytes,
        body: bytes,
        *,
        persistent: bool = False,
        priority: int = 0,
        expiration: int | None = None,
        copies: tuple[str, ...] = (),
    ) -> None:
        self.route = route
        self.header = header
        self.body = body
        self.persistent = persistent
        self.priority = priority
        self.expiration = expiration
        self.copies = copies
        self.stored_id = 0  # kept for the store

    @property
    def exchange(self) -> str:
        """The exchange it was published to."""
        return self.route[1 : 1 + self.route[0]].decode()

    @property
    def key(self) -> str:
        """The routing key it was published with."""
        return self.route[2 + self.route[0] :].decode()
