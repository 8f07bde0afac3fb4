"""How many answers of each sort the check of every exercise is tried with.

A test that calls a check says by its name what its answers are: `…_stub`, `…_solved…` or
`…_wrong…`. A parametrised test counts once for each answer in its list.
"""

from __future__ import annotations

import ast
import math
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

from labsvc.checks.catalogue import notebooks

SCENARIOS = Path(__file__).parent / "scenarios"
LEAST = {"stub": 1, "solved": 3, "wrong": 8}
CALLS = ("run_check", "assert_solved", "assert_wrong", "assert_not_attempted")
IDS = [key for each in notebooks().values() for key in each.exercises]


@pytest.mark.parametrize("exercise", IDS)
def test_answers_of_each_sort(exercise: str) -> None:
    """Each check is tried with its stub, three right answers and eight wrong ones at least."""
    found = {sort: counted()[exercise, sort] for sort in LEAST}
    assert all(found[sort] >= least for sort, least in LEAST.items()), found


@cache
def counted() -> Counter[tuple[str, str]]:
    """Return how many answers there are, by exercise and sort."""
    answers: Counter[tuple[str, str]] = Counter()
    for path in SCENARIOS.glob("test_*.py"):
        lines = ast.parse(path.read_text(encoding="utf-8")).body
        constants = {
            target.id: line.value
            for line in lines
            if isinstance(line, ast.Assign)
            for target in line.targets
            if isinstance(target, ast.Name)
        }
        for test in lines:
            if isinstance(test, ast.FunctionDef) and (sort := _sort(test)):
                lists = _parameters(test)
                exercises = _checked(test, constants | lists)
                runs = math.prod(len(each.elts) for each in lists.values())
                for exercise in exercises:
                    answers[exercise, sort] += runs // len(exercises)
    return answers


def _sort(test: ast.FunctionDef) -> str | None:
    words = test.name.split("_")
    return next((sort for sort in LEAST if words[0] == "test" and sort in words), None)


def _parameters(test: ast.FunctionDef) -> dict[str, ast.List]:
    """Return the lists for which pytest runs a test, by the text that names their values."""
    marks = [mark for mark in test.decorator_list if isinstance(mark, ast.Call)]
    lists = [mark.args for mark in marks if ast.unparse(mark.func) == "pytest.mark.parametrize"]
    return {
        ast.unparse(name).strip("'"): each for name, each in lists if isinstance(each, ast.List)
    }


def _checked(test: ast.FunctionDef, names: dict[str, ast.expr]) -> set[str]:
    """Return the exercises whose checks a test calls; `names` are those that may stand for ids."""
    found = set()
    for call in ast.walk(test):
        if isinstance(call, ast.Call) and ast.unparse(call.func) in CALLS:
            given = call.args[0]
            value = names.get(given.id, given) if isinstance(given, ast.Name) else given
            values = value.elts if isinstance(value, ast.List) else [value]
            found |= {str(each.value) for each in values if isinstance(each, ast.Constant)}
    return found
