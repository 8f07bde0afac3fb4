"""What is wrong with the effects of notebook 62, and what the positions say about its cause."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labsvc.checks.scenarios.event_log import PARTITIONS, WHATS
from labsvc.checks.verdict import Verdict, broken, first_broken

if TYPE_CHECKING:
    from labsvc.checks.scenarios.event_log import Stage

ONE_TRANSACTION = (
    "Effect and position in one transaction: the position goes on when, and only when, the effect"
    " is there."
)
NOT_USED = (
    "The positions are right, and reading began elsewhere. read_log takes them by partition: each"
    " partition has its own."
)
NO_ROW = (
    "The table positions is empty at the end. An UPDATE changes no row where there is none, and"
    " says nothing."
)
SWAPPED = "positions has the partition first, then `next`. Which one comes first in your values?"
ONE_LESS = "`next` is the offset to go on with: the offset after the event's."
BEHIND = (
    "`next` is the offset after the event's. INSERT OR IGNORE keeps the old row, an UPDATE takes"
    " its values from left to right, and a count is no offset."
)
TOO_FAR = "`next` went past an event that has no effect. It is the offset after the event's."


def what_is_wrong(stage: Stage, after: str, otherwise: str = ONE_TRANSACTION) -> Verdict | None:
    """Return what is wrong with the effects.

    `after` says what happened before, `otherwise` is the hint where the positions give none.
    """
    if stage.is_open():
        return broken(
            "your function returned in the middle of a transaction, and a crash would undo it",
            "`with db:` commits at its end. Who commits here?",
        )
    found, written = stage.rows("effects"), stage.log.written
    look = where_to_look(stage, otherwise)
    said = f"{after}, and {written} events have {len(found)} effects"
    return (
        _no_text(found)
        or _strange(found, set(stage.log.events))
        or first_broken(
            (
                not found and bool(written),
                f"{written} events are in the log, and the database has no effect",
                "Insert key and value of each event into effects, and commit.",
            ),
            (len(found) > written, said, look),
            (
                len(found) < written,
                said,
                f"{look} Each partition has its own, and equal events count too.",
            ),
            (
                not stage.is_right(),
                "the effects of one order are not those of its events, in their order",
                "Insert in the order in which read_log gives the events of a partition.",
            ),
            events=written,
            effects=len(found),
        )
    )


def _no_text(found: list[tuple[Any, ...]]) -> Verdict | None:
    """Return what is wrong with effects that are bytes, or how Python shows bytes."""
    cells = [cell for row in found for cell in row]
    other = next((cell for cell in cells if not isinstance(cell, str)), "")
    shown = next((cell for cell in cells if isinstance(cell, str) and cell[:2] in ("b'", 'b"')), "")
    return first_broken(
        (
            other != "",
            f"an effect has {other!r}, which is no text",
            "`event.key()` and `event.value()` are bytes: decode() makes text of them.",
        ),
        (
            bool(shown),
            f"an effect has the text {shown!r}",
            "str() shows bytes as Python writes them, with b and quotes. decode() makes text.",
        ),
    )


def _strange(found: list[tuple[Any, ...]], orders: set[str]) -> Verdict | None:
    """Return what is wrong with effects that no event can have."""
    return first_broken(
        *(
            (
                order in WHATS and what in orders,
                f"an effect has {order!r} as its order, and {what!r} is what happened",
                "The key of an event is its order, its value what happened. order_id comes first.",
            )
            for order, what in found
        ),
        *(
            (
                order not in orders or what not in WHATS,
                f"an effect is ({order!r}, {what!r}), and no event has this key and value",
                "An effect is the key and the value of one event, as text, and nothing else.",
            )
            for order, what in found
        ),
    )


def where_to_look(stage: Stage, otherwise: str = ONE_TRANSACTION) -> str:
    """Return a hint by the positions, which are the ends where all was read; else `otherwise`."""
    rows = stage.rows("positions")
    ends = stage.log.ends
    known = {key: place for key, place in rows if isinstance(place, int)}
    if not rows:
        return NO_ROW
    if any(key not in range(PARTITIONS) for key in known):
        return SWAPPED
    steps = {known.get(number, 0) - end for number, end in ends.items()}
    if steps == {-1}:
        return ONE_LESS
    if min(steps) < 0:
        return BEHIND
    return TOO_FAR if max(steps) > 0 else otherwise
