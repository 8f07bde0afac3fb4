"""Put random small faults into a package, one at a time, and count those that the tests notice.

    python -m tests.mutations.random_mutants rpc amqp --count 60 --seed 1

The faults are mutmut's (another operator, a number plus one, an argument left out, ...), and a
statement left out. Prose is left alone: a test quotes only a part of a message. The faults are put
into copies of the checkout, where the package's tests and those that import it run. A fault in a
scenario of `checks` is left to the tests that name one of its exercises.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import random
import re
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grimp
import libcst as cst
import libcst.matchers as m
from mutmut.mutation.mutators import mutation_operators

from labsvc.checks import catalogue
from labsvc.checks.registry import PACKAGE as SCENARIOS
from tests.mutations.checkout import ROOT, Copies, copies, run_in

PACKAGES = ("rpc", "amqp", "delivery", "proxy", "measure", "checks")
ELSEWHERE = {"bench", "browser", "engines"}  # need other programs, or minutes
AT_ONCE = 2
GOAL = 0.9
SECONDS = 900  # for the tests of one fault
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "tests.no_grammars", "--cache-clear"]


@dataclass(frozen=True, slots=True)
class Mutant:
    """The module at `path` with a fault in it; `diff` holds the changed lines."""

    path: Path
    code: str
    diff: str


class Places(cst.CSTVisitor):
    """Collects the nodes of a module that can hold a fault, each with its faults."""

    def __init__(self) -> None:
        self.found: list[tuple[cst.CSTNode, list[cst.CSTNode]]] = []

    def on_visit(self, node: cst.CSTNode) -> bool:
        """Note the node's faults; keep out of types, decorators, imports and prose."""
        if isinstance(node, cst.Annotation | cst.Decorator | cst.Import | cst.ImportFrom):
            return False
        if isinstance(node, cst.If) and cst.Module([]).code_for_node(node.test) == "TYPE_CHECKING":
            return False
        if isinstance(node, cst.SimpleString) and " " in node.value:
            return False
        if isinstance(node, cst.Expr) and isinstance(node.value, cst.SimpleString):
            return False
        if m.matches(node, m.Assign([m.AssignTarget(m.Name("__all__"))])):
            return False  # ruff notices
        faults = [
            fault
            for kind, operator in mutation_operators
            if isinstance(node, kind)
            for fault in operator(node)
        ]
        if isinstance(node, cst.Expr | cst.AugAssign | cst.Del | cst.Raise):
            faults.append(cst.Pass())
        if faults:
            self.found.append((node, faults))
        return True


def mutants(package: str, count: int, chance: random.Random) -> list[Mutant]:
    """Return mutants of the package, each with a fault at another place."""
    modules = {
        path: cst.parse_module(path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / "labsvc" / package).rglob("*.py"))
    }
    places = []
    for path, module in modules.items():
        visitor = Places()
        module.visit(visitor)
        places += [(path, node, faults) for node, faults in visitor.found]
    chance.shuffle(places)
    chosen: list[Mutant] = []
    for path, node, faults in places:
        if len(chosen) == count:
            break
        old = modules[path]
        new = old.deep_replace(node, chance.choice(faults))
        assert isinstance(new, cst.Module)
        if differs(old.code, new.code):
            chosen.append(Mutant(path.relative_to(ROOT), new.code, diff(path, old.code, new.code)))
    return chosen


def differs(old: str, new: str) -> bool:
    """Say whether the new code is Python, and not the same as before but for its looks."""
    try:
        return ast.dump(ast.parse(old)) != ast.dump(ast.parse(new))
    except SyntaxError:
        return False


def diff(path: Path, old: str, new: str) -> str:
    """Return where the two differ, and how."""
    _, _, place, *lines = difflib.unified_diff(old.splitlines(), new.splitlines(), n=0, lineterm="")
    number = re.search(r"\d+", place)
    assert number is not None
    return "\n    ".join([f"{path.relative_to(ROOT)}:{number[0]}", *lines])


def tests_of(package: str) -> list[str]:
    """Find the test files in the package's folder, and those that import it."""
    imports = re.compile(rf"(from|import) labsvc(\.{package}\b| import .*\b{package}\b)")
    return [
        str(path.relative_to(ROOT))
        for path in sorted((ROOT / "tests").rglob("test_*.py"))
        if not ELSEWHERE & set(path.parts)
        and (package in path.parts or imports.search(path.read_text(encoding="utf-8")))
    ]


