from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import nbformat
import pytest
from nbclient import NotebookClient

import labsvc
from labsvc.checks import Verdict, check, run_check
from labsvc.checks import engine as engine_module
from labsvc.checks.answer import Answer
from labsvc.checks.engine import exercise, exercises
from labsvc.checks.progress import data_folder, forget, load, record, show
from labsvc.checks.reset import reset
from labsvc.checks.verdict import broken, diagnose, solved
from labsvc.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from labsvc.checks.bench import Bench

WAIT = 10.0  # seconds until a condition counts as never coming true


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the learner's own progress out of the tests."""
    monkeypatch.setenv("LABSVC_DATA_DIR", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Register a small exercise with a short deadline, and forget it afterwards."""
    exercises()
    monkeypatch.setattr(engine_module, "_exercises", dict(engine_module._exercises))

    @exercise("98-double", title="Double a number", deadline=0.4)
    def scenario(answer: Answer, _bench: Bench) -> Verdict:
        got = answer(4)
        if got != 8:
            return broken(f"4 was doubled to {got}", "Twice is more than once.", tries=1)
        return solved("4 was doubled to 8", tries=1, left_open=0)

    return "98-double"


def until(condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds; return whether it ever did."""
    give_up_at = time.monotonic() + WAIT
    while not condition() and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return condition()


def learner_threads() -> list[threading.Thread]:
    """Return the threads that still run an answer."""
    return [thread for thread in threading.enumerate() if thread.name == "labsvc-check"]


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
    with pytest.raises(LabError, match=r"no exercise '98-dubble'.*00-percentile.*98-double"):
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
            channel.unary_unary("/x.Y/Z")(b"", timeout=0.3)
        return n

    verdict = run_check(double, answer)
    assert verdict.guarantee.startswith("your function raised a gRPC error UNAVAILABLE: ")
    assert "channel.unary_unary" in verdict.guarantee
    assert "\n" not in verdict.guarantee


def loops_for_ever(n: int) -> int:
    """Swallow every error and never end."""
    while True:
        try:
            n += 1
        except Exception:  # noqa: BLE001
            n = 0


def waits_for_ever(n: int) -> int:
    """Wait for an event that never comes."""
    while True:
        threading.Event().wait(0.01)


async def awaits_for_ever(n: int) -> int:
    """Await what never comes."""
    await asyncio.Event().wait()
    return n


async def blocks_its_loop(n: int) -> int:
    """Block the loop that runs it."""
    while True:
        time.sleep(0.01)  # noqa: ASYNC251


@pytest.mark.parametrize(
    "answer", [loops_for_ever, waits_for_ever, awaits_for_ever, blocks_its_loop]
)
def test_answer_that_hangs(double: str, answer: Callable[[int], Any]) -> None:
    """An answer without an end is given up after the deadline, and its thread ends too."""
    verdict = run_check(double, answer)
    assert verdict.state == "not solved"
    assert verdict.guarantee == "your function did not return in time"
    assert "without a timeout" in verdict.hint
    assert until(lambda: not learner_threads())
    assert run_check(double, lambda n: n * 2).state == "solved"


def test_answer_parked_in_c_code_does_not_hold_the_check(double: str) -> None:
    """A call that cannot be ended stays in a daemon thread, and the check returns all the same."""
    release = threading.Lock()
    release.acquire()
    verdict = run_check(double, lambda n: release.acquire() and n)
    assert verdict.guarantee == "your function did not return in time"
    assert all(thread.daemon for thread in learner_threads())
    release.release()
    assert until(lambda: not learner_threads())


def test_failure_of_the_check_is_unknown(double: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A check that fails itself says so, without a stack trace, and blames nobody."""

    @exercise("98-torn", title="A check that is broken")
    def torn(answer: Answer, bench: Bench) -> Verdict:
        msg = "rclone was not found; install it\nsecond line"
        raise LabError(msg)

    check("98-torn", stub)
    said = capsys.readouterr().out
    assert said.startswith("98-torn: unknown\n  the check itself could not run (LabError: ")
    assert "rclone was not found; install it)" in said
    assert "nothing about your answer" in said
    assert "Traceback" not in said
    assert load() == ({}, "")


def test_stop_button_ends_a_check(double: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """KeyboardInterrupt passes through, and the answer's thread is ended first."""
    monkeypatch.setattr(engine_module, "_exercises", dict(engine_module._exercises))

    @exercise("98-stopped", title="Interrupted")
    def stopped(answer: Answer, bench: Bench) -> Verdict:
        answer.start(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_check("98-stopped", loops_for_ever)
    assert until(lambda: not learner_threads())


def test_check_in_a_kernel() -> None:
    """In a notebook the learner's line is shown from its cell, and prints land below the check."""
    v4: Any = nbformat.v4
    cells = [
        "from labsvc import check\nlimit = 0",
        "def p99(latencies):\n    print('asked')\n    return latencies[0] / limit",
        "check('00-percentile', p99)\ncheck('00-percentile', p99)",
        "async def p99(latencies):\n    return max(latencies)\ncheck('00-percentile', p99)",
    ]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3", coalesce_streams=True).execute()
    raised = (
        "asked\n"
        "00-percentile: not solved\n"
        "  your function raised ZeroDivisionError: float division by zero,"
        " in line 3: return latencies[0] / limit\n"
        "  hint: Call the function in a cell of its own and read the error there.\n"
    )
    assert [output.text for output in notebook.cells[2].outputs] == [raised * 2]
    assert "the slowest call came back" in notebook.cells[3].outputs[0].text


def test_attempt_lets_a_scenario_expect_an_error() -> None:
    """`attempt` hands over value, error or hang, within a limit of its own."""
    limited = Answer(lambda n: 1 // n, deadline=5.0)
    assert limited.attempt(1).value == 1
    assert isinstance(limited.attempt(0).error, ZeroDivisionError)
    hung = Answer(waits_for_ever, deadline=30.0)
    assert hung.attempt(1, within=0.05).hung
    hung.close()
    assert until(lambda: not learner_threads())


def test_registration_refuses_bad_ids(double: str) -> None:
    """An id without its notebook's number, or one that another module has, is refused."""
    with pytest.raises(ValueError, match="two digits and a name"):
        exercise("double", title="No number")
    with pytest.raises(ValueError, match=r"taken by labsvc\.checks\.start"):

        @exercise("00-percentile", title="Taken")
        def again(answer: Answer, bench: Bench) -> Verdict:
            return solved("never")


def test_diagnose_takes_the_first_mistake() -> None:
    """The first mistake that was made is told, or else the general one."""
    otherwise = ("it is wrong", "Look again.")
    mistakes = [(False, "a", "A"), (True, "b", "B"), (True, "c", "C")]
    assert diagnose(*mistakes, otherwise=otherwise, left_open=2) == Verdict(
        "not solved", "b", {"left open": 2}, "B"
    )
    assert diagnose(mistakes[0], otherwise=otherwise).guarantee == "it is wrong"


def test_progress_is_kept_and_shown(double: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Verdicts are remembered, what was solved stays solved, and the table is fixed text."""
    check(double, stub)
    check(double, lambda n: n * 2)
    check(double, lambda n: n)
    capsys.readouterr()
    assert labsvc.progress is show
    show("98")
    assert capsys.readouterr().out == (
        "exercise   title            state\n98-double  Double a number  solved\n1 of 1 solved\n"
    )
    show()
    said = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in said[1:-1]] == list(exercises())
    assert said[-1].startswith("1 of ")
    with pytest.raises(LabError, match="no exercises in notebook '77'; there are 00,"):
        show("77")


def test_progress_survives_a_restart(data: Path) -> None:
    """Another process reads what this one has stored."""
    record("98-double", "solved")
    code = "from labsvc.checks.progress import load; print(load()[0])"
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert said == "{'98-double': 'solved'}\n"


def test_broken_progress_is_set_aside(double: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be read is kept under another name, the learner is told, work goes on."""
    for number, content in enumerate([b'{"exercises": {"98-do', b"\xff\xfe", b"[]", b"{}"]):
        data_folder().mkdir(exist_ok=True)
        (data_folder() / "progress.json").write_bytes(content)
        check(double, lambda n: n * 2)
        said = capsys.readouterr().out
        name = "progress.broken.json" if number == 0 else f"progress.broken-{number + 1}.json"
        assert f"set aside as {data_folder() / name}; a new one begins" in said
        assert (data_folder() / name).read_bytes() == content
        assert load() == ({"98-double": "solved"}, "")


def test_progress_of_a_newer_course_is_kept() -> None:
    """An exercise this version does not know stays in the file."""
    record("99-future", "solved")
    record("98-double", "not solved")
    forget("98")
    assert load()[0] == {"99-future": "solved"}


def test_unwritable_folder_does_not_fail_a_check(
    double: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """When the result cannot be stored, the verdict is printed with a word about the folder."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABSVC_DATA_DIR", str(tmp_path / "file"))
    check(double, lambda n: n * 2)
    said = capsys.readouterr().out
    assert "solved" in said
    assert "Your progress was not stored" in said
    assert f"Check the folder {tmp_path / 'file'}." in said
    with pytest.raises(LabError, match="name another one in LABSVC_DATA_DIR"):
        show()


def test_two_kernels_lose_nothing(data: Path) -> None:
    """Two processes and two threads that record at once all find their entries again."""
    code = (
        "import sys\n"
        "from labsvc.checks.progress import record\n"
        "for n in range(40): record(f'{sys.argv[1]}-number-{n}', 'solved')\n"
    )
    kernels = [subprocess.Popen([sys.executable, "-c", code, name]) for name in ("96", "97")]

    def write(name: str) -> None:
        for n in range(40):
            record(f"{name}-number-{n}", "solved")

    threads = [threading.Thread(target=write, args=(name,)) for name in ("94", "95")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [kernel.wait(60) for kernel in kernels] == [0, 0]
    states, note = load()
    assert len(states) == 160
    assert note == ""
    assert sorted(path.name for path in data.iterdir()) == ["progress.json", "progress.lock"]


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a course with a committed notebook 02, and go there."""
    for key in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(key, raising=False)
    (tmp_path / "course" / "notebooks" / "source").mkdir(parents=True)
    notebook = tmp_path / "course" / "notebooks" / "02_channels.ipynb"
    notebook.write_bytes("the first ü\r\n".encode())
    monkeypatch.chdir(tmp_path / "course")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    return tmp_path / "course"


def git(*arguments: str) -> None:
    """Run git in the current folder as somebody."""
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    no_hooks = ["-c", "core.hooksPath=", "-c", "commit.gpgsign=false", "-c", "core.autocrlf=false"]
    subprocess.run(["git", *who, *no_hooks, *arguments], check=True, capture_output=True)


def test_reset_restores_and_keeps_a_copy(checkout: Path, data: Path) -> None:
    """The notebook is as committed, the learner's version is kept, only its progress is gone."""
    notebook = checkout / "notebooks" / "02_channels.ipynb"
    record("02-one-channel", "solved")
    record("00-percentile", "solved")
    for number, name in ((1, "02_channels.ipynb"), (2, "02_channels-2.ipynb")):
        notebook.write_text(f"my work {number}")
        said = reset("02")
        assert f"Your version was kept as {data / 'kept' / name}." in said
        assert "02_channels.ipynb is as in the last commit" in said
        assert (data / "kept" / name).read_text() == f"my work {number}"
        assert notebook.read_bytes() == "the first ü\r\n".encode()
    assert load()[0] == {"00-percentile": "solved"}


def test_reset_of_a_missing_or_untouched_notebook(
    checkout: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deleted notebook comes back, an untouched one needs no copy, from any folder below."""
    notebook = checkout / "notebooks" / "02_channels.ipynb"
    notebook.unlink()
    monkeypatch.chdir(checkout / "notebooks")
    assert "kept" not in reset("02")
    assert notebook.exists()
    assert "kept" not in reset("02")
    assert not (data / "kept").exists()


@pytest.mark.parametrize("number", ["2", "02_channels", "../02", "٠٢"])
def test_reset_refuses_what_is_no_number(checkout: Path, number: str) -> None:
    """Only two digits name a notebook."""
    with pytest.raises(LabError, match="give its two digits"):
        reset(number)


def test_reset_without_what_it_needs(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No such notebook, no git history and no git are each a sentence that says what to do."""
    with pytest.raises(LabError, match=r"no notebook 55; choose one of: 02"):
        reset("55")
    bare = tmp_path / "bare"
    (bare / "notebooks" / "source").mkdir(parents=True)
    (bare / "notebooks" / "02_channels.ipynb").write_text("my work")
    monkeypatch.chdir(bare)
    with pytest.raises(LabError, match=r"git has no committed notebook here .*git clone"):
        reset("02")
    assert (bare / "notebooks" / "02_channels.ipynb").read_text() == "my work"
    monkeypatch.setenv("PATH", str(bare))
    with pytest.raises(LabError, match=r"git could not be started .*; install it"):
        reset("02")
