from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from labsvc.delivery.deadletter import Death, deaths


def dead(header: object) -> Any:
    """Return what `deaths` looks at, of a message with this `x-death`."""
    return SimpleNamespace(headers={} if header is None else {"x-death": header})


def test_each_death_is_told_as_it_is_counted() -> None:
    """Texts come as bytes or not, the latest death first; the count is the broker's."""
    entry = {"reason": b"expired", "queue": "later", "count": 3, "exchange": b"orders"}
    found = deaths(dead([entry | {"routing-keys": [b"later", "other"]}, {"reason": "rejected"}]))
    assert found == [
        Death("expired", "later", 3, "orders", ("later", "other")),
        Death("rejected", "", 1, "", ()),
    ]


@pytest.mark.parametrize("header", [None, "x", {"count": 1}, [], ["x", 1]])
def test_no_death_without_an_entry(header: object) -> None:
    """A message that did not die, or a header that is none of a broker, has no deaths."""
    assert deaths(dead(header)) == []
