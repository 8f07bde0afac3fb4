"""The code in the cells is plain: a colleague who has never seen it reads it aloud."""

from __future__ import annotations

import ast
import builtins
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from labsvc.checks.testing_out import is_test_out

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER = Path(__file__).parent.parent / "notebooks"
SOLUTIONS = sorted(FOLDER.glob("solutions/*.ipynb"))
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)

MOST_LINES = 12
MOST_LINES_OF_A_SOLUTION = 20
MOST_LINES_OF_A_TEST_OUT = 55  # one exercise, of a whole part


def cells(path: Path) -> list[tuple[str, list[str]]]:
    """Return the code of each cell of a notebook, with its tags."""
    book = json.loads(path.read_text(encoding="utf-8"))
    return [
        ("".join(cell["source"]), cell["metadata"].get("tags", []))
        for cell in book["cells"]
        if cell["cell_type"] == "code"
    ]


def parsed(code: str) -> ast.Module:
    """Parse a cell, which may await at its top."""
    tree = compile(code, "<cell>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(tree, ast.Module)
    return tree


def holds(kind: Any, *nodes: ast.AST) -> bool:
    """Say whether one of these nodes is of a kind, or has one inside."""
    return any(isinstance(inner, kind) for node in nodes for inner in ast.walk(node))


def spread(call: ast.Call) -> list[ast.expr]:
    """Return what a call takes by * and **."""
    starred = [arg.value for arg in call.args if isinstance(arg, ast.Starred)]
    return starred + [keyword.value for keyword in call.keywords if keyword.arg is None]


def kept(node: ast.AST, *kinds: type[ast.AST]) -> bool:
    """Say whether a node is of one of these kinds."""
    return isinstance(node, kinds)


def is_type(value: ast.expr) -> bool:
    """Say whether what stands before the brackets is a type, as in `dict[str, int]`."""
    return isinstance(value, ast.Name) and (hasattr(builtins, value.id) or value.id[0].isupper())


RULES: dict[str, Callable[[Any], bool]] = {
    "a walrus inside a call": lambda n: (
        kept(n, ast.Call) and holds(ast.NamedExpr, *n.args, *(k.value for k in n.keywords))
    ),
    "a walrus inside a comparison": lambda n: kept(n, ast.Compare) and holds(ast.NamedExpr, n),
    "a splat of an expression": lambda n: (
        kept(n, ast.Call) and any(kept(s, ast.IfExp, ast.BinOp, ast.BoolOp) for s in spread(n))
    ),
    "a name of an outer scope is rebound": lambda n: kept(n, ast.Global, ast.Nonlocal),
    "a comprehension inside a comprehension": lambda n: (
        kept(n, *COMPREHENSIONS) and holds(COMPREHENSIONS, *ast.iter_child_nodes(n))
    ),
    "a lambda inside an f-string": lambda n: kept(n, ast.FormattedValue) and holds(ast.Lambda, n),
    "a loop that counts in an attribute": lambda n: (
        kept(n, ast.For, ast.comprehension) and kept(n.target, ast.Attribute, ast.Subscript)
    ),
    "a truth value is added up": lambda n: (
        kept(n, ast.AugAssign) and kept(n.value, ast.Compare, ast.BoolOp)
    ),
    "a tuple for a key": lambda n: (
        kept(n, ast.Subscript) and kept(n.slice, ast.Tuple) and not is_type(n.value)
    ),
}


def faults(code: str) -> list[str]:
    """Return what stops a reader of this cell, one line a fault."""
    return [
        said for node in ast.walk(parsed(code)) for said, broken in RULES.items() if broken(node)
    ]


def test_cells_are_short() -> None:
    """A cell fits on a screen with its output; a solution may be longer."""
    long = []
    for path in SOLUTIONS:
        for code, tags in cells(path):
            of_exercise = MOST_LINES_OF_A_SOLUTION
            if is_test_out(path.stem):
                of_exercise = MOST_LINES_OF_A_TEST_OUT
            most = of_exercise if "exercise" in tags else MOST_LINES
            lines = len(code.splitlines())
            if lines > most:
                long.append(f"{path.stem}: {lines} lines: {code.splitlines()[0]}")
    assert long == []


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_cells_are_plain(path: Path) -> None:
    """No cell uses a construct that readers stumbled over."""
    said = [f"{fault} in:\n{code}" for code, _ in cells(path) for fault in faults(code)]
    assert said == []


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_nothing_is_defined_twice(path: Path) -> None:
    """A function or class has one meaning in a notebook, and an exercise defines its own names."""
    names = Counter(
        node.name
        for code, _ in cells(path)
        for node in parsed(code).body
        if isinstance(node, FUNCTIONS)
    )
    assert [name for name, count in names.items() if count > 1] == []


@pytest.mark.parametrize("path", SOLUTIONS, ids=lambda path: path.stem)
def test_names_of_exercises_are_used_nowhere_else(path: Path) -> None:
    """What an exercise defines is read by its check and by nothing else: a stub breaks no cell."""
    defined: set[str] = set()
    used: list[str] = []
    for code, tags in cells(path):
        tree = parsed(code)
        if "exercise" in tags:
            defined |= {node.name for node in tree.body if isinstance(node, FUNCTIONS)}
        elif not code.startswith("check("):
            used += [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
            used += [node.name for node in ast.walk(tree) if isinstance(node, FUNCTIONS)]
    assert defined & set(used) == set()


def test_cells_pass_ruff() -> None:
    """No undefined, redefined or unused name, no line over 88, no deep nesting."""
    command = [sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format", "concise"]
    done = subprocess.run(
        [*command, "--config", str(FOLDER / "cells.toml"), *map(str, SOLUTIONS)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("print(now := clock())", "a walrus inside a call"),
        ("while seen != (seen := count()):\n    pass", "a walrus inside a comparison"),
        ("call(**({'timeout': 5} | how))", "a splat of an expression"),
        ("call(*(a if b else c))", "a splat of an expression"),
        ("def f():\n    global sick\n    sick = 1", "a name of an outer scope is rebound"),
        ("x = [[b for b in a] for a in c]", "a comprehension inside a comprehension"),
        ("print(f'{run(lambda: 1)}')", "a lambda inside an f-string"),
        ("for self.sent in range(3):\n    pass", "a loop that counts in an attribute"),
        ("late += left() == 0", "a truth value is added up"),
        ("count[kind, code] = 1", "a tuple for a key"),
    ],
)
def test_a_construct_that_stops_a_reader_is_found(code: str, fault: str) -> None:
    """Each rule finds what it is for."""
    assert fault in faults(code)


def test_plain_code_passes() -> None:
    """The rules leave ordinary code alone."""
    code = "if found := find():\n    await call(*found, **settings)\n    n += 1"
    assert faults(code) == []
