from __future__ import annotations

import asyncio
import functools
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks import run_check
from tests.wrong_answer import assert_not_attempted, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Handler = Callable[[Any, Any], Awaitable[Any]]
    Write = Callable[[dict[str, Any]], object]

pytestmark = pytest.mark.usefixtures("answers_have_ended")

EXERCISE = "61-access-log"


def id_of(context: Any) -> Any:
    """Return the id that came with a call."""
    return dict(context.invocation_metadata()).get("x-request-id", "-")


def milliseconds(start: float) -> float:
    """Return the time since then."""
    return 1000 * (time.perf_counter() - start)


def logged(handler: Handler, write: Write) -> Handler:
    """Solve the exercise."""

    async def watched(request: Any, context: Any) -> Any:
        start, ending = time.perf_counter(), "UNKNOWN"
        try:
            answer = await handler(request, context)
            ending = "OK"
        except asyncio.CancelledError:
            ending = "CANCELLED"
            raise
        finally:
            code = context.code()
            status = ending if code is None else code.name
            write({"request_id": id_of(context), "status": status, "ms": milliseconds(start)})
        return answer

    return watched


def by_endings(handler: Handler, write: Write) -> Handler:
    """Solve it with a line after each ending, one of them at a time."""

    @functools.wraps(handler)
    async def watched(request: Any, context: Any) -> Any:
        start = time.monotonic()

        def line(status: str) -> None:
            taken = round(1000 * (time.monotonic() - start), 1)
            write({"ms": taken, "status": status, "request_id": id_of(context)})

        try:
            answer = await handler(request, context)
        except asyncio.CancelledError:
            line("CANCELLED")
            raise
        except grpc.aio.AbortError:
            line(context.code().name)
            raise
        except BaseException:
            line((context.code() or grpc.StatusCode.UNKNOWN).name)
            raise
        line((context.code() or grpc.StatusCode.OK).name)
        return answer

    return watched


class Logged:
    """Solve it with an object, and with the loop's own end of a task."""

    def __init__(self, handler: Handler, write: Write) -> None:
        self.handler = handler
        self.write = write

    async def __call__(self, request: Any, context: Any) -> Any:
        """Serve a call."""
        with self.line(context) as set_status:
            answer = await self.handler(request, context)
            set_status.append("OK")
            return answer

    @contextmanager
    def line(self, context: Any) -> Iterator[list[str]]:
        """Write the line after a block."""
        endings = ["UNKNOWN"]
        start = asyncio.get_running_loop().time()
        try:
            yield endings
        except asyncio.CancelledError:
            endings.append("CANCELLED")
            raise
        finally:
            taken = 1000 * (asyncio.get_running_loop().time() - start)
            status = context.code().name if context.code() else endings[-1]
            self.write({"request_id": id_of(context), "status": status, "ms": int(taken + 1)})


def with_(
    *,
    request_id: Callable[[Any], Any] = id_of,
    status: Callable[[Any, str], Any] = lambda code, ending: code.name if code else ending,
    ms: Callable[[float], Any] = milliseconds,
    more: Callable[[Any, Any], dict[str, Any]] = lambda _c, _e: {},
    cancelled: Any = asyncio.CancelledError,
    again: bool = True,
    twice: bool = False,
) -> Callable[..., Any]:
    """Return an answer with other habits."""

    def answer(handler: Handler, write: Write) -> Handler:
        async def watched(request: Any, context: Any) -> Any:
            start, ending, error, value = time.perf_counter(), "OK", None, None
            try:
                value = await handler(request, context)
            except BaseException as raised:  # noqa: BLE001  # this is the habit
                error = raised
                ending = "CANCELLED" if isinstance(raised, cancelled) else "UNKNOWN"
            line = {
                "request_id": request_id(context),
                "status": status(context.code(), ending),
                "ms": ms(start),
            }
            write(line | more(context, error))
            if error is not None and twice:
                write(line)
            if error is not None and again:
                raise error
            return value

        return watched

    return answer


def when_all_is_well(handler: Handler, write: Write) -> Handler:
    """Write a line after the handler, and none when it fails."""

    async def watched(request: Any, context: Any) -> Any:
        start = time.perf_counter()
        answer = await handler(request, context)
        status = (context.code() or grpc.StatusCode.OK).name
        write({"request_id": id_of(context), "status": status, "ms": milliseconds(start)})
        return answer

    return watched


