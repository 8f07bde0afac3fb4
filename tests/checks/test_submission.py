from __future__ import annotations

import asyncio
import gc
import logging
import sqlite3
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks import Verdict, registry, run_check
from labsvc.checks.asking import has_status, status_of
from labsvc.checks.engine import exercise
from labsvc.checks.run import Clock
from labsvc.checks.submission import NotAttemptedError, Submission, SubmissionError
from labsvc.checks.verdict import broken, solved
from tests.cell import written

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labsvc.checks.sandbox import Sandbox

WAIT = 10.0  # seconds until a condition counts as never coming true

FAILS = """
import grpc
class Gone(Exception): pass
class Refused(grpc.RpcError):
    def code(self): return grpc.StatusCode.UNAVAILABLE
    def details(self): return "not now"
"""


def until(condition: Callable[[], bool]) -> bool:
    """Wait until a condition holds; return whether it ever did."""
    give_up_at = time.monotonic() + WAIT
    while not condition() and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return condition()


def learner_threads() -> list[threading.Thread]:
    """Return the threads that still run an answer."""
    return [thread for thread in threading.enumerate() if thread.name == "labsvc-check"]


@pytest.fixture
def submission() -> Iterator[Callable[..., Submission]]:
    """Make submissions from the source of a cell, and end them."""
    made: list[Submission] = []

    def make(source: str, deadline: float = 5.0, **settings: Any) -> Submission:
        made.append(Submission(written(source), deadline, **settings))
        return made[-1]

    yield make
    for one in made:
        one.close()
    assert until(lambda: not learner_threads())


def loops_for_ever(n: int) -> int:
    """Swallow every error and never end."""
    while True:
        try:
            while True:  # nearly never outside the `try`
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
    ("answer", "place"),
    [
        (loops_for_ever, ""),
        (waits_for_ever, ": threading.Event().wait(0.01)"),
        (awaits_for_ever, ": await asyncio.Event().wait()"),
        (blocks_its_loop, ": time.sleep(0.01)"),
    ],
)
def test_answer_that_hangs(double: str, answer: Callable[[int], Any], place: str) -> None:
    """An answer without an end is given up after the deadline, named by line, and ended."""
    verdict = run_check(double, answer)
    assert verdict.state == "not solved"
    assert verdict.guarantee.startswith("your function did not return in time, in line ")
    assert place in verdict.guarantee
    assert "without a timeout" in verdict.hint
    assert not learner_threads()
    assert not verdict.notes
    assert run_check(double, lambda n: n * 2).state == "solved"


def test_loop_around_a_slip_names_the_slip(double: str) -> None:
    """A loop that swallows a NameError for ever is told that error and its line."""
    source = """
    import time
    def answer(n):
        while True:
            try:
                return m * 2
            except Exception:
                time.sleep(0.01)
    """
    verdict = run_check(double, written(source))
    assert verdict.guarantee == (
        "your function did not return in time: its loop goes on after NameError: name 'm' is not"
        " defined, in line 5: return m * 2"
    )
    assert "Name the errors that you mean" in verdict.hint


def test_answer_parked_in_c_code_does_not_hold_the_check(double: str) -> None:
    """A call that cannot be ended stays in a daemon thread, and the verdict says so."""
    release = threading.Lock()
    release.acquire()
    verdict = run_check(double, lambda n: release.acquire() and n)
    assert verdict.guarantee.startswith("your function did not return in time, in line ")
    assert "cannot be ended from outside" in str(verdict)
    assert "restart the kernel" in str(verdict)
    assert all(thread.daemon for thread in learner_threads())
    release.release()
    assert until(lambda: not learner_threads())


def test_the_deadline_holds_while_a_scenario_waits(double: str) -> None:
    """A scenario that waits for a sign of the answer goes on when the answer's time is up."""

    @exercise("98-sign", title="Waits for a sign", deadline=0.3)
    def sign(answer: Submission, sandbox: Sandbox) -> Verdict:
        seen = threading.Event()
        attempt = answer.start(seen)
        while attempt.running and not seen.wait(0.01):
            pass
        return solved(f"it came back with {attempt.outcome().value}")

    began = time.monotonic()
    release = threading.Event()
    verdict = run_check("98-sign", lambda _seen: release.wait(100))
    assert time.monotonic() - began < 5
    assert "did not return in time" in verdict.guarantee
    release.set()


