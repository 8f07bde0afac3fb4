"""A message as the broker keeps it: bytes that pass through, and what routing needs."""

from __future__ import annotations


class Message:
    """One published message. It is never changed, so queues share it.

    `route` is exchange name and routing key as they stand in the publish method and again
    in the deliver method; `header` is the payload of the content header frame.
    """

    __slots__ = ("body", "header", "route")

    def __init__(self, route: bytes, header: bytes, body: bytes) -> None:
        self.route = route
        self.header = header
        self.body = body
