"""Answers as a notebook's cell has them: in globals of their own, not those of the test."""

from __future__ import annotations

import itertools
import linecache
from textwrap import dedent
from types import FunctionType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_numbers = itertools.count(1)


def written(source: str) -> Callable[..., Any]:
    """Run the source of a cell and return the last function that it defines."""
    source = dedent(source).lstrip("\n")
    name = f"<cell {next(_numbers)}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    cell: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(source, name, "exec"), cell)  # noqa: S102  # the test wrote it
    return [value for value in cell.values() if isinstance(value, FunctionType)][-1]
