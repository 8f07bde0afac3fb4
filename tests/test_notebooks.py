from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from labsvc.checks.registry import listed
from labsvc.checks.testing_out import is_test_out

if TYPE_CHECKING:
    from types import ModuleType

FOLDER = Path(__file__).parent.parent / "notebooks"
LEARNER = sorted(FOLDER.glob("*.ipynb"))
ALL = LEARNER + sorted(FOLDER.glob("solutions/*.ipynb"))
SOURCES = sorted(FOLDER.glob("source/*.md"))

TIME = re.compile(
    r"""\b\d+([.,]\d+)?\s*
        ( [num\u00b5\u03bc]?s | [mu]?secs? | milliseconds? | microseconds? | seconds? )\b
      | \b\d+:\d\d:\d\d\b | \b20\d\d-\d\d-\d\d\b
    """,
    re.VERBOSE | re.IGNORECASE,
)
PLACE = re.compile(
    r"/(tmp|root|home|work|Users|var|opt|mnt|srv|private)/|site-packages|ipykernel_\d|\b[A-Z]:\\"
)
EXCEPTIONAL = ("nbval-ignore-output", "nbval-skip", "raises-exception")
ALLOWED: dict[tuple[str, str], str] = {}
"""(notebook's name, tag) -> why this cell may have it. None is needed so far."""

MOST_PITFALLS = 5
WORDS = range(1000, 1501)
CODE_CELLS = range(15, 26)
MINUTES = range(30, 46)
WORDS_OF_A_TEST_OUT = range(200, 601)
CODE_CELLS_OF_A_TEST_OUT = range(4, 8)
MINUTES_OF_A_TEST_OUT = range(15, 46)


