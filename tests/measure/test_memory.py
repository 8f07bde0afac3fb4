from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import cloudpickle
import pytest

from labsvc.errors import LabError
from labsvc.measure.memory import peak_growth

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 2**20

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as what a notebook defines


def take(size: int) -> int:
    """Hold so many bytes for a moment."""
    return len(bytearray(b"x") * size)


def serve(before: int, after: int) -> Iterator[str]:
    """Hold some bytes before the address is told, and some at the end."""
    take(before)
    yield f"pid {os.getpid()}"
    take(after)


def test_the_peak_counts() -> None:
    """What was held for a moment only is told, and little else."""
    with peak_growth(take, 40 * MIB) as told:
        assert (told.value, told.bytes) == (40 * MIB, 0)
    assert 36 * MIB < told.bytes < 60 * MIB


def test_work_without_memory() -> None:
    """Where little is held, little is told, whatever this process has held."""
    ballast = bytearray(b"x") * (100 * MIB)
    with peak_growth(take, 1000) as told:
        pass
    assert told.bytes < 8 * MIB
    del ballast


def test_a_generator_serves_until_the_block_ends() -> None:
    """Its first value is told, what comes before it is not counted, what comes after it is."""
    with peak_growth(serve, 0, 40 * MIB) as told:
        assert told.value.startswith("pid ")
        assert told.value != f"pid {os.getpid()}"
    assert told.bytes > 36 * MIB
    with peak_growth(serve, 40 * MIB, 0) as told:
        pass
    assert told.bytes < 8 * MIB


def fails() -> None:
    """Raise an error."""
    msg = "no such film"
    raise ValueError(msg)


def ends() -> None:
    """End the process."""
    os._exit(3)


def test_failures_are_told() -> None:
    """An error of the function's, and an end without one, are errors of the block's."""
    with pytest.raises(LabError, match="ValueError: no such film"), peak_growth(fails):
        pass
    with pytest.raises(LabError, match="without a word"), peak_growth(ends):
        pass


def test_an_error_in_the_block_ends_the_process() -> None:
    """Nothing is left behind."""
    with suppress(ZeroDivisionError), peak_growth(serve, 0, 0) as told:
        1 / 0  # noqa: B018
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.value.removeprefix("pid ")), 0)
