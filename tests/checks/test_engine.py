from __future__ import annotations

import asyncio
import json
import pkgutil
import sys
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import grpc
import nbformat
import pytest
from build import sockets_in
from nbclient import NotebookClient

import labsvc
from labsvc.checks import Verdict, check, run_check
from labsvc.checks.engine import exercise
from labsvc.checks.progress import Progress, load
from labsvc.checks.registry import find
from labsvc.checks.verdict import diagnose, first_broken, solved, wrong_type
from labsvc.errors import LabError
from tests.cell import written

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission


def stub(n: int) -> int:
    """Stand for a cell that nobody has filled in."""
    msg = "write this, then run the check below"
    raise NotImplementedError(msg)


def test_verdict_of_a_right_answer(double: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A right answer is solved, with what was kept and the counts, and check returns None."""
    assert labsvc.check is check
    check(double, lambda n: n * 2)
    assert capsys.readouterr().out == (
        "98-double: solved\n  4 was doubled to 8\n  counts: tries 1, left open 0\n"
    )


def test_verdict_of_a_wrong_answer(double: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong answer is told which guarantee broke, with counts and one hint."""
    check(double, lambda n: n)
    assert capsys.readouterr().out == (
        "98-double: not solved\n"
        "  4 was doubled to 4\n"
        "  counts: tries 1\n"
        "  hint: Twice is more than once.\n"
    )


def test_stub_is_not_attempted(double: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The stub counts as not attempted, not as wrong."""
    check(double, stub)
    assert capsys.readouterr().out == (
        "98-double: not attempted\n"
        "  write the function in the cell above, then run this cell again\n"
    )


def test_coroutine_function_is_awaited(double: str) -> None:
    """An answer written with `async def` runs on a loop of its own, also inside a running one."""

    async def answer(n: int) -> int:
        await asyncio.sleep(0)
        return n * 2

    async def cell() -> Verdict:
        return run_check(double, answer)

    assert run_check(double, answer).state == "solved"
    assert asyncio.run(cell()).state == "solved"


def test_unknown_id_lists_the_ids(double: str) -> None:
    """A mistyped id is an error that lists the ids there are."""
    with pytest.raises(LabError, match=r"no exercise '98-dubble'.*01-percentile.*98-double"):
        run_check("98-dubble", stub)


def test_answer_that_is_no_function(double: str) -> None:
    """A value in the place of a function is told how to pass the function."""
    verdict = run_check(double, 8)  # type: ignore[arg-type]
    assert verdict.state == "not solved"
    assert verdict.guarantee == "the answer is of type int, not a function"
    assert "without brackets" in verdict.hint


def test_answer_with_other_parameters(double: str) -> None:
    """A function that takes other arguments is told to keep the first line of the stub."""
    verdict = run_check(double, lambda: 8)
    assert verdict.state == "not solved"
    assert verdict.guarantee == "your function cannot be called: too many positional arguments"
    assert "Keep the first line" in verdict.hint


def test_answer_that_raises(double: str) -> None:
    """An exception is told by type, message and the learner's own line, not a line of ours."""

    def answer(n: int) -> int:
        return int(json.loads("{") or n)

    verdict = run_check(double, answer)
    assert verdict.state == "not solved"
    line = answer.__code__.co_firstlineno + 1
    assert verdict.guarantee.startswith("your function raised JSONDecodeError: Expecting property")
    assert verdict.guarantee.endswith(f'in line {line}: return int(json.loads("{{") or n)')
    assert "checks" not in str(verdict)


def test_answer_that_exits(double: str) -> None:
    """sys.exit in an answer is an exception like any other and does not end the kernel."""
    verdict = run_check(double, sys.exit)
    assert verdict.state == "not solved"
    assert "SystemExit: 4" in verdict.guarantee


def test_grpc_error_is_told_by_its_code(double: str) -> None:
    """A gRPC error that reaches the check is told by status code, on one line."""

    def answer(n: int) -> int:
        with grpc.insecure_channel("127.0.0.1:9", [("grpc.enable_http_proxy", 0)]) as channel:
            ask: Any = channel.unary_unary("/x.Y/Z")
            ask(b"", timeout=0.3)
        return n

    verdict = run_check(double, answer)
    assert verdict.guarantee.startswith("your function raised a gRPC error UNAVAILABLE: ")
    assert verdict.guarantee.endswith(': ask(b"", timeout=0.3)')
    assert "\n" not in verdict.guarantee


def test_failure_of_the_check_is_unknown(double: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A check that fails itself says so, without a stack trace, and blames nobody."""

    @exercise("98-torn", title="A check that is broken")
    def torn(answer: Submission, sandbox: Sandbox) -> Verdict:
        answer(4)
        msg = "rclone was not found; install it\nsecond line"
        raise LabError(msg)

    check("98-torn", written("def answer(n): return n"))
    said = capsys.readouterr().out
    assert said.startswith("98-torn: unknown\n  the check itself could not run (LabError: ")
    assert "rclone was not found; install it)" in said
    assert "nothing about your answer" in said
    assert "Traceback" not in said
    assert load() == (Progress(), "")


def test_error_that_passed_the_answer_is_its_own(double: str) -> None:
    """What a function of the answer raises in the check's own code is the answer's fault."""

    @exercise("98-returned", title="A function that is returned")
    def returned(answer: Submission, sandbox: Sandbox) -> Verdict:
        return solved(f"it made {answer(4)()}")

    slip = "def answer(n):\n    def inner():\n        return n / m\n    return inner"
    verdict = run_check("98-returned", written(slip))
    assert verdict.state == "not solved"
    assert verdict.guarantee == (
        "your function raised NameError: name 'm' is not defined, in line 3: return n / m"
    )
    assert "Look for a slip in the name" in verdict.hint
    todo = "def answer(n):\n    def inner():\n        raise NotImplementedError\n    return inner"
    assert run_check("98-returned", written(todo)).state == "not attempted"


def test_error_behind_the_error_of_a_check(double: str) -> None:
    """An error of the check that came from the answer's error is the answer's fault too."""

    @exercise("98-behind", title="A client of the answer")
    def behind(answer: Submission, sandbox: Sandbox) -> Verdict:
        inner = answer(4)
        try:
            inner()
        except NameError as error:
            msg = "no answer came"
            raise LabError(msg) from error
        return solved("it was made")

    source = "def answer(n):\n    def inner():\n        return m\n    return inner"
    verdict = run_check("98-behind", written(source))
    assert verdict.state == "not solved"
    assert verdict.guarantee == (
        "your function raised NameError: name 'm' is not defined, in line 3: return m"
    )


def test_kind_of_the_answer_is_declared(monkeypatch: pytest.MonkeyPatch, double: str) -> None:
    """An exercise says how its answer is written, and the scenario never sees another one."""

    @exercise("98-plain", title="For a server with threads", kind="function", returns=int)
    def plain(answer: Submission, sandbox: Sandbox) -> Verdict:
        return solved(f"it returned {answer(4)}")

    assert run_check("98-plain", lambda n: n).state == "solved"
    verdict = run_check("98-plain", written("async def answer(n): return n"))
    assert verdict.state == "not solved"
    assert verdict.guarantee == "your function is an `async def`, and has to be a plain `def`"
    assert "nobody awaits it" in verdict.hint
    verdict = run_check("98-plain", written("def answer(n): return str(n)"))
    assert verdict.guarantee == "your function returned a str"
    assert verdict.hint == "The exercise asks for an int."


def test_check_in_a_kernel() -> None:
    """In a notebook the learner's line is shown from its cell, and prints land below the check."""
    v4: Any = nbformat.v4
    cells = [
        "from labsvc import check\nlimit = 0",
        "def p99(latencies):\n    print('asked')\n    return latencies[0] / limit",
        "check('01-percentile', p99)\ncheck('01-percentile', p99)",
        "async def p99(latencies):\n    return max(latencies)\ncheck('01-percentile', p99)",
    ]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source in cells])
    with TemporaryDirectory() as folder:
        settings = sockets_in(folder)
        NotebookClient(notebook, timeout=60, coalesce_streams=True, config=settings).execute()
    raised = (
        "asked\n"
        "01-percentile: not solved\n"
        "  your function raised ZeroDivisionError: float division by zero,"
        " in line 3: return latencies[0] / limit\n"
        "  hint: Try that line in a cell of its own, or print what it works with and check again.\n"
    )
    assert [output.text for output in notebook.cells[2].outputs] == [raised * 2]
    assert notebook.cells[3].outputs[0].text.startswith("01-percentile: not solved\n")


def test_registration_refuses_bad_ids(double: str) -> None:
    """An id without its notebook's number, or one that another module has, is refused."""
    with pytest.raises(ValueError, match="a number and a name"):
        exercise("double", title="No number")
    find("01-percentile")
    with pytest.raises(ValueError, match=r"taken by labsvc\.checks\.scenarios\.percentile"):

        @exercise("01-percentile", title="Taken")
        def again(answer: Submission, sandbox: Sandbox) -> Verdict:
            return solved("never")


def test_diagnose_takes_the_first_mistake() -> None:
    """The first mistake that was made is told, or else the general one, or nothing."""
    otherwise = ("it is wrong", "Look again.")
    mistakes = [(False, "a", "A"), (True, "b", "B"), (True, "c", "C")]
    second = Verdict("not solved", "b", {"left open": 2}, "B")
    assert diagnose(*mistakes, otherwise=otherwise, left_open=2) == second
    assert first_broken(*mistakes, left_open=2) == second
    assert first_broken(mistakes[0]) is None
    assert diagnose(mistakes[0], otherwise=otherwise, left_open=2) == Verdict(
        "not solved", "it is wrong", {"left open": 2}, "Look again."
    )


def test_wrong_type_says_what_came() -> None:
    """A value of the wrong type is named with what is in it, and None asks for a return."""
    verdict = wrong_type(["1", "2"], "a list of latencies", calls=2)
    assert verdict.guarantee == "your function returned a list of str"
    assert verdict.hint == "Return a list of latencies."
    assert verdict.counts == {"calls": 2}
    assert "a `return`" in wrong_type(None, "a number").hint


def test_modules_are_named_in_the_map() -> None:
    """The package's docstring names every module of the engine, and the package of scenarios."""
    modules = {module.name for module in pkgutil.iter_modules(labsvc.checks.__path__)}
    text = labsvc.checks.__doc__ or ""
    named = {line.split()[0] for line in text.splitlines() if line.startswith("    ")}
    assert named | {"scenarios"} == modules
    assert "`scenarios`" in text
