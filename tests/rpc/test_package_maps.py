from __future__ import annotations

import pkgutil
import re
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["labsvc.rpc", "labsvc.shop", "labsvc.hosts"])
def test_the_map_names_every_module(name: str) -> None:
    """Whoever reads the package's docstring meets all of its modules, and no others."""
    package = import_module(name)
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert set(package.__all__) == {one for one in modules if not one.startswith("_")}
    text = package.__doc__ or ""
    named = {*re.findall(r"^    (\w+) {2,}", text, re.MULTILINE), *re.findall(r"`(\w+)`", text)}
    assert modules <= named


def test_all_of_a_package_can_be_imported() -> None:
    """The star of `from labsvc.rpc import *` brings the modules."""
    found: dict[str, object] = {}
    exec("from labsvc.rpc import *", found)  # noqa: S102  a star is allowed at the top only
    assert {"recovery", "deadline", "chain"} <= found.keys()
