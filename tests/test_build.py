from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

if TYPE_CHECKING:
    from types import ModuleType

BUILD = Path(__file__).parent.parent / "notebooks" / "build.py"

HEAD = """\
---
jupytext:
  text_representation:
    extension: .md
    format_name: myst
kernelspec:
  display_name: Python 3
  language: python
  name: python3
---

# Count

"""
EXERCISE = '''\
```{code-cell} ipython3
:tags: [exercise]

def double(n: int) -> int:
    """Return n twice."""
    # solution
    twice = n * 2
    return twice
```

```{code-cell} ipython3
try:
    print(double(4))
except NotImplementedError as error:
    print("stub:", error)
```
'''
PLOT = """\
```{code-cell} ipython3
import base64, os
from IPython.display import display
shown = base64.b64encode(os.urandom(24)).decode()
display({"image/png": shown, "text/plain": "a plot"}, raw=True,
        metadata={"image/png": {"alt": "two curves"}})
print("listening on 127.0.0.1:" + str(20000 + os.getpid() % 10000))
```

```{code-cell} ipython3
6 * 7
```
"""


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """Import the script, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("build", BUILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["build"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """Make the folders of a course without a notebook."""
    (tmp_path / "source").mkdir()
    return tmp_path


def write(course: Path, body: str, name: str = "07_count") -> Path:
    """Write a source and return its path."""
    path = course / "source" / f"{name}.md"
    path.write_text(HEAD + body, encoding="utf-8")
    return path


def code_cells(path: Path) -> list[Any]:
    """Return the code cells of a stored notebook."""
    notebook: Any = nbformat.read(path, 4)
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell: Any) -> str:
    """Return what a cell printed."""
    return "".join(output.get("text", "") for output in cell.outputs)


def test_cut_keeps_signature_and_docstring(build: ModuleType) -> None:
    """The stub keeps all before the mark, its indentation, and what follows the function."""
    code = (
        "import math\n\n"
        "def area(r: float) -> float:\n"
        '    """Return the area."""\n'
        "    if r:\n"
        "        pass\n"
        "    # solution\n"
        '    text = """\n'
        'no indent here"""\n'
        "    return math.pi * r**2\n"
        "    # the trick is the square\n"
        "\n"
        "print(area)"
    )
    stub = build.cut(code)
    assert stub == (
        "import math\n\n"
        "def area(r: float) -> float:\n"
        '    """Return the area."""\n'
        "    if r:\n"
        "        pass\n"
        f"    {build.STUB}\n"
        "\n"
        "print(area)"
    )
    namespace: dict[str, Any] = {}
    exec(stub, namespace)  # noqa: S102
    with pytest.raises(NotImplementedError, match="write this"):
        namespace["area"](1.0)


def test_cut_handles_coroutines_and_several_functions(build: ModuleType) -> None:
    """Each function with a mark gets a stub; one without a mark stays whole."""
    code = (
        "async def first(n):\n    # solution\n    return await n\n\n"
        "def helper():\n    return 1\n\n"
        "def second(n):\n    m = n\n    # solution\n    return m\n\n"
        "await first(helper())"
    )
    assert build.cut(code) == (
        f"async def first(n):\n    {build.STUB}\n\n"
        "def helper():\n    return 1\n\n"
        f"def second(n):\n    m = n\n    {build.STUB}\n\n"
        "await first(helper())"
    )


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (EXERCISE.replace("    # solution\n", ""), "needs the line `# solution`"),
        (EXERCISE.replace(":tags: [exercise]\n", ""), "not tagged `exercise`"),
        (EXERCISE.replace("    # solution\n", "# solution\n"), "stands outside a function"),
        (
            EXERCISE.replace("    # solution\n", "").replace(
                "    return twice\n", "    return 1\n    # solution\n"
            ),
            "or nothing follows it",
        ),
        (EXERCISE.replace("    twice = n * 2\n", "    twice = = 2\n"), "twice = = 2"),
        ("```{code-cell} ipython3\n\n```\n", "empty code cell"),
    ],
)
def test_source_mistakes_are_named(
    build: ModuleType, course: Path, body: str, message: str
) -> None:
    """A missing or misplaced mark, broken code and an empty cell abort with the source's name."""
    source = write(course, body)
    with pytest.raises(build.BuildError, match=r"07_count\.md") as caught:
        build.generate(source, learner=True)
    assert message in str(caught.value)


def test_ids_follow_from_content(build: ModuleType, course: Path) -> None:
    """An id stays when other cells move, and equal cells get ids that differ."""
    twin = "```{code-cell} ipython3\nprint(1)\n```\n"
    first = build.generate(write(course, twin + "\n" + twin), learner=True)
    later = build.generate(write(course, "New words.\n\n" + twin + "\n" + twin), learner=True)
    ids = [cell.id for cell in first.cells if cell.cell_type == "code"]
    assert len(set(ids)) == 2
    assert ids == [cell.id for cell in later.cells if cell.cell_type == "code"]


def test_build_makes_learner_and_solution(build: ModuleType, course: Path) -> None:
    """One source gives a stub to the learner, the solution beside it, and both were executed."""
    write(course, EXERCISE)
    assert build.main(["07"], course) == 0
    learner = code_cells(course / "07_count.ipynb")
    solution = code_cells(course / "solutions" / "07_count.ipynb")
    assert [cell.execution_count for cell in learner] == [1, 2]
    assert "twice = n * 2" not in learner[0].source
    assert '"""Return n twice."""' in learner[0].source
    assert printed(learner[1]) == "stub: write this, then run the check below\n"
    assert "# solution" in solution[0].source
    assert printed(solution[1]) == "8\n"
    notebook: Any = nbformat.read(course / "07_count.ipynb", 4)
    assert notebook.metadata == build.METADATA


