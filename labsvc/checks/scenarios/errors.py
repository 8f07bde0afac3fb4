"""Exercise of notebook 25: what a caller is told when the service behind fails."""

from __future__ import annotations

import random
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.asking import stub, wait
from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, first_broken, solved
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

OTHERS = ("INVALID_ARGUMENT", "PERMISSION_DENIED", "INTERNAL", "UNKNOWN", "RESOURCE_EXHAUSTED")
WORDS = (re.compile(r"[0-9A-Za-z.-]{8,}"), re.compile(r"[\w-]{8,}"))  # may be an id
LIMIT_SECONDS = 1.5  # for the call behind; the exercise says one


class _Directory(user_pb2_grpc.UserServiceServicer):
    """Ends each call with the code that was told, and with a secret in its text."""

    def __init__(self) -> None:
        self.code: grpc.StatusCode | None = None
        self.secret = ""
        self.asked: list[str] = []
        self.limits: list[float | None] = []

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        self.asked.append(request.user_id)
        self.limits.append(context.time_remaining())
        if self.code is not None:
            context.set_trailing_metadata((("cause", self.secret),))
            await context.abort(self.code, f"db-7 failed:\n{self.secret}")
        user = user_pb2.User(user_id=request.user_id, name=self.secret)
        return user_pb2.GetUserResponse(user=user)


class _Users(user_pb2_grpc.UserServiceServicer):
    """Runs the learner's handler."""

    def __init__(self, handler: Callable[..., Any], directory: Any) -> None:
        self._handler = handler
        self._directory = directory
        self.reports: list[Any] = []

    def GetUser(self, request: Any, context: Any) -> Any:
        return self._handler(request, context, self._directory, self.reports.append)


@dataclass(frozen=True)
class _Told:
    """What the caller was told, and what was reported."""

    code: str
    text: str
    name: str
    reports: list[Any]
    extra: str = ""