def code_cells(notebook: Any) -> list[Any]:
    """Return the code cells."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def prose(notebook: Any) -> str:
    """Return all Markdown."""
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def texts(output: Any) -> list[str]:
    """Return what an output shows as text, the alternative text of a picture excepted."""
    data = output.get("data", {})
    shown = [output.get("text", "")]
    return shown + [str(data[kind]) for kind in data if not kind.startswith("image/")]


def output_faults(notebook: Any) -> list[str]:
    """Return what must not be in stored outputs, one line a fault."""
    said = []
    for cell in code_cells(notebook):
        first = cell.source.strip().partition("\n")[0]
        if cell.execution_count is None:
            said.append(f"{first}: no execution count, so nbval never compares it")
        for output in cell.outputs:
            if output.output_type == "error":
                said.append(f"{first}: a stored traceback ({output.ename})")
            if output.get("name") == "stderr":
                said.append(f"{first}: prints to stderr")
            for text in texts(output):
                said += [f"{first}: a raw time, {m.group()!r}" for m in TIME.finditer(text)]
                said += [f"{first}: a place on a machine, {m!r}" for m in set(PLACE.findall(text))]
            for kind in output.get("data", {}):
                if kind.startswith("image/") and not alternative(output, kind).strip():
                    said.append(f"{first}: a picture without alternative text")
    return said


def alternative(output: Any, kind: str) -> str:
    """Return the alternative text of a picture."""
    return str(output.metadata.get(kind, {}).get("alt", ""))


def tag_faults(notebook: Any, name: str) -> list[str]:
    """Return the cells that nbval is told to treat as exceptions without a reason given here."""
    said = []
    for cell in code_cells(notebook):
        marks = {*cell.metadata.get("tags", [])}
        comment = re.findall(r"^# *(NBVAL\w+|PYTEST\w+)", cell.source, re.MULTILINE)
        marks |= {mark.lower().replace("_", "-") for mark in comment}
        for mark in marks:
            known = mark in EXCEPTIONAL or mark.startswith(("nbval", "pytest"))
            if known and (name, mark) not in ALLOWED:
                said.append(f"{cell.source.partition(chr(10))[0]}: {mark} without a reason")
    return said


def structure_faults(notebook: Any, number: str) -> list[str]:
    """Return where a learner's notebook departs from the order of the course."""
    if is_test_out(number):
        return faults_of_a_test_out(notebook, number)
    cells, text = code_cells(notebook), prose(notebook)
    said = []
    marks = re.findall(r"^(## Pitfall|### Fix)(?=: \S)", text, re.MULTILINE)
    if not marks or marks != ["## Pitfall", "### Fix"] * (len(marks) // 2):
        said.append(f"not every pitfall is followed by its fix: {marks}")
    if len(marks) > 2 * MOST_PITFALLS:
        said.append(f"more than {MOST_PITFALLS} pitfalls")
    if len(cells) not in CODE_CELLS:
        said.append(f"{len(cells)} code cells")
    if len(text.split()) not in WORDS:
        said.append(f"{len(text.split())} words")
    if not any("image/png" in o.get("data", {}) for cell in cells for o in cell.outputs):
        said.append("no picture")
    if "## Summary\n\n| symptom | cause | fix | setting |\n" not in text:
        said.append("no table of symptoms, causes, fixes and settings under `## Summary`")
    return said + ending_faults(notebook) + promise_faults(text) + exercise_faults(cells, number)


def ending_faults(notebook: Any) -> list[str]:
    """Return what is missing from any notebook's second half."""
    cells, text, said = code_cells(notebook), prose(notebook), []
    if "## Exercise" not in text or "<details>" not in text:
        said.append("no exercise with a hint behind <details>")
    if not re.search(r"^##+ Stop the lab$", text, re.MULTILINE) or "lab.stop()" not in (
        cells[-1].source if cells else ""
    ):
        said.append("does not end with `Stop the lab`")
    return said


def faults_of_a_test_out(notebook: Any, number: str) -> list[str]:
    """Return where a test-out is not short, or does not say which notebooks it stands for."""
    cells, text = code_cells(notebook), prose(notebook)
    said = []
    if len(cells) not in CODE_CELLS_OF_A_TEST_OUT:
        said.append(f"{len(cells)} code cells")
    if len(text.split()) not in WORDS_OF_A_TEST_OUT:
        said.append(f"{len(text.split())} words")
    if len(re.findall(r"^## Exercise", text, re.MULTILINE)) > 1 or "## Pitfall" in text:
        said.append("more than one exercise")
    table = text.partition("## Summary\n\n| what broke | read |\n")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    links = re.compile(rf"\({number[1]}\d_\w+\.ipynb\)")
    if not rows or not all(links.search(row) for row in rows):
        said.append("no table under `## Summary` that says which notebook to read")
    said += minutes_faults(text, MINUTES_OF_A_TEST_OUT)
    return said + ending_faults(notebook) + exercise_faults(cells, number)


def promise_faults(text: str) -> list[str]:
    """Return which pitfall asks no question before its evidence, and whether the time is honest."""
    pitfalls = re.split(r"^## Pitfall: ", text, flags=re.MULTILINE)[1:]
    said = [
        f"no question before the evidence of: {pitfall.partition(chr(10))[0]}"
        for pitfall in pitfalls
        if "**Predict.**" not in pitfall.partition("\n### Fix")[0]
    ]
    return said + minutes_faults(text, MINUTES)


def minutes_faults(text: str, most: range) -> list[str]:
    """Return whether the time is stated and within these minutes."""
    minutes = re.search(r"^\*\*Time\*\*: (\d+) minutes\.", text, re.MULTILINE)
    if minutes is None:
        return ["the minutes are not stated"]
    return [] if int(minutes[1]) in most else [f"{minutes[1]} minutes"]


def exercise_faults(cells: list[Any], number: str) -> list[str]:
    """Return which exercises have no check, and which checks are of no exercise."""
    said = []
    tagged = [c.source for c in cells if "exercise" in c.metadata.get("tags", [])]
    written = {
        name
        for source in tagged
        for name in re.findall(r"^(?:async )?def (\w+)", source, re.MULTILINE)
    }
    calls = [c for cell in cells for c in re.findall(r'\bcheck\("([^"]+)", (\w+)\)', cell.source)]
    known = set(listed(number))
    said += [f"no check of {name}" for name in sorted(written - {name for _, name in calls})]
    said += [
        f"check of {name}, which no exercise cell defines"
        for _, name in calls
        if name not in written
    ]
    if {exercise_id for exercise_id, _ in calls} != known:
        said.append(f"checks {sorted({i for i, _ in calls})}, there are {sorted(known)}")
    if not tagged:
        said.append("no cell tagged `exercise`")
    return said


def read(path: Path) -> Any:
    """Return a stored notebook."""
    return nbformat.read(path, 4)


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """Import the build script, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("build", FOLDER / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["build"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_notebooks_equal_their_source(build: ModuleType, source: Path) -> None:
    """Both notebooks have the cells that their source generates: nobody edited one by hand."""
    assert build.check(source) == []


def test_every_notebook_has_a_source(build: ModuleType) -> None:
    """No notebook is left over from a source that was renamed or removed."""
    assert build.orphans(FOLDER) == []


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_outputs_hold_on_every_machine(path: Path) -> None:
    """Stored outputs have no traceback, time, place or nameless picture, and every cell ran."""
    assert output_faults(read(path)) == []


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_cell_is_compared(path: Path) -> None:
    """No cell is an exception for nbval unless its reason is listed here."""
    assert tag_faults(read(path), path.stem) == []


@pytest.mark.parametrize("path", LEARNER, ids=lambda path: path.stem)
def test_structure(path: Path) -> None:
    """A notebook keeps the order of the course."""
    assert structure_faults(read(path), path.stem[:2]) == []


@pytest.mark.parametrize("path", ALL, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_verdicts_are_as_they_should(path: Path) -> None:
    """A learner's notebook says `not attempted` after each check, a solution says `solved`."""
    wanted = "solved" if path.parent.name == "solutions" else "not attempted"
    for cell in code_cells(read(path)):
        for exercise_id in re.findall(r'\bcheck\("([^"]+)"', cell.source):
            shown = "".join(text for output in cell.outputs for text in texts(output))
            assert f"{exercise_id}: {wanted}\n" in shown


V4: Any = nbformat.v4


def cell(source: str, *outputs: Any, tags: tuple[str, ...] = (), count: int | None = 1) -> Any:
    """Make a code cell."""
    metadata = {"tags": list(tags)} if tags else {}
    return V4.new_code_cell(source, outputs=list(outputs), metadata=metadata, execution_count=count)


def stream(text: str, name: str = "stdout") -> Any:
    """Make what a print leaves."""
    return V4.new_output("stream", text=text, name=name)


def picture(alt: str | None) -> Any:
    """Make a plot."""
    metadata = {"image/png": {"alt": alt}} if alt is not None else {}
    return V4.new_output(
        "display_data", data={"image/png": "AAAA", "text/plain": "<Figure>"}, metadata=metadata
    )


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (cell("f()", count=None), "no execution count"),
        (cell("f()", V4.new_output("error", ename="E", evalue="", traceback=[])), "traceback (E)"),
        (cell("f()", stream("noise", "stderr")), "stderr"),
        (cell("f()", stream("took 3.2 ms")), "a raw time, '3.2 ms'"),
        (cell("f()", stream("took 12µs")), "a raw time"),
        (cell("f()", stream("took 12 \u03bcs")), "a raw time"),
        (cell("f()", stream("took 0.35s")), "a raw time, '0.35s'"),
        (cell("f()", stream("took 2 seconds")), "a raw time"),
        (cell("f()", stream("at 12:30:01")), "a raw time"),
        (cell("f()", V4.new_output("execute_result", data={"text/html": "<b>3 ms</b>"})), "time"),
        (cell("f()", stream("in /home/ada/x.py")), "a place on a machine"),
        (cell("f()", stream(r"in C:\Users\ada")), "a place on a machine"),
        (cell("f()", stream("lib/site-packages/grpc")), "a place on a machine"),
        (cell("f()", picture(None)), "without alternative text"),
        (cell("f()", picture(" ")), "without alternative text"),
        (
            cell(
                "f()",
                stream("fix is at least 5x faster: True\n60 connections, status 404, 3 sizes"),
            ),
            "",
        ),
        (cell("f()", picture("two curves, p99 at 3 ms")), ""),
    ],
)
def test_bad_output_is_found(bad: Any, fault: str) -> None:
    """Each kind of output that cannot hold on every machine is found, and good ones pass."""
    said = output_faults(V4.new_notebook(cells=[bad]))
    assert fault in said[0] if fault else said == []


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        (cell("f()", tags=("nbval-ignore-output",)), "nbval-ignore-output without a reason"),
        (cell("f()", tags=("nbval-skip",)), "nbval-skip"),
        (cell("f()", tags=("raises-exception",)), "raises-exception"),
        (cell("# NBVAL_IGNORE_OUTPUT\nf()"), "nbval-ignore-output"),
        (cell("f()\n# PYTEST_VALIDATE_IGNORE_OUTPUT"), "pytest-validate-ignore-output"),
        (cell("f()", tags=("exercise",)), ""),
    ],
)
def test_exception_for_nbval_is_found(bad: Any, fault: str) -> None:
    """Each way to keep nbval from comparing a cell is found."""
    said = tag_faults(V4.new_notebook(cells=[bad]), "00_start_here")
    assert fault in said[0] if fault else said == []