def telling(module: Path, tests: list[str], graph: grimp.ImportGraph) -> list[str]:
    """Return the tests that are meant to notice a fault in a module of the package.

    Scenarios are loaded notebook by notebook, so a test of another notebook's exercise never runs
    them. What they all stand on is not left to their tests, which take minutes.
    """
    dotted = ".".join(module.with_suffix("").parts)
    if not dotted.startswith(f"{SCENARIOS}."):
        return [name for name in tests if "scenarios" not in Path(name).parts]
    words = {dotted, *graph.find_downstream_modules(dotted)}
    for notebook in catalogue.notebooks().values():
        if any(f"{SCENARIOS}.{name}" in words for name in notebook.modules):
            words.update(notebook.exercises)
    named = re.compile(rf"\b({'|'.join(map(re.escape, words))})\b")
    return [name for name in tests if named.search((ROOT / name).read_text(encoding="utf-8"))]


def names(test: Path, module: Path) -> bool:
    """Say whether the test file is named after the module, or imports it by its full name."""
    dotted = f"{module.parent.name}.{module.stem}"
    return test.stem == f"test_{module.stem}" or dotted in test.read_text(encoding="utf-8")


def noticed(mutant: Mutant, tests: list[str], checkouts: Copies) -> bool:
    """Say whether a test does not end with the fault, or fails that passes without it."""
    if not tests:  # pytest would run all there are
        return False
    files = sorted(tests, key=lambda name: not names(ROOT / name, mutant.path))
    doubtful: list[str] = []  # fail without the fault too
    while True:
        left_out = [f"--deselect={test}" for test in doubtful]
        with checkouts.changed(mutant.path, mutant.code) as copy:
            code, output = run_in(copy, [*PYTEST, "-x", *left_out, *files], SECONDS)
            failed = failure(copy)
        if code not in (0, 1, 2, None):  # 2: a test module could not even be imported
            sys.exit(f"pytest could not run with this fault:\n{mutant.diff}\n{output[-2000:]}")
        if code != 1 or not failed:  # what is asked at the end of all tests may fail
            return code != 0
        with checkouts.borrow() as copy:
            code, _ = run_in(copy, [*PYTEST, failed], SECONDS)
        if code == 0:
            return True
        doubtful.append(failed)


def failure(copy: Path) -> str:
    """Return the test that failed in the copy's last run, "" if none did."""
    kept = copy / ".pytest_cache/v/cache/lastfailed"
    return next(iter(json.loads(kept.read_text(encoding="utf-8"))), "") if kept.exists() else ""


def sample(package: str, count: int, seed: int) -> bool:
    """Try `count` mutants of the package, print each verdict, and say whether few survive."""
    chosen = mutants(package, count, random.Random(f"{seed} {package}"))  # noqa: S311
    tests, graph = tests_of(package), grimp.build_graph("labsvc")
    with copies(AT_ONCE) as checkouts, ThreadPoolExecutor(AT_ONCE) as pool:

        def tried(mutant: Mutant) -> bool:
            return noticed(mutant, telling(mutant.path, tests, graph), checkouts)

        caught = 0
        for mutant, verdict in zip(chosen, pool.map(tried, chosen), strict=True):
            caught += verdict
            place = mutant.diff.partition("\n")[0]
            print(f"  noticed   {place}" if verdict else f"  SURVIVED  {mutant.diff}", flush=True)
    print(f"{package}: {caught} of {len(chosen)} noticed (seed {seed})", flush=True)
    return caught >= GOAL * len(chosen)


def main() -> int:
    """Try the mutants of each package; return 1 if too few of one are noticed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("packages", nargs="*", metavar="PACKAGE", help=f"of {', '.join(PACKAGES)}")
    parser.add_argument("--count", type=int, default=60, help="how many faults in each package")
    parser.add_argument("--seed", type=int, help="the same faults again; at random without it")
    options = parser.parse_args()
    seed = time.time_ns() % 10**6 if options.seed is None else options.seed
    good = [sample(package, options.count, seed) for package in options.packages or PACKAGES]
    return int(not all(good))


if __name__ == "__main__":
    sys.exit(main())
