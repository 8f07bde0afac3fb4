"""Build the notebooks: one MyST source becomes the learner's notebook and its solution.

Usage:
    build.py [NN ...]             build and execute, all sources unless numbers are given
    build.py --check [NN ...]     compare what is stored with what the sources generate
    build.py --check --execute    the same, and run every notebook and compare its outputs
    build.py --pages              write the pages alone, as after a change to data/ or to a check

`source/NN_name.md` is the only file to edit. A cell tagged `exercise` holds the solution; in the
learner's notebook the rest of its function, from the line `# solution` on, becomes a stub.

Outputs that nbval calls equal are kept byte for byte, so a build without a change changes no file.
Pictures are never compared: to draw them anew, delete the notebook and build it.
`--check` alone runs no cell and takes a second; it exits with 1 when something differs.

Every build also writes `sources.md`, the page about the articles, and what `labsvc symptom` finds
by, with the page `symptoms.md` and a table of README; `--pages` writes these alone, in a second.
`--check` looks at them when no number is given.
"""

from __future__ import annotations

import argparse
import ast
import configparser
import hashlib
import os
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import sources_page
import symptoms_page
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from symptoms_index import SymptomsError
from traitlets.config import Config

HERE = Path(__file__).resolve().parent
SANITIZE = HERE.parent / "tests" / "nbval.cfg"
MARK = re.compile(r"\s*# solution\s*")
STUB = 'raise NotImplementedError("write this, then run the check below")'
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
NOT_COMPARED = {"image/png", "image/jpeg", "application/vnd.jupyter.widget-view+json"}
ANSI = re.compile(r"\x1b\[[0-9;]*m")
CELL_TIMEOUT = 120  # seconds


class BuildError(Exception):
    """The source is at fault; the message names the notebook and the cell."""


def sources(folder: Path, numbers: list[str]) -> list[Path]:
    """Return the sources whose numbers are given, all of them without a number."""
    paths = sorted((folder / "source").glob("[0-9T][0-9]_*.md"))
    found = {path.name[:2]: path for path in paths}
    if unknown := [number for number in numbers if number not in found]:
        msg = f"no source for {', '.join(unknown)}; there are {', '.join(found) or 'none'}"
        raise BuildError(msg)
    return [found[number] for number in numbers or found]


def targets(source: Path) -> tuple[Path, Path]:
    """Return where the learner's notebook and the solution of a source belong."""
    folder = source.parent.parent
    return folder / f"{source.stem}.ipynb", folder / "solutions" / f"{source.stem}.ipynb"


