"""Packs what goes into another process."""

from __future__ import annotations

import io
import threading
from importlib import import_module
from typing import TYPE_CHECKING, Any

import cloudpickle

if TYPE_CHECKING:
    from collections.abc import Callable


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Packs what goes into another process; a lock is a new one there, as after a restart."""

    def reducer_override(self, thing: Any) -> Any:
        if isinstance(thing, type) and thing.__module__ == "cimpl":
            # Classes of confluent-kafka name a module that cannot be imported by that name.
            return getattr, (import_module("confluent_kafka.cimpl"), thing.__name__)
        make = _LOCKS.get(type(thing))
        return (make, ()) if make is not None else super().reducer_override(thing)


_LOCKS: dict[type, Callable[[], Any]] = {
    type(make()): make for make in (threading.Lock, threading.RLock)
}


def packed(work: Any) -> bytes:
    """Return a thing as bytes, for `cloudpickle.loads`; raises whatever error keeps it here."""
    with io.BytesIO() as file:
        _Packer(file).dump(work)
        return file.getvalue()


def can_travel(thing: Any) -> bool:
    """Return whether a thing can go into another process."""
    try:
        packed(thing)
    except Exception:  # noqa: BLE001  # whatever it is, it stays here
        return False
    return True


def copied(thing: Any) -> Any:
    """Return a thing as it arrives in another process: nothing of it is shared, no lock either."""
    return cloudpickle.loads(packed(thing))
