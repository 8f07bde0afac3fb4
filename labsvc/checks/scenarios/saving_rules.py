"""Part of the check of T3: what holds for each user, whatever happens to its requests.

Each rule says which notebook teaches it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.scenarios.saving_pauses import waits
from labsvc.checks.scenarios.saving_scripts import READ_AGAIN
from labsvc.checks.scenarios.saving_told import FORMS
from labsvc.checks.verdict import Verdict, first_broken, taught_in
from labsvc.checks.wording import summary

if TYPE_CHECKING:
    from labsvc.checks.scenarios.saving_stage import User, Users
    from labsvc.checks.submission import Outcome

GONE = object()  # null is a value


def rule_broken(outcome: Outcome, users: Users) -> Verdict | None:
    """Return the first rule that a call broke, None if it kept them all."""
    every = list(users.users.values())
    return (
        _came_back(outcome, users)
        or next(filter(None, (_kept(user, outcome.value[user.name]) for user in every)), None)
        or waits(every)
    )


def _came_back(outcome: Outcome, users: Users) -> Verdict | None:
    found, names = outcome.value or {}, users.users.keys()
    error = _innermost(outcome.error or Exception())
    missing = len(names - found.keys())
    troubles = {user.script.notebook for user in users.users.values()}
    notebook = troubles.pop() if len(troubles) == 1 else "30"
    return first_broken(
        (
            not users.came and bool(names),
            "the service was not asked",
            "The address is in `url`, and the path is /users/ and the user's name.",
        ),
        (
            bool(users.strays),
            "a request came for a path that is no user's",
            "A name may hold a `/` or a `?`: `quote(name, safe='')` of urllib.parse helps.",
        ),
    ) or taught_in(
        notebook,
        first_broken(
            (
                outcome.hung,
                "your function did not come back",
                "A timeout of httpx2 starts anew with each byte. What bounds the whole?",
            ),
            (
                outcome.error is not None,
                f"your function raised {summary(error)}",
                "Whatever happens to one user is told as its end, and costs no other its change.",
            ),
            (
                missing > 0,
                f"{missing} of {len(names)} users are missing from what came back",
                "With what does your dictionary begin?",
            ),
            (
                len(found.keys() - names) > 0,
                "an end came back for a user that nobody has named",
                "Only the keys of `changes` come back.",
            ),
        ),
    )


def _innermost(error: BaseException) -> BaseException:
    """Return the first error in a group: the group says only how many there are."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _kept(user: User, told: str) -> Verdict | None:
    return taught_in("31", _writes(user, told)) or _repeats(user) or _tells(user, told)


def _writes(user: User, told: str) -> Verdict | None:
    lost = [name for name, value in user.wanted.items() if user.now.get(name, GONE) != value]
    others = [name for name in lost if name in user.of_others]
    own = [name for name in lost if name in user.change]
    rest = [name for name in lost if name not in (*others, *own)]
    more = user.now.keys() - user.wanted.keys()
    return first_broken(
        (
            user.blind > 0,
            "a PUT came without an If-Match that names a state",
            "The ETag of the answer that you have read goes into the header `If-Match`.",
        ),
        (
            bool(others),
            f"somebody else had changed {' and '.join(others)}, and that is gone",
            "What you write is made from the same answer as the `If-Match` that goes with it.",
        ),
        (
            bool(rest) or bool(more),
            f"{' and '.join([*rest, *more])} of a user is another now, and nobody had changed it",
            "A PUT replaces the whole user: send all that you have read, with your changes.",
        ),
        (
            told == "saved" and not user.stored,
            f"{user.script.what}: your function says saved, and no PUT was answered with 2xx",
            "Only a 2xx to a PUT says that a change is stored.",
        ),
        (
            told == "saved" and bool(own),
            f"your function says saved, and {' and '.join(own)} did not change as it was to",
            "What `changes` says of a field replaces the whole field, nested or null.",
        ),
    )


def _repeats(user: User) -> Verdict | None:
    script, last = user.script, user.asked[-1].method if user.asked else ""
    times = user.tries(last)
    return taught_in(
        "32" if script.more else script.notebook,
        first_broken(
            (
                script.times > 0 and times > script.times,
                f"{script.what}, and the {last} came {times} times",
                script.more or script.hint,
            ),
            (
                script.times > 0 and times < script.times,
                f"{script.what}, and your function gave up after {times}",
                script.hint,
            ),
            tries=times,
        ),
    )


def _tells(user: User, told: str) -> Verdict | None:
    ends, script = user.script.ends, user.script
    notebook, hint = script.notebook, script.hint
    if "saved" in ends and told == "CHANGED":
        notebook, hint = "31", READ_AGAIN
    elif notebook != "31" and "saved" not in ends and told not in ("saved", "lost", "late"):
        notebook, hint = "31", FORMS
    said = f"{script.what}, and your function says {told!r} where {ends[0]!r} is true"
    return taught_in(notebook, first_broken((told not in ends, said, hint)))
