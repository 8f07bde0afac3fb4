"""The incidents, by name and by chance, one by one and two at once."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from labsvc.incidents.incident import Incident
from labsvc.incidents.of_calls import (
    BLACKHOLE,
    BLOCKED_LOOP,
    CACHE_STAMPEDE,
    EXPIRED_CERTIFICATE,
    LOST_LEASE,
    MISSING_DEADLINE,
    RETRY_STORM,
    SMALL_POOL,
)
from labsvc.incidents.of_events import (
    CARDINALITY_BOMB,
    NO_PREFETCH,
    POISON_MESSAGE,
    STOPPED_OUTBOX,
)

if TYPE_CHECKING:
    from labsvc.incidents.incident import Change
    from labsvc.incidents.shop import Shop

INCIDENTS = {
    each.name: each
    for each in (
        *(RETRY_STORM, MISSING_DEADLINE, BLOCKED_LOOP, SMALL_POOL, BLACKHOLE),
        *(EXPIRED_CERTIFICATE, LOST_LEASE, POISON_MESSAGE, NO_PREFETCH, STOPPED_OUTBOX),
        *(CARDINALITY_BOMB, CACHE_STAMPEDE),
    )
}
"""The single incidents, by name."""

# An incident of the orders and one behind them: each can be seen beside the other.
_BEFORE = (SMALL_POOL, MISSING_DEADLINE, CARDINALITY_BOMB)
_BEHIND = (POISON_MESSAGE, NO_PREFETCH, STOPPED_OUTBOX)


def both(one: Incident, other: Incident) -> Incident:
    """Return two incidents at once, as one."""
    parts = (one, other)

    def do(what: str) -> Change:
        def all_of_them(shop: Shop) -> None:
            for part in parts:
                getattr(part, what)(shop)

        return all_of_them

    return Incident(
        f"{one.name} and {other.name}",
        f"{one.pager} And: {other.pager}",
        (*one.causes, *other.causes),
        do("deploy"),
        do("strike"),
        lambda signals: one.symptom(signals) and other.symptom(signals),
        do("mend"),
        f"{one.why} {other.why}",
        (*one.beside, *other.beside),
        parts,
    )


def random(seed: int) -> Incident:
    """Return an incident by chance, the same one for the same seed; one in four is two at once."""
    draw = Random(seed)  # noqa: S311  # no secret
    if draw.random() < 0.25:  # noqa: PLR2004
        return both(draw.choice(_BEFORE), draw.choice(_BEHIND))
    return draw.choice(list(INCIDENTS.values()))