def test_notebook_runs_in_its_folder_with_a_fresh_data_folder(
    build: ModuleType, course: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A notebook sees its own folder, nbval's variable, and never the author's progress."""
    monkeypatch.setenv("LABSVC_DATA_DIR", str(course / "mine"))
    body = (
        "```{code-cell} ipython3\nimport os, pathlib\n"
        "print(sorted(p.name for p in pathlib.Path().glob('*.txt')))\n"
        "data = pathlib.Path(os.environ['LABSVC_DATA_DIR'])\n"
        "print(data.name, list(data.iterdir()) == [], 'PYTEST_CURRENT_TEST' in os.environ)\n```\n"
    )
    (course / "learner.txt").touch()
    (course / "solutions").mkdir()
    (course / "solutions" / "solution.txt").touch()
    build.build(write(course, body))
    said = printed(code_cells(course / "07_count.ipynb")[0])
    assert said.startswith("['learner.txt']\n")
    assert "mine" not in said
    assert said.endswith("True True\n")
    said = printed(code_cells(course / "solutions" / "07_count.ipynb")[0])
    assert said.startswith("['solution.txt']\n")


def test_rebuild_changes_nothing(build: ModuleType, course: Path) -> None:
    """A second build keeps pictures and ports, so that the files stay byte for byte the same."""
    source = write(course, PLOT)
    assert len(build.build(source)) == 2
    before = {path: path.read_bytes() for path in build.targets(source)}
    assert build.build(source) == []
    assert {path: path.read_bytes() for path in build.targets(source)} == before


def test_rebuild_changes_only_what_changed(build: ModuleType, course: Path) -> None:
    """A new cell in front leaves the old picture, and the counts go on from 1."""
    build.build(write(course, PLOT))
    path = course / "07_count.ipynb"
    old_plot, old_result = code_cells(path)
    build.build(write(course, "```{code-cell} ipython3\nprint('new')\n```\n\n" + PLOT))
    new, plot, result = code_cells(path)
    assert printed(new) == "new\n"
    assert plot.outputs == old_plot.outputs
    assert [new.execution_count, plot.execution_count, result.execution_count] == [1, 2, 3]
    assert result.outputs[0].execution_count == 3
    assert result.outputs[0].data == old_result.outputs[0].data


def test_raising_cell_aborts(
    build: ModuleType, course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A cell that raises aborts the build with its source and traceback, and nothing is stored."""
    write(course, "```{code-cell} ipython3\nlimit = 3\nprint(limit / 0)\n```\n")
    assert build.main(["07"], course) == 1
    said = capsys.readouterr().err
    assert "07_count.ipynb" in said
    assert "limit = 3" in said
    assert "ZeroDivisionError: division by zero" in said
    assert "\x1b" not in said
    assert not (course / "07_count.ipynb").exists()


def test_check_finds_drift(
    build: ModuleType, course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """--check sees a missing notebook, an edited source, an edited notebook and an orphan."""
    source = write(course, EXERCISE)
    assert build.main(["--check"], course) == 1
    assert build.main([], course) == 0
    assert build.main(["--check"], course) == 0
    capsys.readouterr()

    write(course, EXERCISE.replace("double(4)", "double(5)"))
    assert build.main(["--check", "07"], course) == 1
    assert capsys.readouterr().out.count("differs from 07_count.md; run build.py 07") == 2

    write(course, EXERCISE)
    path = course / "07_count.ipynb"
    path.write_text(path.read_text().replace("Return n twice", "Return n thrice"))
    assert build.check(source) == [f"{path}: differs from 07_count.md; run build.py 07"]

    source.rename(source.with_name("08_other.md"))
    assert build.main(["--check"], course) == 1
    assert f"{path}: has no source; delete it" in capsys.readouterr().out


def test_page_about_the_articles_is_made_and_checked(
    build: ModuleType, course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A build writes the page, with a link to a notebook that is there; --check sees it stale."""
    write(course, EXERCISE, "20_channels")
    assert build.main(["20"], course) == 0
    page = course / "sources.md"
    assert "[20_channels](20_channels.ipynb)" in page.read_text(encoding="utf-8")
    assert "22, to come" in page.read_text(encoding="utf-8")
    assert build.main(["--check"], course) == 0
    page.write_text("old", encoding="utf-8")
    assert build.main(["--check"], course) == 1
    assert "sources.md: is stale; run build.py" in capsys.readouterr().out


def test_check_execute_compares_outputs(build: ModuleType, course: Path) -> None:
    """--check --execute names a cell whose stored output is not what it prints, and only that."""
    source = write(course, EXERCISE + "\n" + PLOT)
    build.build(source)
    assert build.check(source, run=True) == []
    path = course / "solutions" / "07_count.ipynb"
    path.write_text(path.read_text().replace('"8\\n"', '"9\\n"'))
    assert build.check(source) == []
    findings = build.check(source, run=True)
    assert findings == [f"{path}: cell {code_cells(path)[1].id} prints otherwise"]


def test_wrong_arguments(
    build: ModuleType, course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown number lists the sources there are; --execute alone is refused."""
    write(course, EXERCISE)
    assert build.main(["55"], course) == 1
    assert "no source for 55; there are 07" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        build.main(["--execute"], course)
