"""Take each fix out, one at a time, and see a notebook or a test fail.

    python -m tests.mutations.run [NN ...]

The files beside this one list the mutations, a file per notebook. Each is applied to a copy of the
checkout. A mutation that nothing notices has survived: then the fix is not shown, or not tested.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.mutations.checkout import copy_checkout, run_in

HERE = Path(__file__).parent
SECONDS = 300
AT_ONCE = 6  # most of the time is waiting; a busy machine kills more, and spares none


@dataclass(frozen=True, slots=True)
class Mutation:
    """One fix taken out: in `file`, `find` (it occurs once) becomes `replace`.

    `kills` says what has to fail: the path of a test file, or "notebook" for the solution of the
    notebook that the list is named after.
    """

    notebook: str
    name: str
    file: str
    find: str
    replace: str
    kills: str


def load(numbers: list[str]) -> list[Mutation]:
    """Return the mutations of these notebooks, of all if none is named."""
    found = []
    for path in sorted(HERE.glob("*.yaml")):
        if not numbers or path.stem[:2] in numbers:
            rows = yaml.safe_load(path.read_text(encoding="utf-8"))
            found += [Mutation(path.stem, **row) for row in rows]
    return found


def replace_once(text: str, mutation: Mutation) -> str:
    """Return the text with the fix taken out.

    Raises ValueError if the text to find does not occur exactly once: the list has to follow.
    """
    if text.count(mutation.find) != 1:
        count = text.count(mutation.find)
        msg = f"{mutation.name}: {mutation.find!r} occurs {count} times in {mutation.file}"
        raise ValueError(msg)
    return text.replace(mutation.find, mutation.replace)


def apply(mutation: Mutation, copy: Path) -> None:
    """Take the fix out of the copy; for a notebook's source, out of its built solution."""
    path = copy / mutation.file
    if not mutation.file.startswith("notebooks/source/"):
        path.write_text(replace_once(path.read_text("utf-8"), mutation), encoding="utf-8")
        return
    replace_once(path.read_text("utf-8"), mutation)
    built = copy / "notebooks" / "solutions" / f"{path.stem}.ipynb"
    book = json.loads(built.read_text("utf-8"))
    for cell in book["cells"]:
        source = "".join(cell["source"])
        if mutation.find in source:
            cell["source"] = replace_once(source, mutation)
            break
    else:
        msg = f"{mutation.name}: no cell of {built.name} holds {mutation.find!r}; build it first"
        raise ValueError(msg)
    built.write_text(json.dumps(book), encoding="utf-8")


def command(mutation: Mutation) -> list[str]:
    """Return what runs in the copy and has to fail."""
    quick = ["-p", "tests.no_grammars", "-p", "no:cacheprovider"]
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", *quick]
    if mutation.kills != "notebook":
        return [*pytest, mutation.kills]
    solution = f"notebooks/solutions/{mutation.notebook}.ipynb"
    compare = ["--nbval-sanitize-with", "tests/nbval.cfg", "--nbval-current-env"]
    return [*pytest, "--nbval", solution, *compare, "--nbval-cell-timeout", "60"]


def survives(mutation: Mutation) -> str:
    """Return why the mutation was not noticed, "" if it was."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, "copy")
        copy_checkout(copy)
        apply(mutation, copy)
        code, output = run_in(copy, command(mutation), SECONDS)
    if code in (1, None):
        return ""  # no end is a failure too
    return f"pytest could not run it: {output[-500:]}" if code else "nothing failed"


def main() -> int:
    """Try every mutation, some at a time; return 1 if one survived."""
    parser = argparse.ArgumentParser(description="Take each fix out and see something fail.")
    parser.add_argument("numbers", metavar="NN", nargs="*", help="two digits; all if none is given")
    mutations = load(parser.parse_args().numbers)
    survivors = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for mutation, reason in zip(mutations, pool.map(survives, mutations), strict=True):
            verdict = f"SURVIVED  {reason}" if reason else "killed"
            row = f"{mutation.notebook:24} {mutation.name:50} {verdict}"
            print(row, flush=True)
            if reason:
                survivors.append(row)
    print(f"{len(mutations) - len(survivors)} of {len(mutations)} mutations killed")
    for row in survivors:  # again, where a cut log still shows them
        print(row)
    return int(bool(survivors) or not mutations)


if __name__ == "__main__":
    sys.exit(main())