def good_notebook() -> list[Any]:
    """Return the cells of a notebook in order, with the exercises of 01."""
    known = list(listed("01"))
    words = V4.new_markdown_cell("# Start\n\n**Time**: 30 minutes.\n\n" + "word " * 1100)
    return [
        words,
        *(cell(f"step({n})") for n in range(12)),
        V4.new_markdown_cell("## Pitfall: it is slow"),
        V4.new_markdown_cell("**Predict.** How slow?"),
        cell("plot()", picture("two curves")),
        V4.new_markdown_cell("### Fix: make it fast"),
        V4.new_markdown_cell("## Exercise: yours\n\n<details>a hint</details>"),
        cell("def mine(n):\n    raise NotImplementedError", tags=("exercise",)),
        *(cell(f'check("{exercise_id}", mine)') for exercise_id in known),
        V4.new_markdown_cell("## Summary\n\n| symptom | cause | fix | setting |\n| --- |"),
        V4.new_markdown_cell("### Stop the lab"),
        cell("lab.stop()"),
    ]


def with_text(old: str, new: str) -> list[Any]:
    """Return the good notebook's cells, a text replaced in each."""
    cells = good_notebook()
    for each in cells:
        each.source = each.source.replace(old, new)
    return cells


def without(text: str) -> list[Any]:
    """Return the good notebook's cells, a text cut from each."""
    return with_text(text, "")


