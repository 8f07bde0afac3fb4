"""Skip where an engine is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from labsvc.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Callable


def need(*finds: Callable[[], object]) -> None:
    """Skip the test if one of these, such as `find_etcd`, finds no engine."""
    try:
        for find in finds:
            find()
    except EngineError as error:
        pytest.skip(str(error))