def not_when_cancelled(handler: Handler, write: Write) -> Handler:
    """Catch what `except Exception` catches."""

    async def watched(request: Any, context: Any) -> Any:
        start = time.perf_counter()

        def line(ending: str) -> None:
            status = context.code().name if context.code() else ending
            write({"request_id": id_of(context), "status": status, "ms": milliseconds(start)})

        try:
            answer = await handler(request, context)
        except Exception:
            line("UNKNOWN")
            raise
        line("OK")
        return answer

    return watched


def one_start(handler: Handler, write: Write) -> Handler:
    """Read the clock once, when the service starts."""
    start = time.perf_counter() - 100
    return with_(ms=lambda _: milliseconds(start))(handler, write)  # type: ignore[no-any-return]


def in_brackets(context: Any) -> Any:
    """Read the id as if it were always there."""
    return dict(context.invocation_metadata())["x-request-id"]


def not_awaited(handler: Handler, write: Write) -> Any:
    """Return a plain function."""

    def watched(request: Any, context: Any) -> Any:
        write({"request_id": id_of(context), "status": "OK", "ms": 0})
        return handler(request, context)

    return watched


def made_up(handler: Handler, write: Write) -> Handler:
    """Answer without the handler."""

    async def watched(request: Any, context: Any) -> Any:
        write({"request_id": id_of(context), "status": "OK", "ms": 0})

    return watched


def not_when_it_raises(handler: Handler, write: Write) -> Handler:
    """Take away what is neither an abort nor a cancellation."""

    async def watched(request: Any, context: Any) -> Any:
        start, ending, answer = time.perf_counter(), "UNKNOWN", None
        try:
            answer = await handler(request, context)
            ending = "OK"
        except (asyncio.CancelledError, grpc.aio.AbortError):
            ending = "CANCELLED"
            raise
        except Exception:  # noqa: BLE001  # this is the habit
            context.set_code(grpc.StatusCode.UNKNOWN)
        finally:
            status = context.code().name if context.code() else ending
            write({"request_id": id_of(context), "status": status, "ms": milliseconds(start)})
        return answer

    return watched


def wrong_value(handler: Handler, write: Write) -> Handler:
    """Answer with something of its own."""
    inner = with_()(handler, write)

    async def watched(request: Any, context: Any) -> Any:
        return type(await inner(request, context))()

    return watched


def as_text(handler: Handler, write: Write) -> Handler:
    """Write a text."""
    return with_()(handler, lambda line: write(str(line)))  # type: ignore[arg-type,no-any-return]


def all_metadata(context: Any, _: Any) -> dict[str, Any]:
    """Let everything in."""
    return {"metadata": dict(context.invocation_metadata())}


def aborts(handler: Handler, write: Write) -> Handler:
    """Hide the text of an error by another one."""

    async def watched(request: Any, context: Any) -> Any:
        start, ending = time.monotonic(), "UNKNOWN"
        try:
            answer = await handler(request, context)
            ending = "OK"
        except (grpc.aio.AbortError, asyncio.CancelledError) as error:
            ending = "CANCELLED" if isinstance(error, asyncio.CancelledError) else ending
            raise
        except Exception as error:  # noqa: BLE001  # it is what the answer does wrong
            raise type(error) from None
        else:
            return answer
        finally:
            status = context.code().name if context.code() else ending
            taken = 1000 * (time.monotonic() - start)
            write({"request_id": id_of(context), "status": status, "ms": taken})

    return watched


def written_early(handler: Handler, write: Write) -> Handler:
    """Write the line when the call comes, and fill it in afterwards."""

    async def watched(request: Any, context: Any) -> Any:
        line: dict[str, Any] = {"request_id": id_of(context), "status": "UNKNOWN", "ms": 0.0}
        write(line)
        start = time.monotonic()
        try:
            answer = await handler(request, context)
            line["status"] = "OK"
            return answer
        finally:
            line["ms"] = 1000 * (time.monotonic() - start)
            if context.code():
                line["status"] = context.code().name

    return watched


def by_type(handler: Handler, write: Write) -> Handler:
    """Call each error UNKNOWN, whatever code was set before."""
    watched: Handler = with_(status=_by_type)(handler, write)
    return watched


def _by_type(code: grpc.StatusCode | None, ending: str) -> str:
    if ending == "UNKNOWN" and code is grpc.StatusCode.ALREADY_EXISTS:
        return ending
    return code.name if code else ending


def inside(inner: Callable[[Handler, Any, Any], Awaitable[Any]]) -> Callable[..., Any]:
    """Return an answer that is right but for how it runs the handler."""

    def answer(handler: Handler, write: Write) -> Handler:
        return logged(lambda request, context: inner(handler, request, context), write)

    return answer


