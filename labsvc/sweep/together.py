"""A function in several processes at the same time, which may wait for each other in it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from labsvc.sweep.child import Child, SweepError

if TYPE_CHECKING:
    from collections.abc import Callable


def together(function: Callable[..., Any], *calls: tuple[Any, ...]) -> list[Any]:
    """Call a function once for each of these arguments, each time in a process of its own.

    All run at the same time. A `Meeting` among the arguments is one place for all of them.

    Returns:
        What they returned, as far as `Ended.value` holds it, in the order of `calls`.

    Raises:
        SweepError: one of them cannot go into another process, raised, or ended otherwise.

    """
    children: list[Child] = []
    try:
        children.extend(Child(function, args) for args in calls)
        with ThreadPoolExecutor(len(children)) as pool:
            ends = list(pool.map(Child.wait, children))
    finally:
        for child in children:
            child.kill()
    for ended in ends:
        if ended.how != "returned":
            msg = f"in another process it {ended.how} {ended.error}".replace("killed", "was killed")
            raise SweepError(msg)
    return [ended.value for ended in ends]
