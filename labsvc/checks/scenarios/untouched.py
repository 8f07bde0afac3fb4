"""What a mend must leave as it was, in notebook 63: other settings, the event, and the code."""

from __future__ import annotations

import inspect
import sys
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from labsvc.checks.verdict import Verdict, broken
from labsvc.incidents.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.incidents import Shop

EVENTS = (("payment", "hangs"), ("mails", "slow"))
PATHS = ("web", "orders", "prices", "stock", "payment", "mails", "relay", "address", "customers")
PACKAGE = "labsvc.incidents."


class Untouched:
    """How a shop was when this was made, to be compared later."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._values = shop.values()
        self._events = {each: attrgetter(".".join(each))(shop) for each in EVENTS}
        self._names = {path: set(vars(getattr(shop, path))) for path in PATHS}
        self._code = [(*place, vars(place[0])[place[1]]) for place in _code()]

    def broken(self) -> Verdict | None:
        """Return what is not as well off as it was, None if all is; code is put back."""
        for key, was in self._values.items():
            now = attrgetter(".".join(key))(self._shop)
            if SETTINGS[key](was) and not SETTINGS[key](now):
                return broken(
                    f"shop.{'.'.join(key)} was {_said(was)}, and is {_said(now)}: that is worse",
                    "Set what mends the cause, and put back what you only tried.",
                )
        if changed := [*self._changed_events(), *self._changed_code()]:
            return broken(
                f"{', '.join(changed)}: changed, and no setting",
                "Mend it with what shop.settings() lists: the event and the code stay as they are.",
            )
        return None

    def _changed_events(self) -> Iterator[str]:
        for key, was in self._events.items():
            if attrgetter(".".join(key))(self._shop) != was:
                yield f"shop.{'.'.join(key)}"
        for path, known in self._names.items():
            yield from (
                f"shop.{path}.{name}" for name in vars(getattr(self._shop, path)).keys() - known
            )

    def _changed_code(self) -> Iterator[str]:
        for owner, name, was in self._code:
            if vars(owner).get(name) is not was:
                setattr(owner, name, was)
                yield f"{owner.__name__.rpartition('.')[2]}.{name}"


def _code() -> Iterator[tuple[Any, str]]:
    """Yield the names in the modules and classes of the shop, with what has them."""
    for module in [each for name, each in sys.modules.items() if name.startswith(PACKAGE)]:
        for name, value in list(vars(module).items()):
            if name.startswith("__"):
                continue
            yield module, name
            if inspect.isclass(value) and value.__module__ == module.__name__:
                yield from ((value, each) for each in vars(value) if not each.startswith("__"))


def _said(value: Any) -> str:
    return str(value.__name__) if callable(value) else repr(value)
