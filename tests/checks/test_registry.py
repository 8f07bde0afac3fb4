from __future__ import annotations

import ast
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from labsvc.checks import catalogue, check, progress, registry, run_check
from labsvc.checks.catalogue import FOLDER, notebooks
from labsvc.checks.progress import load
from labsvc.checks.registry import NotLoadedError, find, listed
from labsvc.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

ENGINE = "py_mini_racer"
DOOR = "labsvc.checks.scenarios.json"


def answer(*args: Any) -> Any:
    """Stand for an answer that is never looked at."""
    raise AssertionError


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the JavaScript engine away, as if it had never been installed."""
    listed()  # all is loaded, and put back in the end with what it has registered
    monkeypatch.setattr(registry, "_exercises", {})
    for name in [name for name in sys.modules if name.startswith(registry.PACKAGE + ".")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, ENGINE, None)


def test_every_module_with_exercises_is_in_the_catalogue() -> None:
    """A module that registers an exercise is named by the file of that notebook."""
    found: dict[str, set[str]] = {}
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(func=ast.Name("exercise"), args=[ast.Constant(str(exercise_id))]):
                    found.setdefault(exercise_id[:2], set()).add(path.stem)
    assert found == {number: set(each.modules) for number, each in notebooks().items()}


def test_a_missing_package_breaks_its_own_exercises_only(
    no_engine: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its exercises are unknown and say what to install; all others run as ever."""
    verdict = run_check("12-strict-door", answer)
    assert verdict.state == "unknown"
    assert (
        verdict.guarantee == "the check itself could not begin: the package mini-racer is missing"
    )
    assert "`%pip install mini-racer`" in verdict.hint
    assert "Your answer was not looked at" in verdict.hint
    check("12-strict-door", answer)
    assert load()[0].exercises == {}
    assert run_check("01-percentile", max).state == "not solved"
    capsys.readouterr()
    progress()
    said = capsys.readouterr().out
    missing = "cannot be loaded: the package mini-racer is missing"
    assert re.search(rf"^12-strict-door +{missing}", said, re.MULTILINE)
    assert "\n0 of " in said
    without = [key for key, title in listed().items() if title.startswith("cannot")]
    assert without == ["12-strict-door", "T1-cart"]


def test_a_package_that_has_come_is_found(no_engine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once it is installed, the same kernel checks the exercise."""
    with pytest.raises(NotLoadedError):
        find("12-strict-door")
    monkeypatch.delitem(sys.modules, ENGINE)
    assert find("12-strict-door").title.startswith("Refuse")


def test_a_module_that_fails_takes_no_other_with_it(
    no_engine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a notebook with two modules, the exercises of the other one still run."""
    monkeypatch.setitem(sys.modules, "labsvc.checks.scenarios.tries", None)
    assert find("22-pass-on").notebook == "22"
    verdict = run_check("22-budget", answer)
    assert verdict.state == "unknown"
    assert "its module cannot be imported (ModuleNotFoundError: " in verdict.guarantee
    assert "labsvc doctor" in verdict.hint
    assert set(listed("22")) == {"22-pass-on", "22-budget"}


def test_a_package_we_do_not_ask_for(no_engine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that no requirement resembles is named as it is, without a guess."""
    monkeypatch.setattr(registry, "_distribution", lambda _module: None)
    verdict = run_check("12-strict-door", answer)
    assert verdict.guarantee.endswith(f"the module {ENGINE} is missing")
    assert "labsvc doctor" in verdict.hint
    monkeypatch.undo()
    assert registry._distribution("no_such_thing") is None


def test_an_exercise_that_its_module_has_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """An id with texts and without a scenario is unknown like any other."""
    notebook = notebooks()["01"]
    monkeypatch.setitem(notebook.exercises, "01-lost", catalogue.Texts(("One.", "Two.")))
    with pytest.raises(LabError, match="no exercise '01-lost'"):
        find("01-lost")


def test_a_check_loads_its_own_notebook_only(tmp_path: Path) -> None:
    """What a check imports of the scenarios belongs to its notebook; `progress` of one likewise."""
    code = (
        "import sys, labsvc\n"
        "from labsvc.checks import run_check\n"
        "run_check('01-percentile', max)\n"
        "labsvc.progress('01')\n"
        "prefix = 'labsvc.checks.scenarios.'\n"
        "print(sorted(n.removeprefix(prefix) for n in sys.modules if n.startswith(prefix)))\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.splitlines()[-1] == "['measuring', 'percentile']"