MORE = "## Pitfall: another\n\n**Predict.** What?\n\n### Fix: it\n\n"


def test_good_notebook_has_no_fault() -> None:
    """The rules can be kept."""
    assert structure_faults(V4.new_notebook(cells=good_notebook()), "01") == []


@pytest.mark.parametrize(
    ("cells", "fault"),
    [
        (without("### Fix: make it fast"), "followed by its fix"),
        (without("## Pitfall: it is slow"), "followed by its fix"),
        (without("**Predict.** How slow?"), "no question before the evidence of: it is slow"),
        (without(" minutes"), "the minutes are not stated"),
        (with_text("30 minutes", "20 minutes"), "20 minutes"),
        (with_text("### Fix: make it fast", "### Fix: a\n\n" + 5 * MORE), "more than 5 pitfalls"),
        (without("word "), "words"),
        (without("<details>"), "<details>"),
        (without(" setting |"), "no table"),
        (without("lab.stop()"), "Stop the lab"),
        (without("### Stop the lab"), "Stop the lab"),
        (without("def mine(n):"), "which no exercise cell defines"),
        (without("check("), "no check of mine"),
        (without("01-percentile"), "there are ['01-open-loop', '01-percentile']"),
        (good_notebook()[:7], "6 code cells"),
        ([c for c in good_notebook() if c.source != "plot()"], "no picture"),
        ([c for c in good_notebook() if not c.metadata.get("tags")], "no cell tagged"),
    ],
)
def test_departure_from_the_course_is_found(cells: list[Any], fault: str) -> None:
    """Each departure from the order of a notebook is found."""
    assert any(fault in line for line in structure_faults(V4.new_notebook(cells=cells), "01"))


def good_test_out() -> list[Any]:
    """Return the cells of a test-out in order."""
    table = (
        "## Summary\n\n| what broke | read |\n| --- | --- |\n| time | [22](22_deadlines.ipynb) |"
    )
    return [
        V4.new_markdown_cell("# Calls\n\n**Time**: 20 minutes.\n\n" + "word " * 300),
        *(cell(f"step({n})") for n in range(2)),
        V4.new_markdown_cell("## Exercise: yours\n\n<details>a hint</details>"),
        cell("def mine(n):\n    raise NotImplementedError", tags=("exercise",)),
        *(cell(f'check("{exercise_id}", mine)') for exercise_id in listed("T2")),
        V4.new_markdown_cell(table),
        V4.new_markdown_cell("### Stop the lab"),
        cell("lab.stop()"),
    ]


def test_good_test_out_has_no_fault() -> None:
    """The rules can be kept."""
    assert structure_faults(V4.new_notebook(cells=good_test_out()), "T2") == []


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("20 minutes", "50 minutes", "50 minutes"),
        ("**Time**", "Time", "the minutes are not stated"),
        ("word ", "word word word ", "words"),
        ("## Summary", "## Summary\n\n## Exercise: another", "more than one exercise"),
        ("# Calls", "## Pitfall: slow\n\n", "more than one exercise"),
        ("22_deadlines", "30_http_clients", "which notebook to read"),
        ("| time |", "| time | here |\n| again |", "which notebook to read"),
        ("check(", "try_it(", "no check of mine"),
        ("<details>", "", "<details>"),
        ("lab.stop()", "", "Stop the lab"),
    ],
)
def test_departure_from_a_test_out_is_found(old: str, new: str, fault: str) -> None:
    """Each departure from what a test-out is for is found."""
    cells = good_test_out()
    for each in cells:
        each.source = each.source.replace(old, new)
    assert any(fault in line for line in structure_faults(V4.new_notebook(cells=cells), "T2"))


def test_a_long_test_out_is_found() -> None:
    """A test-out is no lesson."""
    cells = [*(cell(f"more({n})") for n in range(9)), *good_test_out()]
    assert "14 code cells" in structure_faults(V4.new_notebook(cells=cells), "T2")
