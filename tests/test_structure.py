"""The shape of the package: no big circles, and a map of every folder."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "labsvc"
GENERATED = "v1"
LARGEST_CIRCLE = 3
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
    if GENERATED not in path.parts
}
PACKAGES = sorted(name for name, path in FILES.items() if path.name == "__init__.py")


def imported(name: str) -> set[str]:
    """Return the modules that a module imports, for type checkers and inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(FILES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in FILES else node.module for name in names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & FILES.keys() - {name}


def reached(start: str, imports: dict[str, set[str]]) -> set[str]:
    """Return the modules that a module imports, and those that they import, and so on."""
    seen: set[str] = set()
    todo = [start]
    while todo:
        new = imports[todo.pop()] - seen
        seen |= new
        todo += new
    return seen


def test_no_circle_is_larger_than_three() -> None:
    """Modules that import each other, at whatever distance, are three at most."""
    imports = {name: imported(name) for name in FILES}
    reach = {name: reached(name, imports) for name in FILES}
    circles = {
        frozenset({name, *(other for other in reach[name] if name in reach[other])})
        for name in FILES
    }
    assert [sorted(circle) for circle in circles if len(circle) > LARGEST_CIRCLE] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_mapped(package: str) -> None:
    """The docstring of a package names each of its modules, and `__all__` what it offers."""
    module = import_module(package)
    depth = package.count(".") + 1
    inside = {
        name.rpartition(".")[2]
        for name in FILES
        if name.startswith(f"{package}.") and name.count(".") == depth
    } - {"__main__"}
    words = re.findall(r"\w+", module.__doc__ or "")
    assert sorted(inside.difference(words)) == []
    offered = {name: f"{package}.{name}" for name in module.__all__}
    missing = [name for name in offered if not (hasattr(module, name) or find_spec(offered[name]))]
    assert missing == []
