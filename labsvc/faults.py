"""What a network does to a connection: the proxy's settings, and a catalogue of named faults.

    fault
    ├── worse      the bytes arrive, later: slow-link, jittery-link, thin-pipe
    ├── cut        the connection ends and both sides are told:
    │              idle-cut, mid-message-cut, refuse
    └── silence    nothing arrives and nobody is told: idle-blackhole, blackhole

A cut is an error at once. Silence is an error only for a caller who set a deadline.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, TypedDict

if TYPE_CHECKING:
    from collections.abc import Mapping

Setting = Literal[
    "delay",
    "jitter",
    "bandwidth",
    "cut_after_bytes",
    "cut_after_idle",
    "blackhole",
    "blackhole_after_idle",
    "refuse",
]


class Settings(TypedDict, total=False):
    """The keyword arguments of `Proxy.set`; see `Faults` for units."""

    delay: float
    jitter: float
    bandwidth: float | None
    cut_after_bytes: int | None
    cut_after_idle: float | None
    blackhole: bool
    blackhole_after_idle: float | None
    refuse: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What a proxy does to the connections it carries. `Faults()` does nothing to them.

    Attributes:
        delay: Seconds added one way, in each direction. A round trip pays twice.
        jitter: Up to so many seconds more for each chunk, drawn at random from a
            fixed seed. Bytes keep their order.
        bandwidth: Bytes per second, for each connection and direction. None: no limit.
        cut_after_bytes: A connection is reset (RST) when so many bytes, both directions
            together, have passed since it opened or since this was set. None: never.
        cut_after_idle: Seconds without a byte after which a connection is closed (FIN)
            on both sides, as nginx, HAProxy and Envoy do. None: never.
        blackhole: Bytes vanish, in both directions. Connections stay open, new ones are
            accepted and stay silent.
        blackhole_after_idle: Seconds without a byte after which a connection is forgotten
            and its bytes vanish, as many NAT gateways and firewalls do. None: never.
        refuse: New connections are refused (ECONNREFUSED); open ones go on.

    Raises:
        TypeError: a value of the wrong type.
        ValueError: a number out of range, or two settings that exclude each other.

    """

    delay: float = 0.0
    jitter: float = 0.0
    bandwidth: float | None = None
    cut_after_bytes: int | None = None
    cut_after_idle: float | None = None
    blackhole: bool = False
    blackhole_after_idle: float | None = None
    refuse: bool = False

    def __post_init__(self) -> None:
        """Refuse values that mean nothing."""
        _number("delay", self.delay, "seconds, 0 or more")
        _number("jitter", self.jitter, "seconds, 0 or more")
        _limit("bandwidth", self.bandwidth, "bytes per second, more than 0")
        _limit("cut_after_bytes", self.cut_after_bytes, "a whole number of bytes, 1 or more", int)
        _limit("cut_after_idle", self.cut_after_idle, "seconds, more than 0")
        _switch("blackhole", self.blackhole)
        _limit("blackhole_after_idle", self.blackhole_after_idle, "seconds, more than 0")
        _switch("refuse", self.refuse)
        if self.blackhole and self.refuse:
            msg = "blackhole and refuse exclude each other; set one of them to False"
            raise ValueError(msg)
        if self.cut_after_idle is not None and self.blackhole_after_idle is not None:
            msg = (
                "cut_after_idle and blackhole_after_idle exclude each other;"
                " set one of them to None"
            )
            raise ValueError(msg)

    def __str__(self) -> str:
        """Name what is set, such as `delay=0.05`; `passing` when nothing is."""
        default = Faults()
        settings = ((name, getattr(self, name)) for name in Faults.__slots__)
        changed = [f"{name}={value}" for name, value in settings if value != getattr(default, name)]
        return ", ".join(changed) or "passing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A named fault with its dosage.

    Attributes:
        name: What `Proxy.fault` is asked for.
        description: One line: what a caller meets.
        setting: The one setting that the dose goes to.
        unit: The unit of a dose; empty for a fault that is only on or off.
        dose: The dose when none is asked for; None for a fault that is only on or off.
        least: The smallest dose.
        most: The largest dose.

    """

    name: str
    description: str
    setting: Setting
    unit: str = ""
    dose: float | None = None
    least: float = 0
    most: float = 0

    @property
    def dosage(self) -> str:
        """The default dose with its range and unit, such as `0.05 s (0.001 to 5)`."""
        if self.dose is None:
            return "on or off"
        return f"{self.dose:,} {self.unit} ({self.least:,} to {self.most:,})"

    def settings(self, dose: float | None = None) -> Settings:
        """Return the proxy settings of this fault at a dose, or at its default dose.

        Raises:
            TypeError: the dose is no number.
            ValueError: the dose is out of range, or the fault takes none.

        """
        if self.dose is None:
            if dose is not None:
                msg = f"{self.name} is on or off; leave dose= out"
                raise ValueError(msg)
            return Settings(**{self.setting: True})  # type: ignore[misc]  # one known key
        chosen = self.dose if dose is None else dose
        allowed = f"dose of {self.name} must be {self.least:,} to {self.most:,} {self.unit}"
        if isinstance(chosen, bool) or not isinstance(chosen, int | float):
            msg = f"{allowed}, not {chosen!r}"
            raise TypeError(msg)
        if not self.least <= chosen <= self.most:
            msg = f"{allowed}, not {chosen!r}"
            raise ValueError(msg)
        return Settings(**{self.setting: chosen})  # type: ignore[misc]  # one known key


CATALOGUE: Mapping[str, Fault] = MappingProxyType(
    {
        fault.name: fault
        for fault in (
            Fault(
                name="slow-link",
                description="every byte arrives late, in both directions",
                setting="delay",
                unit="s",
                dose=0.05,
                least=0.001,
                most=5,
            ),
            Fault(
                name="jittery-link",
                description="bytes arrive late by a time that changes from chunk to chunk",
                setting="jitter",
                unit="s",
                dose=0.03,
                least=0.001,
                most=2,
            ),
            Fault(
                name="thin-pipe",
                description="few bytes per second fit through each connection",
                setting="bandwidth",
                unit="B/s",
                dose=100_000,
                least=1_000,
                most=100_000_000,
            ),
            Fault(
                name="idle-cut",
                description="a connection that carries nothing for a while is closed",
                setting="cut_after_idle",
                unit="s",
                dose=0.3,
                least=0.05,
                most=60,
            ),
            Fault(
                name="mid-message-cut",
                description="a connection is reset after so many bytes",
                setting="cut_after_bytes",
                unit="B",
                dose=20_000,
                least=1,
                most=100_000_000,
            ),
            Fault(
                name="refuse",
                description="new connections are refused, open ones go on",
                setting="refuse",
            ),
            Fault(
                name="idle-blackhole",
                description="a connection that carries nothing for a while falls silent",
                setting="blackhole_after_idle",
                unit="s",
                dose=0.3,
                least=0.05,
                most=60,
            ),
            Fault(
                name="blackhole",
                description="bytes vanish; connections stay open and silent",
                setting="blackhole",
            ),
        )
    }
)


def find(name: str) -> Fault:
    """Return the fault of that name.

    Raises:
        ValueError: there is none; the message lists the names.

    """
    if name not in CATALOGUE:
        msg = f"no fault is called {name!r}; choose one of {', '.join(CATALOGUE)}"
        raise ValueError(msg)
    return CATALOGUE[name]


def catalogue() -> str:
    """Return the catalogue as a text table: name, what happens, dose (range)."""
    rows = [("fault", "what happens", "dose (range)")]
    rows += [(fault.name, fault.description, fault.dosage) for fault in CATALOGUE.values()]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{name:<{first}}  {text:<{second}}  {dose}" for name, text, dose in rows)


def _number(name: str, value: object, allowed: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        msg = f"{name} must be {allowed}, not {value!r}"
        raise TypeError(msg)
    if not math.isfinite(value) or value < 0:
        msg = f"{name} must be {allowed}, not {value!r}"
        raise ValueError(msg)
    return value


def _limit(name: str, value: object, allowed: str, kind: type = object) -> None:
    if value is None:
        return
    allowed = f"{allowed}, or None for no limit"
    if not isinstance(value, kind):
        msg = f"{name} must be {allowed}, not {value!r}"
        raise TypeError(msg)
    if _number(name, value, allowed) == 0:
        msg = f"{name} must be {allowed}, not {value!r}"
        raise ValueError(msg)


def _switch(name: str, value: object) -> None:
    if not isinstance(value, bool):
        msg = f"{name} must be True or False, not {value!r}"
        raise TypeError(msg)
