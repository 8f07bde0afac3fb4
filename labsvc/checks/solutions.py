"""The course's own solution of an exercise, shown as the code that it is."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from labsvc.checks.catalogue import texts
from labsvc.checks.progress import is_solved
from labsvc.checks.registry import unknown
from labsvc.course.places import checkout_folder
from labsvc.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path


def solution(exercise_id: str) -> None:
    """Show the code of the course's solution, highlighted in a notebook, plain text elsewhere.

    Raises:
        LabError: there is no such exercise, or its solution is not in the folder of the course.

    """
    if texts(exercise_id) is None:
        raise unknown(exercise_id)
    code = _code(exercise_id)
    if not is_solved(exercise_id):
        said = f'not solved yet: hint("{exercise_id}") gives less away'
        print(said)  # noqa: T201  # this is its purpose
    _show(code)


def _show(code: str) -> None:
    from IPython.core.getipython import get_ipython
    from IPython.display import display

    if get_ipython() is None:
        print(code)  # noqa: T201
    else:
        shown = {"text/plain": code, "text/markdown": f"```python\n{code}\n```"}
        display(shown, raw=True)  # type: ignore[no-untyped-call]


def _code(exercise_id: str) -> str:
    """Return the source of the cell tagged `exercise` that the check of this exercise follows.

    Raises:
        LabError: there is no such notebook or no such cell.

    """
    path = _notebook(exercise_id[:2])
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        tried = re.compile(rf"""\bcheck\(["']{exercise_id}["']""")
        above: list[str] = []
        for cell in cells:
            if tried.search("".join(cell["source"])) and above:
                return above[-1]
            if "exercise" in _tags(cell):
                above.append("".join(cell["source"]))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        msg = f"{path} cannot be read ({type(error).__name__}); restore it with `git checkout`"
        raise LabError(msg) from error
    msg = f"{path} has no cell with the solution of {exercise_id}; get the course again"
    raise LabError(msg)


def _notebook(number: str) -> Path:
    course = checkout_folder()
    found = [] if course is None else sorted(course.glob(f"notebooks/solutions/{number}_*.ipynb"))
    if not found:
        where = "no folder of the course is here" if course is None else f"{course} has none"
        msg = (
            f"the solution of notebook {number} was not found: {where};"
            " work in the folder that you got with `git clone`"
        )
        raise LabError(msg)
    return found[0]


def _tags(cell: dict[str, Any]) -> list[str]:
    tags: list[str] = cell.get("metadata", {}).get("tags", [])
    return tags
