"""The check of notebook 25, with right and wrong answers."""

from __future__ import annotations

import json
import secrets
import string
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks import run_check
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

EXERCISE = "25-from-behind"
CODE = grpc.StatusCode
AWAY = (CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED)


def answering(
    *,
    new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    text: str = "the directory does not answer",
    inner: str = "internal error, id={id}",
    line: str = "id={id} {code}: {text!r}",
    timeout: float | None = 1,
    away: tuple[grpc.StatusCode, ...] = AWAY,
    missing: grpc.StatusCode = CODE.NOT_FOUND,
) -> Callable[..., Any]:
    """Return the solution, with changes."""

    def get_user(request: Any, context: Any, directory: Any, report: Any) -> Any:
        try:
            return directory.GetUser(request, timeout=timeout)
        except grpc.RpcError as error:
            call: Any = error
        if call.code() is CODE.NOT_FOUND:
            context.abort(missing, "there is no such user")
        if call.code() in away:
            context.abort(CODE.UNAVAILABLE, text)
        made = new_id()
        report(line.format(id=made, code=call.code().name, text=call.details()))
        context.abort(CODE.INTERNAL, inner.format(id=made))
        return None

    return get_user


def by_a_table(request: Any, context: Any, directory: Any, report: Any) -> Any:
    """Solve it with a table, and set the code in place of aborting."""
    call = directory.GetUser.future(request, timeout=0.9)
    failed = call.exception()
    if failed is None:
        return call.result()
    told = {
        CODE.NOT_FOUND: (CODE.NOT_FOUND, "nobody"),
        CODE.UNAVAILABLE: (CODE.UNAVAILABLE, "later"),
        CODE.DEADLINE_EXCEEDED: (CODE.UNAVAILABLE, "later"),
    }
    error_id = f"e-{uuid.uuid4()}"
    if call.code() not in told:
        report(f"{error_id} {call.code().name} {call.details()!r}")
    return context.abort(*told.get(call.code(), (CODE.INTERNAL, f"see {error_id}")))


class Answers:
    """Solve it with a method for each row, and a context that ends the handler at its own place."""

    def __call__(self, request: Any, context: Any, directory: Any, report: Any) -> Any:
        """Answer, or end."""
        try:
            answer, _ = directory.GetUser.with_call(request, timeout=0.8)
        except grpc.RpcError as error:
            end = getattr(self, error.code().name.lower(), self.other)
            end(context, error, report)
        return answer

    def not_found(self, context: Any, error: Any, report: Any) -> None:
        """Say that nobody is there."""
        context.abort(CODE.NOT_FOUND, "nobody has this id")

    def unavailable(self, context: Any, error: Any, report: Any) -> None:
        """Say that it is away."""
        context.abort(CODE.UNAVAILABLE, "try again")

    deadline_exceeded = unavailable

    def other(self, context: Any, error: Any, report: Any) -> None:
        """Keep the rest for the log."""
        found = secrets.token_hex(8)
        report(json.dumps({"id": found, "code": error.code().name, "text": error.details()}))
        context.abort(CODE.INTERNAL, f"internal error {found}")


def matches(request: Any, context: Any, directory: Any, report: Any) -> Any:
    """Solve it with a `match`, and an id that may have any sign of a URL."""
    call = directory.GetUser.future(request, timeout=1)
    match call.code():
        case CODE.OK:
            return call.result()
        case CODE.NOT_FOUND:
            return context.abort(CODE.NOT_FOUND, "no such user")
        case CODE.UNAVAILABLE | CODE.DEADLINE_EXCEEDED:
            return context.abort(CODE.UNAVAILABLE, "please try later")
        case code:
            made = secrets.token_urlsafe(12)
            report(f"[{made}] {code} {call.details()!r}")
            return context.abort(CODE.INTERNAL, f"internal error [{made}]")


def letters() -> str:
    """Return an id without any digit."""
    return "".join(secrets.choice(string.ascii_letters) for _ in range(8))


def takes_the_user_for_the_id(request: Any, context: Any, directory: Any, report: Any) -> Any:
    """Give the user's id where that of the error is asked for."""
    return answering(new_id=lambda: f"user-{request.user_id}")(request, context, directory, report)


def sets_the_status(request: Any, context: Any, directory: Any, report: Any) -> Any:
    """Solve it without `abort`: set code and text, and return an empty answer."""
    from labsvc.shop.v1 import user_pb2

    try:
        return directory.GetUser(request, timeout=1)
    except grpc.RpcError as caught:
        error: Any = caught
    code = CODE.UNAVAILABLE if error.code() in AWAY else error.code()
    text = f"the directory said {code.value[1]}"
    if code not in (CODE.UNAVAILABLE, CODE.NOT_FOUND):
        made = str(uuid.uuid4())
        report(f"{made}: {error.code().name}, {error.details()!r}")
        code, text = CODE.INTERNAL, f"error {made}"
    context.set_code(code)
    context.set_details(text)
    return user_pb2.GetUserResponse()


def raises_it_on(request: Any, context: Any, directory: Any, report: Any) -> Any:
    """Let the directory's error out."""
    return directory.GetUser(request, timeout=1)