def by_callback(handler: Handler, write: Write) -> Handler:
    """Solve it with a task, and write its line when it is done."""

    async def watched(request: Any, context: Any) -> Any:
        start = time.perf_counter()

        def line(task: asyncio.Future[Any]) -> None:
            ending = "CANCELLED" if task.cancelled() else "UNKNOWN" if task.exception() else "OK"
            status = context.code().name if context.code() else ending
            write({"request_id": id_of(context), "status": status, "ms": milliseconds(start)})

        task = asyncio.ensure_future(handler(request, context))
        task.add_done_callback(line)
        return await asyncio.wait_for(task, None)

    return watched


def by_context(handler: Handler, write: Write) -> Handler:
    """Solve it with variables that each task has for itself."""
    started: ContextVar[float] = ContextVar("started")
    ended: ContextVar[str] = ContextVar("ended")

    async def watched(request: Any, context: Any) -> Any:
        started.set(time.perf_counter())
        ended.set("UNKNOWN")
        try:
            answer = await handler(request, context)
            ended.set("OK")
        except asyncio.CancelledError:
            ended.set("CANCELLED")
            raise
        finally:
            status = context.code().name if context.code() else ended.get()
            taken = milliseconds(started.get())
            write({"request_id": id_of(context), "status": status, "ms": taken})
        return answer

    return watched


def in_thread(handler: Handler, write: Write) -> Handler:
    """Solve it, and write in a thread, a moment later."""

    def later(line: dict[str, Any]) -> None:
        asyncio.get_running_loop().run_in_executor(None, write, line)

    return logged(handler, later)


class Partly:
    """Solve it with a plain function that returns what is awaited, for each call an object."""

    def __init__(self, handler: Handler, write: Write) -> None:
        self.serve = functools.partial(logged, handler)
        self.write = write

    def __call__(self, request: Any, context: Any) -> Awaitable[Any]:
        """Serve a call."""
        return self.serve(self.write)(request, context)


OK = grpc.StatusCode.OK


@inside
async def shielded(handler: Any, request: Any, context: Any) -> Any:
    """Keep from the handler that its caller left."""
    return await asyncio.shield(asyncio.ensure_future(handler(request, context)))


@inside
async def waited_for(handler: Any, request: Any, context: Any) -> Any:
    """Wait for a task, which is not to await it."""
    task = asyncio.ensure_future(handler(request, context))
    await asyncio.wait({task})
    return task.result()


@inside
async def tries_again(handler: Any, request: Any, context: Any) -> Any:
    """Run a handler again that failed."""
    try:
        return await handler(request, context)
    except Exception:
        if context.code():
            raise
        return await handler(request, context)


def lingers(handler: Handler, write: Write) -> Handler:
    """Go on when all is over."""
    inner = logged(handler, write)

    async def watched(request: Any, context: Any) -> Any:
        try:
            return await inner(request, context)
        finally:
            await asyncio.sleep(30)

    return watched


def timed_when_well(handler: Handler, write: Write) -> Handler:
    """Take the time of the calls that end well."""

    async def watched(request: Any, context: Any) -> Any:
        start, ending, taken = time.perf_counter(), "UNKNOWN", 0.0
        try:
            answer = await handler(request, context)
            ending, taken = "OK", milliseconds(start)
        except asyncio.CancelledError:
            ending = "CANCELLED"
            raise
        finally:
            status = context.code().name if context.code() else ending
            write({"request_id": id_of(context), "status": status, "ms": taken})
        return answer

    return watched


def code_of_the_error(handler: Handler, write: Write) -> Handler:
    """Take the code of the error that passes."""
    endings: dict[Any, Any] = {}

    async def kept(request: Any, context: Any) -> Any:
        try:
            return await handler(request, context)
        except grpc.aio.AioRpcError as error:
            endings["last"] = error.code().name
            raise

    def renamed(line: dict[str, Any]) -> None:
        unknown = line["status"] == "UNKNOWN"
        write(line | ({"status": endings.pop("last", "UNKNOWN")} if unknown else {}))

    return logged(kept, renamed)


def aborted_by_type(handler: Handler, write: Write) -> Handler:
    """Take the name of the error for that of the code."""

    def renamed(line: dict[str, Any]) -> None:
        aborted = line["status"] == "PERMISSION_DENIED"
        write(line | ({"status": "ABORTED"} if aborted else {}))

    return logged(handler, renamed)


def no_longer_than(seconds: float) -> Any:
    """Give the handler a time limit of one's own."""

    def limited(handler: Handler, write: Write) -> Handler:
        return logged(
            lambda request, context: asyncio.wait_for(handler(request, context), seconds), write
        )

    return limited


