"""Take each fix out, one at a time, and see a notebook or a test fail.

    python -m tests.mutations.run [NN ...] [--one-in N]

The files beside this one list the mutations, a file per notebook. Each is applied to a copy of the
checkout. A mutation that nothing notices has survived: then the fix is not shown, or not tested.

All of them take longer than the rest of CI together. So CI tries one in four, and another one with
each commit.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.commit import turn_of_the_commit
from tests.mutations.checkout import ROOT, Copies, copies, run_in

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


def taken_out(mutation: Mutation) -> tuple[Path, str]:
    """Return the file that is to change, and its text without the fix.

    For a notebook's source, the file is its built solution.
    """
    path = Path(mutation.file)
    text = replace_once((ROOT / path).read_text("utf-8"), mutation)
    if not path.is_relative_to("notebooks/source"):
        return path, text
    built = Path("notebooks", "solutions", f"{path.stem}.ipynb")
    book = json.loads((ROOT / built).read_text("utf-8"))
    for cell in book["cells"]:
        source = "".join(cell["source"])
        if mutation.find in source:
            cell["source"] = replace_once(source, mutation)
            return built, json.dumps(book)
    msg = f"{mutation.name}: no cell of {built.name} holds {mutation.find!r}; build it first"
    raise ValueError(msg)


def command(mutation: Mutation) -> list[str]:
    """Return what runs in the copy and has to fail."""
    quick = ["-p", "tests.no_grammars", "-p", "no:cacheprovider"]
    pytest = [sys.executable, "-m", "pytest", "-q", "-x", *quick]
    if mutation.kills != "notebook":
        return [*pytest, mutation.kills]
    solution = f"notebooks/solutions/{mutation.notebook}.ipynb"
    compare = ["--nbval-sanitize-with", "tests/nbval.cfg", "--nbval-current-env"]
    return [*pytest, "--nbval", solution, *compare, "--nbval-cell-timeout", "60"]


def survives(mutation: Mutation, checkouts: Copies) -> str:
    """Return why the mutation was not noticed, "" if it was."""
    with checkouts.changed(*taken_out(mutation)) as copy:
        code, output = run_in(copy, command(mutation), SECONDS)
    if code in (1, None):
        return ""  # no end is a failure too
    return f"pytest could not run it: {output[-500:]}" if code else "nothing failed"


def main() -> int:
    """Try the mutations, some at a time; return 1 if one survived."""
    parser = argparse.ArgumentParser(description="Take each fix out and see something fail.")
    parser.add_argument("numbers", metavar="NN", nargs="*", help="as 22; all if none is given")
    parser.add_argument("--one-in", type=int, default=1, help="leave out all but one in so many")
    options = parser.parse_args()
    mutations = load(options.numbers)[turn_of_the_commit() % options.one_in :: options.one_in]
    survivors = []
    with copies(AT_ONCE) as checkouts, ThreadPoolExecutor(AT_ONCE) as pool:
        verdicts = pool.map(lambda mutation: survives(mutation, checkouts), mutations)
        for mutation, reason in zip(mutations, verdicts, strict=True):
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
