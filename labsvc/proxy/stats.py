"""What a middlebox counts."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ProxyStats:
    """What a proxy has counted since it was made, or since `Proxy.reset_stats`.

    Attributes:
        connections: Connections accepted.
        open: Client connections open now.
        silent: Those of the open ones that are lost: their bytes vanish.
        resets: Connections the proxy reset. Resets that a client or the upstream sent
            are passed on and not counted.
        refused: Connections accepted from a client that the upstream did not take.
        bytes_up: Bytes passed from clients to the upstream.
        bytes_down: Bytes passed from the upstream to clients.
        dropped: Bytes swallowed.

    """

    connections: int
    open: int
    silent: int
    resets: int
    refused: int
    bytes_up: int
    bytes_down: int
    dropped: int


@dataclass(slots=True)
class Meter:
    """Bytes passed in one direction."""

    passed: int = 0


@dataclass(slots=True)
class Counters:
    """Events counted, and the states of now."""

    connections: int = 0
    open: int = 0
    silent: int = 0
    resets: int = 0
    refused: int = 0
    dropped: int = 0
    up: Meter = field(default_factory=Meter)
    down: Meter = field(default_factory=Meter)

    def snapshot(self) -> ProxyStats:
        """Return the numbers of now; any thread may ask."""
        return ProxyStats(
            connections=self.connections,
            open=self.open,
            silent=self.silent,
            resets=self.resets,
            refused=self.refused,
            bytes_up=self.up.passed,
            bytes_down=self.down.passed,
            dropped=self.dropped,
        )

    def reset(self) -> None:
        """Count from zero again; `open` and `silent` are states and stay."""
        self.connections = self.resets = self.refused = self.dropped = 0
        self.up.passed = self.down.passed = 0  # the pipes of open connections hold these