def any_id(context: Any) -> Any:
    """Take the first id of some request."""
    pairs = context.invocation_metadata()
    return next((value for key, value in pairs if "request-id" in key), "-")


@pytest.mark.parametrize(
    "answer", [logged, by_endings, Logged, with_(), by_callback, by_context, in_thread, Partly]
)
def test_access_log_solved(answer: Callable[..., Any]) -> None:
    """One line for each call solves the exercise, however it is written."""
    assert str(run_check(EXERCISE, answer)) == (
        "solved\n"
        "  each call has one line, whatever ended it, and no secret is in any\n"
        "  counts: calls 19"
    )


def test_access_log_stub() -> None:
    """The stub is not attempted."""

    def stub(handler: Any, write: Any) -> Any:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (when_all_is_well, "was aborted, and has 0 lines", "`finally` runs"),
        (aborts, "raised another error than the handler", "A bare `raise`"),
        (written_early, "says UNKNOWN, not OK", "Which calls end well"),
        (by_type, "says UNKNOWN, not ALREADY_EXISTS", "comes first"),
        (not_when_cancelled, "was cancelled, and has 0 lines", "no `Exception`"),
        (with_(twice=True), "was aborted, and has 2 lines", "Write in one place"),
        (with_(again=False), "was aborted, and your function returned", "A bare `raise`"),
        (not_when_it_raises, "raised an error, and your function returned", "A bare `raise`"),
        (wrong_value, "and its caller got another answer", "Return what"),
        (
            with_(status=lambda _, ending: ending),
            "says UNKNOWN, not PERMISSION_DENIED",
            "`context.code()`",
        ),
        (
            with_(status=lambda code, end: end if end == "OK" or not code else code.name),
            "says OK, not NOT_FOUND",
            "return and have failed",
        ),
        (
            with_(status=lambda code, _: (code or grpc.StatusCode.OK).name),
            "raised an error, and its line says OK",
            "UNKNOWN",
        ),
        (with_(cancelled=()), "was cancelled, and its line says UNKNOWN", "no `Exception`"),
        (with_(status=lambda code, _: code or grpc.StatusCode.OK), "no text", "`.name`"),
        (with_(more=all_metadata), "a secret is in its line", "nothing else"),
        (
            with_(more=lambda _, error: {"error": repr(error)}),
            "has the keys error, ms",
            "no others",
        ),
        (
            with_(more=lambda c, e: {"status": str(e)} if e and not c.code() else {}),
            "a secret is in its line",
            "Texts of errors",
        ),
        (with_(request_id=in_brackets), "raised KeyError", "Try that line"),
        (with_(request_id=lambda _: "r-1"), "its line has the id 'r-1'", "x-request-id"),
        (
            with_(request_id=lambda c: dict(c.invocation_metadata()).get("x-request-id")),
            "came without an id, and its line has the id None",
            "where none came",
        ),
        (with_(ms=lambda s: milliseconds(s) / 1000), "`ms` is less than", "counts seconds"),
        (with_(ms=lambda s: f"{milliseconds(s):.1f}"), "`ms` is no number", "two clock readings"),
        (one_start, "`ms` is more than the call took", "for each call anew"),
        (not_awaited, "was answered, and `ms` is less", "again however it ends"),
        (
            with_(cancelled=(asyncio.CancelledError, TimeoutError)),
            "raised TimeoutError, and its line says CANCELLED",
            "still there",
        ),
        (code_of_the_error, "error of a call to the next service, and its line says", "of another"),
        (aborted_by_type, "says ABORTED, not PERMISSION_DENIED", "with which code"),
        (with_(status=lambda code, end: str(code or end)), "StatusCode.PERMISSION", "spelling"),
        (with_(status=lambda code, _: (code or OK).value[1]), "says ok, not OK", "spelling"),
        (with_(request_id=any_id), "was answered, and its line has the id", "x-request-id"),
        (shielded, "was cancelled, and the handler is still at work", "asyncio.shield"),
        (waited_for, "was cancelled, and the handler is still at work", "Await it itself"),
        (lingers, "the handler has ended, and your function goes on", "else does it wait"),
        (tries_again, "raised an error, and the handler was run 2 times", "for the caller to say"),
        (timed_when_well, "was aborted, and `ms` is less than", "however it ends"),
        (made_up, "the handler was not run", "await handler"),
        (as_text, "got no dict", "three keys"),
        (
            no_longer_than(1),
            "needed two seconds, and your function raised another",
            "no time limit",
        ),
        (
            no_longer_than(2),
            "needed two seconds, and your function raised another",
            "no time limit",
        ),
        (lambda _h, _w: None, "returned None", "return"),
    ],
)
def test_access_log_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