@exercise("25-from-behind", title="Answer for a service that fails behind you", kind="function")
def from_behind(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`get_user(request, context, directory, report)` answers, or ends with a code of its own."""
    directory = _Directory()
    behind = sandbox.serve_grpc(directory, name="directory")
    with stub(user_pb2_grpc.UserServiceStub, behind.target) as next_stub:
        users = _Users(answer.handler(allow=_ends_the_handler), next_stub)
        service = sandbox.serve_grpc(users, name="users", workers=4)
        with stub(user_pb2_grpc.UserServiceStub, service.target) as caller:
            scene = _Scene(answer, directory, users, caller)
            others = random.sample(OTHERS, len(OTHERS))
            return (
                scene.answers()
                or scene.fails("NOT_FOUND", "NOT_FOUND")
                or scene.fails("UNAVAILABLE", "UNAVAILABLE")
                or scene.fails("DEADLINE_EXCEEDED", "UNAVAILABLE")
                or next(filter(None, map(scene.is_reported, others)), None)
                or solved("every error was answered, and nothing leaked", errors=3 + len(OTHERS))
            )


@dataclass
class _Scene:
    """A caller, the learner's service, and the directory behind it."""

    answer: Submission
    directory: _Directory
    users: _Users
    caller: Any
    _wanted: str = ""

    def _ask(self, code: str | None) -> _Told:
        """Make one call, for another user and with another secret each time."""
        self.directory.code = None if code is None else grpc.StatusCode[code]
        self.directory.secret = f"hunter-{secrets.token_hex(4)}"
        self.directory.asked.clear()
        self.directory.limits.clear()
        self.users.reports.clear()
        self._wanted = f"u-{secrets.token_hex(3)}"
        request = user_pb2.GetUserRequest(user_id=self._wanted)
        try:
            name = self.caller.GetUser(request, timeout=3).user.name
        except grpc.RpcError as error:
            call: Any = error
            wait(lambda: bool(self.users.reports), 0.05)
            text = f"{call.details() or ''}"
            extra = repr(call.trailing_metadata())
            told = _Told(call.code().name, text, "", list(self.users.reports), extra)
        else:
            told = _Told("OK", "", name, list(self.users.reports))
        return told

    def _basics(self, code: str | None, told: _Told) -> Verdict | None:
        """Return what is wrong whatever the directory said."""
        said = "answered" if code is None else f"said {code}"
        limits = self.directory.limits
        return first_broken(
            (
                not limits,
                f"the directory would have {said}, and was not asked",
                "Call `directory.GetUser(request, timeout=1)`.",
            ),
            (
                len(limits) > 1,
                f"the directory {said}, and was asked {len(limits)} times",
                "One call is enough here; notebook 26 is about more.",
            ),
            (
                self.directory.asked != [self._wanted],
                "the directory was asked for another user",
                "Send the request on as it came.",
            ),
            (
                any(limit is None or limit > LIMIT_SECONDS for limit in limits),
                "the call to the directory had no timeout of one second",
                "`timeout=1`: if the directory hangs, your handler must not.",
            ),
            (
                code is not None and self.directory.secret in told.text + told.extra,
                f"the directory said {code}, and its text reached the caller",
                "Write a text of your own. What the directory says goes to `report`.",
            ),
        )

    def answers(self) -> Verdict | None:
        """Let the directory answer: the caller gets the answer."""
        told = self._ask(None)
        return self._basics(None, told) or first_broken(
            (
                told.code != "OK" or told.name != self.directory.secret,
                f"the directory answered, and the caller got {told.code}",
                "Return what the directory returned.",
            ),
            (bool(told.reports), "nothing failed, and something was reported", QUIET),
        )

    def fails(self, code: str, wanted: str) -> Verdict | None:
        """Let the directory fail with a code for which the caller reads another."""
        told = self._ask(code)
        return (
            self._basics(code, told)
            or self._unexpected(code, wanted, told)
            or first_broken(
                (
                    not told.text.strip(),
                    f"the caller read {wanted} without a text",
                    "A text is for people: write one.",
                ),
                (
                    bool(told.reports),
                    f"the directory said {code}, and it was reported as an inner error",
                    QUIET,
                ),
            )
        )

    def is_reported(self, code: str) -> Verdict | None:
        """Let the directory fail with any other code: INTERNAL, an id, and a report."""
        told = self._ask(code)
        if said := self._basics(code, told) or self._unexpected(code, "INTERNAL", told):
            return said
        report = told.reports[0] if len(told.reports) == 1 else None
        if not isinstance(report, str) or "\n" in report:
            return broken(
                f"the directory said {code}, and `report` did not get one line of text",
                "Call `report` once, with one string; `repr` keeps a text on one line.",
                reports=len(told.reports),
            )
        user = self._wanted
        again = self._ask(code)
        found = {word for words in WORDS for word in words.findall(told.text)}
        shared = [word for word in found if word in report and user not in word]
        new = [word for word in shared if word not in again.text]
        return first_broken(
            (
                self.directory.secret == "" or f"{code}" not in report,
                f"the directory said {code}, and the report does not name the code",
                "`error.code().name`.",
            ),
            (
                "db-7 failed" not in report,
                f"the directory said {code}, and the report lacks its text",
                "`error.details()`: whoever reads the log needs it.",
            ),
            (
                not new and not any(map(_has_a_digit, shared)),
                "the id that the caller reads is not in the report",
                "Make one id, and put it into both texts: a uuid, for example.",
            ),
            (
                not new,
                "two errors have the same id",
                "A new id for each error, made inside the function.",
            ),
        )

    def _unexpected(self, code: str, wanted: str, told: _Told) -> Verdict | None:
        if told.code == "UNKNOWN" and wanted != "UNKNOWN":
            self.answer.raise_noted()
        return first_broken(
            (
                told.code == "OK",
                f"the directory said {code}, and the caller got OK",
                "Was there an `abort` on this way through the function?",
            ),
            (
                told.code == "UNKNOWN",
                f"the directory said {code}, and the caller read UNKNOWN",
                "An exception left your handler. Only `context.abort(code, text)` sends a status.",
            ),
            (
                told.code != wanted,
                f"the directory said {code}, and the caller read {told.code}, not {wanted}",
                "Which of the three rows of the text is it? Mind that `abort` itself raises.",
            ),
        )


QUIET = "`report` is for what the caller cannot mend."


def _has_a_digit(word: str) -> bool:
    return any(letter.isdigit() for letter in word)


def _ends_the_handler(error: BaseException) -> bool:
    """Say whether an exception is that of `context.abort`, or the directory's own."""
    return type(error) is Exception or isinstance(error, grpc.RpcError)