def cut(code: str) -> str:
    """Replace what follows `# solution` in each function by the stub; keep all before it."""
    lines = code.splitlines()
    tree = compile(code, "<exercise>", "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    marks = [number for number, line in enumerate(lines, 1) if MARK.fullmatch(line)]
    if not marks:
        msg = "an exercise cell needs the line `# solution` inside its function"
        raise BuildError(msg)
    for mark in reversed(marks):
        indent = lines[mark - 1].partition("#")[0]
        around = [
            f
            for f in functions
            if f.lineno < mark < (f.end_lineno or 0) and f.col_offset < len(indent)
        ]
        if not around:
            msg = f"line {mark}: `# solution` stands outside a function, or nothing follows it"
            raise BuildError(msg)
        function = max(around, key=lambda f: f.lineno)
        end = function.end_lineno or mark
        while end < len(lines) and re.match(rf"\s{{{function.col_offset + 1},}}#", lines[end]):
            end += 1  # a comment below the last statement gives the solution away too
        lines[mark - 1 : end] = [indent + STUB]
    return "\n".join(lines)


def generate(source: Path, *, learner: bool) -> Any:
    """Return the notebook of a source, not executed, with ids that follow from its content."""
    notebook: Any = jupytext.read(source, fmt="md:myst")
    notebook.metadata = nbformat.from_dict(METADATA)
    seen: Counter[str] = Counter()
    for cell in notebook.cells:
        if cell.cell_type == "code" and not cell.source.strip():
            msg = f"{source.name}: an empty code cell; remove it"
            raise BuildError(msg)
        if "exercise" in cell.metadata.get("tags", []):
            try:
                cell.source = cut(cell.source) if learner else cell.source
            except (BuildError, SyntaxError) as error:
                msg = f"{source.name}: {error}\n\n{cell.source}"
                raise BuildError(msg) from error
        elif any(MARK.fullmatch(line) for line in cell.source.splitlines()):
            msg = f"{source.name}: `# solution` in a cell not tagged `exercise`\n\n{cell.source}"
            raise BuildError(msg)
        digest = hashlib.sha256(f"{cell.cell_type}\n{cell.source}".encode()).hexdigest()[:8]
        seen[digest] += 1
        cell.id = digest if seen[digest] == 1 else f"{digest}-{seen[digest]}"
    return notebook


def sockets_in(folder: str) -> Config:
    """Let a kernel talk over sockets that are files in `folder`, where the system has such.

    Over TCP it is told free ports and binds them a second later. Beside programs that open ports
    all the time another one has them now and then, and the kernel dies.
    """
    files = {"transport": "ipc", "ip": str(Path(folder, "kernel"))}
    return Config() if os.name == "nt" else Config(KernelManager=files)


def execute(notebook: Any, folder: Path) -> None:
    """Run every cell in a new kernel in `folder`; BuildError shows the cell that raised."""
    with tempfile.TemporaryDirectory() as scratch:
        # With PYTEST_CURRENT_TEST the kernel captures output just as it does under nbval.
        data = Path(scratch, "data")
        data.mkdir()
        env = os.environ | {"PYTEST_CURRENT_TEST": "build", "LABSVC_DATA_DIR": str(data)}
        client = NotebookClient(
            notebook,
            timeout=CELL_TIMEOUT,
            kernel_name="python3",
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=True,
            config=sockets_in(scratch),
            resources={"metadata": {"path": str(folder)}},
        )
        try:
            client.execute(env=env)
        except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
            raise BuildError(ANSI.sub("", str(error))) from error
    notebook.metadata = nbformat.from_dict(METADATA)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    if counts != list(range(1, len(counts) + 1)):
        msg = f"execution counts are {counts}; every code cell has to run once, in order"
        raise BuildError(msg)


def sanitizer() -> list[tuple[re.Pattern[str], str]]:
    """Return nbval's rules: what to replace before outputs are compared."""
    rules = configparser.RawConfigParser()
    rules.read(SANITIZE, encoding="utf-8")
    return [(re.compile(rules[name]["regex"]), rules[name]["replace"]) for name in rules.sections()]


def comparable(outputs: list[Any]) -> list[str]:
    """Return the outputs as nbval compares them; of a picture only the wording of its text."""
    texts = []
    for output in outputs:
        kept: dict[str, object] = {k: v for k, v in output.items() if k != "execution_count"}
        if "data" in output:
            kept["data"] = {k: v for k, v in output.data.items() if k not in NOT_COMPARED}
            kept["metadata"] = re.sub(r"\d+(\.\d+)?", "N", repr(output.metadata))
        text = repr(sorted(kept.items()))
        for pattern, replacement in sanitizer():
            text = pattern.sub(replacement, text)
        texts.append(text)
    return texts


def keep_outputs(notebook: Any, stored: Any) -> list[str]:
    """Put the stored outputs back where they equal the new ones; return the ids that differ."""
    old = {cell.id: cell for cell in stored.cells if cell.cell_type == "code"}
    changed = []
    for cell in notebook.cells:
        if cell.cell_type != "code":
            continue
        before = old.get(cell.id)
        ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
        if before is None or not (
            ignored or comparable(before.outputs) == comparable(cell.outputs)
        ):
            changed.append(cell.id)
            continue
        cell.outputs = before.outputs
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
    return changed


def bare(notebook: Any) -> Any:
    """Return what a source decides of a notebook: everything but outputs and counts."""
    cells = [(c.cell_type, c.get("id"), c.source, dict(c.metadata)) for c in notebook.cells]
    return cells, notebook.metadata


def read(path: Path) -> Any:
    """Return a stored notebook, an empty one if there is none yet."""
    return nbformat.read(path, 4) if path.exists() else nbformat.v4.new_notebook()


def build(source: Path) -> list[Path]:
    """Execute both notebooks of a source and write those that changed; return them."""
    written = []
    for path, learner in zip(targets(source), (True, False), strict=True):
        notebook = generate(source, learner=learner)
        path.parent.mkdir(exist_ok=True)
        try:
            execute(notebook, path.parent)
        except BuildError as error:
            msg = f"{path}: {error}"
            raise BuildError(msg) from error
        keep_outputs(notebook, read(path))
        nbformat.validate(notebook)
        text = nbformat.writes(notebook) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def check(source: Path, *, run: bool = False) -> list[str]:
    """Return what differs between the stored notebooks and their source, one line a finding."""
    findings = []
    for path, learner in zip(targets(source), (True, False), strict=True):
        notebook = generate(source, learner=learner)
        stored = read(path)
        if bare(stored) != bare(notebook):
            findings.append(f"{path}: differs from {source.name}; run build.py {source.name[:2]}")
        elif run:
            execute(notebook, path.parent)
            findings += [
                f"{path}: cell {i} prints otherwise" for i in keep_outputs(notebook, stored)
            ]
    return findings


def orphans(folder: Path) -> list[str]:
    """Return the notebooks that no source generates, one line a finding."""
    stored = {*folder.glob("*.ipynb"), *folder.glob("solutions/*.ipynb")}
    made = {path for source in sources(folder, []) for path in targets(source)}
    return [f"{path}: has no source; delete it" for path in sorted(stored - made)]


def stale_pages(folder: Path) -> list[str]:
    """Return the pages that are not what the course gives, one line a finding."""
    stale = symptoms_page.stale(folder.parent)
    if not sources_page.fresh(folder):
        stale.append(folder / sources_page.NAME)
    return [f"{path}: is stale; run build.py --pages" for path in stale]


def main(arguments: list[str], folder: Path = HERE) -> int:
    """Build or check; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "numbers", nargs="*", metavar="NN", help="a number, as 22 or T2; all if none is given"
    )
    parser.add_argument("--check", action="store_true", help="write nothing, report differences")
    parser.add_argument("--execute", action="store_true", help="with --check: run the cells too")
    parser.add_argument("--pages", action="store_true", help="write the pages, build no notebook")
    options = parser.parse_args(arguments)
    if options.execute and not options.check:
        parser.error("--execute goes with --check; a build always executes")
    try:
        chosen = sources(folder, options.numbers)
        if options.check:
            findings = [line for source in chosen for line in check(source, run=options.execute)]
            if not options.numbers:
                findings += orphans(folder)
                findings += stale_pages(folder)
            print(*findings or ["every notebook equals its source"], sep="\n")
            return 1 if findings else 0
        for source in () if options.pages else chosen:
            written = build(source)
            print(f"{source.stem}: {'built' if written else 'unchanged'}", flush=True)
        sources_page.write(folder)
        symptoms_page.write(folder.parent)
    except (BuildError, SymptomsError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