def leaves_abort_out(request: Any, context: Any, directory: Any, report: Any) -> Any:
    """Raise an error of gRPC's in place of aborting."""
    try:
        return directory.GetUser(request, timeout=1)
    except grpc.RpcError:
        raise grpc.RpcError from None


def hands_it_on(request: Any, context: Any, directory: Any, report: Any) -> Any:
    """End with the directory's own code and text."""
    try:
        return directory.GetUser(request, timeout=1)
    except grpc.RpcError as error:
        context.abort(error.code(), error.details())


def hands_metadata_on(request: Any, context: Any, directory: Any, report: Any) -> Any:
    """Send the directory's own trailing metadata on."""
    call = directory.GetUser.future(request, timeout=1)
    if call.exception() is not None:
        context.set_trailing_metadata(call.trailing_metadata())
    return answering()(request, context, Given(call), report)


class Given:
    """A directory that gives an answer which was asked for before."""

    def __init__(self, call: Any) -> None:
        self._call = call

    def GetUser(self, request: Any, timeout: float | None) -> Any:
        """Return the answer, or raise."""
        return self._call.result()


def asks_for_another(request: Any, context: Any, directory: Any, report: Any) -> Any:
    """Ask for a user that nobody wanted."""
    from labsvc.shop.v1 import user_pb2

    return answering()(user_pb2.GetUserRequest(user_id="u-1"), context, directory, report)


def aborts_inside(request: Any, context: Any, directory: Any, report: Any) -> Any:
    """Abort where a later `except Exception` takes it."""
    try:
        try:
            return directory.GetUser(request, timeout=1)
        except grpc.RpcError as error:
            if error.code() is CODE.NOT_FOUND:
                context.abort(CODE.NOT_FOUND, "nobody")
            if error.code() in AWAY:
                context.abort(CODE.UNAVAILABLE, "later")
            raise
    except Exception:  # noqa: BLE001  this is what is wrong with it
        context.abort(CODE.INTERNAL, f"internal error, id={uuid.uuid4().hex}")


def swallows(request: Any, context: Any, directory: Any, report: Any) -> Any:
    """Answer with nobody."""
    from labsvc.shop.v1 import user_pb2

    try:
        return directory.GetUser(request, timeout=1)
    except grpc.RpcError:
        return user_pb2.GetUserResponse()


def asks_twice(request: Any, context: Any, directory: Any, report: Any) -> Any:
    """Ask again before it answers."""
    try:
        return directory.GetUser(request, timeout=1)
    except grpc.RpcError:
        return answering()(request, context, directory, report)


def reports_everything(request: Any, context: Any, directory: Any, report: Any) -> Any:
    """Report what is the caller's matter too."""
    report("asked")
    return answering()(request, context, directory, report)


@pytest.mark.parametrize(
    "answer",
    [
        answering(),
        by_a_table,
        Answers(),
        sets_the_status,
        matches,
        answering(new_id=letters),
        answering(new_id=letters, inner="internal_error_{id}"),
    ],
)
def test_solved(answer: Callable[..., Any]) -> None:
    """A chain of ifs and a table both solve it."""
    verdict = run_check(EXERCISE, answer)
    assert str(verdict) == (
        "solved\n  every error was answered, and nothing leaked\n  counts: errors 8"
    )


def test_stub() -> None:
    """The stub is not attempted."""

    def stub(request: Any, context: Any, directory: Any, report: Any) -> Any:
        raise NotImplementedError

    assert run_check(EXERCISE, stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (raises_it_on, "its text reached the caller", "a text of your own"),
        (hands_it_on, "its text reached the caller", "a text of your own"),
        (leaves_abort_out, "the caller read UNKNOWN", "Only `context.abort(code, text)`"),
        (aborts_inside, "and the caller read INTERNAL, not", "`abort` itself raises"),
        (swallows, "and the caller got OK", "Was there an `abort`"),
        (asks_twice, "and was asked 2 times", "One call is enough"),
        (reports_everything, "something was reported", "cannot mend"),
        (answering(line="id={id} {code}: {text}"), "did not get one line", "`repr`"),
        (hands_metadata_on, "its text reached the caller", "a text of your own"),
        (asks_for_another, "asked for another user", "as it came"),
        (answering(timeout=None), "no timeout of one second", "must not"),
        (answering(timeout=30), "no timeout of one second", "must not"),
        (answering(away=(CODE.UNAVAILABLE,)), "said DEADLINE_EXCEEDED", "three rows"),
        (answering(missing=CODE.INTERNAL), "read INTERNAL, not NOT_FOUND", "three rows"),
        (answering(text=""), "without a text", "for people"),
        (answering(inner="internal error"), "is not in the report", "both texts"),
        (answering(line="{code}: {text!r}"), "is not in the report", "both texts"),
        (answering(line="id={id} {code}"), "the report lacks its text", "details()"),
        (answering(line="id={id} {text!r}"), "does not name the code", "code().name"),
        (answering(new_id=lambda: "e-1234567"), "two errors have the same id", "inside the"),
        (takes_the_user_for_the_id, "is not in the report", "both texts"),
        (answering(inner="{id} {id.nothing}"), "raised AttributeError", "print what"),
    ],
)
def test_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible mistake is not solved, and is told what broke and where to look."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
