from __future__ import annotations

import ast
import inspect
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import labsvc.rpc

NODES = list(ast.walk(ast.parse(Path(__file__).with_name("api.py").read_text("utf-8"))))
USED = {ast.unparse(node) for node in NODES if isinstance(node, ast.Name | ast.Attribute)}
PACKAGES = ("labsvc", "labsvc.measure", "labsvc.delivery", "labsvc.checks", "labsvc.proxy")
MODULES = [one.name for one in iter_modules(labsvc.rpc.__path__) if not one.name.startswith("_")]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_type_checked(package: str) -> None:
    """The file that a type checker reads uses every name that a package offers."""
    last = {name.rpartition(".")[2] for name in USED}
    assert sorted(set(import_module(package).__all__) - last) == []


@pytest.mark.parametrize("name", MODULES)
def test_a_module_of_rpc_is_type_checked(name: str) -> None:
    """It also uses every function and class of the modules that a learner takes to work."""
    module = import_module(f"labsvc.rpc.{name}")
    public = {
        f"{name}.{thing}"
        for thing, value in vars(module).items()
        if (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
        and not thing.startswith("_")
    }
    assert sorted(public - USED) == []