def test_only_the_time_of_the_answer_counts(submission: Callable[..., Submission]) -> None:
    """Seconds in which the scenario does something else are not taken from the answer."""
    answer = submission("import time\ndef answer(n): time.sleep(n); return n", deadline=0.6)
    assert answer(0.1) == 0.1
    time.sleep(0.7)
    assert answer(0.1) == 0.1
    with pytest.raises(SubmissionError, match="did not return in time"):
        answer(3)
    with pytest.raises(SubmissionError, match="did not return in time"):
        answer(0.1)  # nothing is left


def test_call_that_was_stopped_takes_no_more_time(submission: Callable[..., Submission]) -> None:
    """A call that was stopped, and cannot be ended, leaves the time to the others."""
    answer = submission("def answer(lock): return lock and lock.acquire()", deadline=2)
    lock = threading.Lock()
    lock.acquire()
    answer.start(lock).stop()
    time.sleep(1.1)
    assert answer(None) is None
    lock.release()


def test_call_that_is_ended_leaves_no_lock_taken(submission: Callable[..., Submission]) -> None:
    """Not even if it takes and leaves one all the time; gRPC's own would stop the kernel."""
    answer = submission(
        "def answer(lock):\n    while True:\n        with lock:\n"
        "            for _ in range(30): pass",
        deadline=60,
    )
    locks = [threading.Condition() for _ in range(20)]
    for lock in locks:
        attempt = answer.start(lock)
        time.sleep(0.01)
        attempt.stop()
    for lock in locks:
        assert lock.acquire(timeout=WAIT)
        lock.release()


def test_clock_goes_on_when_a_second_call_starts() -> None:
    """A call that starts while another runs does not set the clock back."""
    clock = Clock(10)
    clock.start()
    time.sleep(0.1)
    clock.start()
    clock.end()
    clock.end()
    assert clock.left() <= 9.9


def test_call_that_was_given_up_takes_no_more_time(submission: Callable[..., Submission]) -> None:
    """A call that hangs beyond its own limit, or that nobody waits for, is counted to its end."""
    source = "import time\ndef answer(n):\n    while n > 9: pass\n    time.sleep(n); return n"
    answer = submission(source, deadline=0.8)
    assert answer.attempt(10, within=0.1).hung
    answer.start(0.1)
    time.sleep(0.9)
    assert answer(0.1) == 0.1


def test_calls_at_once_count_once(submission: Callable[..., Submission]) -> None:
    """Ten calls that run side by side take the time of one."""
    answer = submission("import time\ndef answer(n): time.sleep(n); return n", deadline=2)
    attempts = [answer.start(0.5) for _ in range(10)]
    assert [attempt.outcome().value for attempt in attempts] == [0.5] * 10


def test_attempt_lets_a_scenario_expect_an_error() -> None:
    """`attempt` hands over value, error or hang, within a limit of its own."""
    limited = Submission(lambda n: 1 // n, deadline=5.0)
    assert limited.attempt(1).value == 1
    assert isinstance(limited.attempt(0).error, ZeroDivisionError)
    hung = Submission(waits_for_ever, deadline=30.0)
    assert hung.attempt(1, within=0.05).hung
    hung.close()
    assert not learner_threads()


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("total = total + n", "UnboundLocalError: cannot access local variable 'total'"),
        ("return m", "NameError: name 'm' is not defined"),
        ("return n.code()", "AttributeError: 'int' object has no attribute 'code'"),
        ("return n + ''", "TypeError: unsupported operand"),
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named"),
        ("return answer(n)", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_slip_of_the_pen_is_never_a_right_error(
    submission: Callable[..., Submission], line: str, told: str
) -> None:
    """Where an error may be right, a slip still ends the check with its name and line."""
    answer = submission(f"def answer(n):\n    {line}")
    for allow in (None, lambda _error: True, grpc.RpcError):
        with pytest.raises(SubmissionError) as caught:
            answer.attempt(4, allow=allow)
        assert f"your function raised {told}" in caught.value.guarantee
        assert f"in line 2: {line}" in caught.value.guarantee


def test_unbound_name_has_a_hint_of_its_own(submission: Callable[..., Submission]) -> None:
    """Whoever reads a name before it has a value is told about the way through the function."""
    answer = submission("def answer(n):\n    if n > 9:\n        m = 1\n    return m")
    with pytest.raises(SubmissionError) as caught:
        answer(4)
    assert "another way through the function" in caught.value.hint


def test_errors_that_are_allowed(submission: Callable[..., Submission]) -> None:
    """A scenario names the errors that may be right, by type, by status, or by their cause."""
    source = FAILS + "def answer(n):\n    if n: raise Refused\n    raise Gone"
    answer = submission(source)
    assert answer.attempt(1, allow=grpc.RpcError).status == "UNAVAILABLE"
    assert answer.attempt(1, allow=status_of).status == "UNAVAILABLE"
    assert answer.attempt(1, allow=has_status("INTERNAL", "UNAVAILABLE")).status == "UNAVAILABLE"
    for allow in (ValueError, has_status("INTERNAL")):
        with pytest.raises(SubmissionError, match=r"a gRPC error UNAVAILABLE: not now, in line"):
            answer.attempt(1, allow=allow)
    with pytest.raises(SubmissionError, match=r"raised Gone, in line"):
        answer.attempt(0, allow=status_of)
    assert answer.attempt(0).status is None


@pytest.mark.parametrize(
    ("ending", "status"),
    [
        ("raise Gone from error", "UNAVAILABLE"),
        ("raise Gone", "UNAVAILABLE"),
        ("raise Gone from None", None),
        ("pass\n    raise Gone", None),
    ],
)
def test_error_with_the_grpc_error_as_its_cause(
    submission: Callable[..., Submission], ending: str, status: str | None
) -> None:
    """An answer's own class of error counts when the gRPC error is kept in it."""
    body = f"try:\n        raise Refused\n    except grpc.RpcError as error:\n        {ending}"
    answer = submission(f"{FAILS}def answer():\n    {body}")
    if status:
        assert answer.attempt(allow=status_of).status == status
        with pytest.raises(SubmissionError, match="raised Gone"):
            answer.attempt(allow=grpc.RpcError)
    else:
        with pytest.raises(SubmissionError, match="raised Gone"):
            answer.attempt(allow=status_of)


def test_slip_inside_an_own_error_is_named(submission: Callable[..., Submission]) -> None:
    """An error of the answer's own that hides a slip is told with the slip."""
    body = "try: stbu(n)\n    except Exception as error: raise Gone('no answer') from error"
    with pytest.raises(SubmissionError) as caught:
        submission(f"{FAILS}def answer(n):\n    {body}").attempt(4, allow=status_of)
    assert "Gone: no answer, because of NameError: name 'stbu' is not" in caught.value.guarantee
    assert "Look for a slip in the name" in caught.value.hint


def test_slip_while_a_grpc_error_is_handled(submission: Callable[..., Submission]) -> None:
    """A slip in the `except` of a gRPC error does not pass for that error."""
    body = "try: raise Refused\n    except grpc.RpcError: retrry()"
    with pytest.raises(SubmissionError, match="raised NameError: name 'retrry'"):
        submission(f"{FAILS}def answer():\n    {body}").attempt(allow=status_of)


def test_own_error_for_a_slip_while_a_grpc_error_is_handled(
    submission: Callable[..., Submission],
) -> None:
    """An own error that wraps a slip does not pass for the gRPC error before it."""
    source = """
def answer():
    try:
        raise Refused
    except grpc.RpcError:
        try:
            retrry()
        except Exception as error:
            raise Gone from error
"""
    with pytest.raises(SubmissionError, match="raised Gone, because of NameError"):
        submission(FAILS + source).attempt(allow=status_of)


@pytest.mark.parametrize(
    ("body", "told", "hint"),
    [
        ("pass", "returned None", "a `return`"),
        ("yield n", "returned a generator", "nothing until it is read"),
        ("return (m for m in [n])", "returned a generator", "nothing until it is read"),
        ("return work(n)", "returned a coroutine", "Who awaits it"),
        ("return [str(n)]", "returned a list of str", "asks for list[float]"),
        ("return []", None, None),
        ("return [n, 2.0]", None, None),
        ("return ()", "returned an empty tuple", "asks for list[float]"),
        ("return [True]", "returned a list of bool", "asks for list[float]"),
        ("return {n: n}", "returned a dict", "asks for list[float]"),
    ],
)
def test_value_of_another_type(
    submission: Callable[..., Submission], body: str, told: str | None, hint: str | None
) -> None:
    """What came back is told by its type and what is in it, with the type that was asked for."""
    source = f"async def work(n): return n\ndef answer(n):\n    {body}"
    answer = submission(source, kind="function", returns=list[float])
    if told is None or hint is None:
        assert isinstance(answer(1), list)
        return
    for ask in (answer, answer.attempt):
        with pytest.raises(SubmissionError) as caught:
            ask(1)
        assert f"your function {told}" in caught.value.guarantee
        assert hint in caught.value.hint


@pytest.mark.parametrize("body", ["yield n", "await work(n)\n    yield n"])
def test_generator_is_no_value_without_a_type(
    submission: Callable[..., Submission], body: str
) -> None:
    """A generator is refused even where an exercise names no type."""
    head = "async def" if "await" in body else "def"
    answer = submission(f"async def work(n): return n\n{head} answer(n):\n    {body}")
    with pytest.raises(SubmissionError, match="returned a generator where a value"):
        answer.attempt(1)


def test_optional_value(submission: Callable[..., Submission]) -> None:
    """A union of types is named as one reads it."""
    answer = submission("def answer(n): return n", returns=str | None)
    assert answer(None) is None
    with pytest.raises(SubmissionError) as caught:
        answer(4)
    assert caught.value.hint == "The exercise asks for a str or None."


@pytest.mark.parametrize(
    ("kind", "source", "told"),
    [
        ("function", "async def answer(): return 1", "an `async def`, and has to be a plain `def`"),
        ("function", "async def answer(): yield 1", "`async def` with `yield` in it, and has to"),
        ("coroutine", "async def answer(): yield 1", "`async def` with `yield` in it, and has to"),
        ("coroutine", "def answer(): yield 1", "a `def` with `yield` in it, and has to be an"),
        ("generator", "async def answer(): return 1", "has to be a `def` with `yield` in it"),
        ("async generator", "async def answer(): return 1", "an `async def` with `yield` in it"),
    ],
)
def test_answer_of_another_kind(
    submission: Callable[..., Submission], kind: str, source: str, told: str
) -> None:
    """An answer that is written in another way is told before anything else runs."""
    with pytest.raises(SubmissionError) as caught:
        submission(source, kind=kind).must_be_of_its_kind()
    assert told in caught.value.guarantee


def test_generator_where_a_function_is_asked_for(submission: Callable[..., Submission]) -> None:
    """A `yield` too much is told by what came back, not by how the function is written."""
    answer = submission("def answer(): yield 1", kind="function")
    answer.must_be_of_its_kind()
    with pytest.raises(SubmissionError, match="returned a generator where a value"):
        answer()


def test_plain_function_where_a_coroutine_is_asked_for(
    submission: Callable[..., Submission],
) -> None:
    """A plain `def` is told to be `async def`, unless it returns what can be awaited."""
    with pytest.raises(SubmissionError, match="a plain `def`, and has to be an `async def`"):
        submission("def answer(): return 1", kind="coroutine")()
    made = submission("async def work(): return 1\ndef answer(): return work()", kind="coroutine")
    assert made() == 1


def test_answer_that_closes_what_it_was_given(submission: Callable[..., Submission]) -> None:
    """A database or a channel that the answer closed is told, whatever came back."""
    answer = submission("def answer(thing): thing.close()")
    db = sqlite3.connect(":memory:", check_same_thread=False)
    with pytest.raises(SubmissionError, match="closed the database that it was given"):
        answer.attempt(db)
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        intercepted = grpc.intercept_channel(channel, _Nothing())
        with pytest.raises(SubmissionError, match="closed the channel that it was given"):
            answer(intercepted)
    with pytest.raises(SubmissionError, match="closed the channel that it was given"):
        answer(grpc.insecure_channel("127.0.0.1:1"))
    leaves = submission("def answer(thing): return 1")
    with grpc.insecure_channel("127.0.0.1:1") as channel, closing(sqlite3.connect(":memory:")) as d:
        assert leaves(channel) == leaves(d) == 1
    assert leaves(db) == 1  # it was closed before


class _Nothing(grpc.UnaryUnaryClientInterceptor):
    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(details, request)


def test_check_that_stumbles_over_a_closed_database(double: str) -> None:
    """A check that fails because the answer closed its database later blames the answer."""

    @exercise("98-base", title="Hands over a database")
    def base(answer: Submission, sandbox: Sandbox) -> Verdict:
        with closing(sqlite3.connect(":memory:", check_same_thread=False)) as db:
            attempt = answer.start(db)
            while attempt.running:
                time.sleep(0.01)
            return solved(f"{db.execute('SELECT 1').fetchone()} came back")

    verdict = run_check("98-base", written("def answer(db): db.close()"))
    assert verdict.state == "not solved"
    assert verdict.guarantee == "your function closed the database that it was given"


def test_stub_of_a_library_is_no_stub(submission: Callable[..., Submission]) -> None:
    """Only a NotImplementedError that the learner's own line raises counts as not attempted."""
    with pytest.raises(NotAttemptedError):
        submission("def answer(): raise NotImplementedError").attempt()
    answer = submission(
        "from labsvc.shop.v1.user_pb2_grpc import UserServiceServicer as S\n"
        "class Context:\n"
        "    def set_code(self, code): pass\n"
        "    set_details = set_code\n"
        "def answer(): return S().GetUser(None, Context())"
    )
    with pytest.raises(SubmissionError, match=r"NotImplementedError: .*in line 5"):
        answer()


def test_handler_runs_within_the_limits(submission: Callable[..., Submission]) -> None:
    """A server's thread gets an answer's value, and an error if it does not come back."""
    answer = submission("def answer(n):\n    while n > 3: pass\n    return n", kind="function")
    handler = answer.handler(within=0.2)
    assert handler(3) == 3
    answer.raise_noted()
    with pytest.raises(SubmissionError, match="did not return in time"):
        handler(4)
    with pytest.raises(SubmissionError, match=r"did not return in time, in line 2"):
        answer.raise_noted()


def test_handler_has_the_form_of_the_answer(submission: Callable[..., Submission]) -> None:
    """Coroutine functions and generators stay what they are, and their slips are noted."""
    served = submission("async def answer(n): return n if n else m").handler()
    assert asyncio.run(served(1)) == 1
    watch = submission("def answer(n):\n    yield n\n    yield m", kind="generator")
    values = watch.handler()(1)
    assert next(values) == 1
    with pytest.raises(NameError):
        next(values)
    with pytest.raises(SubmissionError, match=r"NameError: .*in line 3: yield m"):
        watch.raise_noted()
    paced = submission("async def answer(n):\n    yield n\n    yield n", kind="async generator")

    async def read() -> list[int]:
        return [value async for value in paced.handler()(1)]

    assert asyncio.run(read()) == [1, 1]
    paced.raise_noted()


@pytest.mark.parametrize(
    ("kind", "source", "told"),
    [
        ("generator", "def answer(): return 1", "returned an int, and has to be a `def` with"),
        ("async generator", "def answer(): return 1", "returned an int, and has to be an `async"),
        ("coroutine", "def answer(): return 1", "a plain `def`, and has to be an `async def`"),
        ("function", "def answer(): return work()", "returned a coroutine"),
        ("function", "def answer():\n    raise NotImplementedError", ""),
    ],
)
def test_handler_notes_another_kind(
    submission: Callable[..., Submission], kind: str, source: str, told: str
) -> None:
    """An answer that cannot be what a server needs is told so, and the stub stays the stub."""
    answer = submission(f"async def work(): return 1\n{source}", kind=kind)
    handler = answer.handler()

    def serve() -> object:
        made = handler()
        if kind == "coroutine":
            return asyncio.run(made)
        return asyncio.run(_read(made)) if kind == "async generator" else list(made)

    with pytest.raises((SubmissionError, NotAttemptedError, NotImplementedError)):
        serve()
    expected = SubmissionError if told else NotAttemptedError
    with pytest.raises(expected) as caught:
        answer.raise_noted()
    assert told in str(caught.value)


async def _read(values: Any) -> list[Any]:
    return [value async for value in values]


def test_handler_that_returns_another_type(submission: Callable[..., Submission]) -> None:
    """A coroutine handler is held to the type of its exercise, and its first fault stays."""
    answer = submission("async def answer(n): return n or m", kind="coroutine", returns=int)
    handler = answer.handler()
    with pytest.raises(SubmissionError):
        asyncio.run(handler("four"))
    with pytest.raises(NameError):
        asyncio.run(handler(0))
    with pytest.raises(SubmissionError, match="your function returned a str"):
        answer.raise_noted()


def test_handler_leaves_abort_alone(submission: Callable[..., Submission]) -> None:
    """What `context.abort` raises, an error that is allowed, and a reader that leaves, pass."""
    answer = submission("def answer(n):\n    raise Exception", kind="function")
    with pytest.raises(Exception):  # noqa: B017, PT011  # as gRPC's abort raises it
        answer.handler()(1)
    answer.raise_noted()
    values = submission("def answer(n):\n    while True: yield n", kind="generator")
    read = values.handler()(1)
    next(read)
    read.close()
    values.raise_noted()


def test_handler_of_a_returned_function(submission: Callable[..., Submission]) -> None:
    """A function that the answer returned is served in the same way, and held to its kind."""
    answer = submission("def answer(n):\n    return lambda: n / m")
    inner = answer.handler(answer(4), kind="function")
    with pytest.raises(SubmissionError):
        inner()
    with pytest.raises(SubmissionError, match="NameError"):
        answer.raise_noted()
    made = submission("def answer(n):\n    async def inner(): return n\n    return inner")
    with pytest.raises(SubmissionError, match="has to be a plain `def`"):
        made.handler(made(4), kind="function")


def test_noted_fault_comes_before_the_scenario(
    double: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When a handler failed, the verdict says so, unless the exercise is solved all the same."""
    stumbles: list[str] = []

    @exercise("98-served", title="Served", kind="function")
    def served(answer: Submission, sandbox: Sandbox) -> Verdict:
        handler = answer.handler()
        try:
            handler(4)
        except SubmissionError:
            if "the learner" in stumbles:
                return solved("nobody depends on it")
            if stumbles:
                msg = "the connection was lost"
                raise RuntimeError(msg) from None
            return broken("the next service was not asked", "Ask it.")
        return solved("it was asked")

    slips = written("def answer(n):\n    return m if n else 0")
    for _ in range(2):
        verdict = run_check("98-served", slips)
        assert "NameError: name 'm' is not defined, in line 2" in verdict.guarantee
        stumbles.append("the check")
    stumbles.append("the learner")
    assert run_check("98-served", slips).state == "solved"
    assert run_check("98-served", written("def answer(n): return 0")).state == "solved"


def test_task_that_failed_unseen_is_a_note(double: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A task that nobody awaited is told below the verdict, and asyncio prints nothing."""
    source = """
    import asyncio
    async def work(): raise KeyError("lost")
    async def answer(n):
        asyncio.create_task(work())
        await asyncio.sleep(0.01)
        return n * 2
    """

    @exercise("98-twice", title="Asked twice")
    def twice(answer: Submission, sandbox: Sandbox) -> Verdict:
        return solved(f"it said {answer(4)} and {answer(4)}")

    verdict = run_check("98-twice", written(source))
    assert verdict.state == "solved"
    assert len(verdict.notes) == 1
    assert str(verdict).endswith(
        "\n  note: a task that nobody awaited raised KeyError: 'lost',"
        ' in line 2: async def work(): raise KeyError("lost")'
    )
    assert capfd.readouterr() == ("", "")


def test_task_that_fails_as_it_is_ended_is_silent(
    double: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """What the check itself ends, as a message that was in work, is no matter for the learner."""
    source = """
    import asyncio, logging
    async def work():
        try:
            await asyncio.sleep(100)
        except asyncio.CancelledError:
            raise KeyError("its channel is closed") from None
    async def answer(n):
        asyncio.create_task(work())
        logging.getLogger("aiormq.connection").error("the peer is gone")
        await asyncio.sleep(0)
        return n * 2
    """
    verdict = run_check(double, written(source))
    gc.collect()
    assert verdict.state == "solved"
    assert verdict.notes == ()
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert logging.getLogger("aiormq").level == logging.NOTSET


def test_threads_that_go_on_are_a_note(double: str) -> None:
    """Threads that the answer started and left are told below the verdict; ended ones are not."""
    head = "import threading, time, atexit\nover = threading.Event()\n"
    leaves = written(
        head + "def wait(): over.wait(30)\n"
        "def answer(n):\n"
        "    for kind in (wait, over.wait):\n"
        "        threading.Thread(target=kind, daemon=True).start()\n"
        "    return n * 2"
    )
    verdict = run_check(double, leaves)
    assert verdict.state == "solved"
    assert verdict.notes == ("2 threads that your function started still run. Who ends them?",)
    leaves.__globals__["over"].set()
    ends = written(
        head + "def answer(n):\n"
        "    threading.Thread(target=time.sleep, args=(0.1,), daemon=True).start()\n"
        "    return n * 2"
    )
    assert run_check(double, ends).notes == ()


def test_threads_of_others_are_not_the_answer_s() -> None:
    """A thread from before the check, and one of a service, are not counted as left."""
    head = "import threading\nover = threading.Event()\n"
    source = head + "def answer(): over.wait(30)"
    function = written(source)
    before = threading.Thread(target=function, daemon=True)
    before.start()
    answer = Submission(function, 5.0)
    served = threading.Thread(target=function, name="labsvc-users_0", daemon=True)
    served.start()
    assert answer.threads_left(0) == []
    own = threading.Thread(target=function, daemon=True)
    own.start()
    assert answer.threads_left(0) == [own]
    function.__globals__["over"].set()
    assert answer.threads_left(WAIT) == []


def test_stop_ends_a_call_early(submission: Callable[..., Submission]) -> None:
    """A call that the scenario stopped is hung, and no fault of the answer."""
    for source in ("def answer():\n    while True: pass", _AWAITS):
        attempt = submission(source).start()
        assert attempt.running
        time.sleep(0.05)
        attempt.stop()
        assert attempt.outcome().hung
        assert not attempt.running


def test_stop_lets_a_coroutine_clean_up(submission: Callable[..., Submission]) -> None:
    """A coroutine is cancelled before its thread is ended."""
    source = """
    import asyncio
    async def answer(seen):
        try:
            await asyncio.sleep(100)
        finally:
            await asyncio.sleep(0)
            seen.append("closed")
    """
    seen: list[str] = []
    attempt = submission(source).start(seen)
    time.sleep(0.2)
    attempt.stop()
    assert seen == ["closed"]


def test_stop_ends_what_is_cancelled_and_goes_on(submission: Callable[..., Submission]) -> None:
    """A coroutine, a task and a generator that wait again when they are cancelled end all the same.

    A library that closes its connections under cancellation does this when the other side is gone.
    """
    source = """
    import asyncio
    async def cling():
        while True:
            try:
                await asyncio.Future()
            except asyncio.CancelledError:
                pass
    async def read():
        try:
            yield
        finally:
            await cling()
    async def answer():
        reader = read()
        await anext(reader)
        task = asyncio.create_task(cling())
        await cling()
    """
    attempt = submission(source).start()
    time.sleep(0.2)
    attempt.stop()
    assert until(lambda: not learner_threads())


def test_what_a_coroutine_left_is_ended_in_good_order(
    submission: Callable[..., Submission],
) -> None:
    """A task that starts as another is cancelled ends too, and nothing tears this apart."""
    source = """
    import asyncio, time
    async def answer(seen):
        async def farewell():
            try:
                await asyncio.sleep(100)
            except asyncio.CancelledError:
                seen.append("farewell")
        async def work():
            try:
                await asyncio.sleep(100)
            finally:
                asyncio.create_task(farewell())
                time.sleep(0.8)  # a stop has lost its patience by then
                seen.append("work")
        asyncio.create_task(work())
        await asyncio.sleep(100)
    """
    seen: list[str] = []
    attempt = submission(source).start(seen)
    time.sleep(0.2)
    attempt.stop()
    assert until(lambda: seen == ["work", "farewell"])


_AWAITS = "import asyncio\nasync def answer(): await asyncio.sleep(100)"


def test_stop_button_ends_a_check(double: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """KeyboardInterrupt passes through, and the answer's thread is ended first."""
    monkeypatch.setattr(registry, "_exercises", dict(registry._exercises))

    @exercise("98-stopped", title="Interrupted")
    def stopped(answer: Submission, sandbox: Sandbox) -> Verdict:
        answer.start(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_check("98-stopped", loops_for_ever)
    assert not learner_threads()
