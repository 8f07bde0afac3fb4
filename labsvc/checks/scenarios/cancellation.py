"""Exercise of notebook 23: two calls at once that end with their caller."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import grpc

from labsvc.checks.asking import channel, stub, wait
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.page import SOON, Orders, Page, Scene, Side, Users, orders_of, user_of
from labsvc.checks.verdict import Verdict, broken, first_broken, solved, wrong_type
from labsvc.shop.v1 import user_pb2_grpc

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

CODES = (  # one by chance: nothing to hard-code
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.FAILED_PRECONDITION,
)
OVER = ("DEADLINE_EXCEEDED", "CANCELLED")  # how a call that hangs ends with its caller's time
CALLER = 1.5  # seconds that the first caller allows
SHORT = 0.8  # seconds of a caller while one service hangs
KEEP = 0.1  # seconds to keep, as the exercise says
CAP = 2.0  # seconds that a call may take at most, as the exercise says; far more than SOON
CLOCK = 0.02  # seconds between two looks at the clock
LOOKS = 3  # times to try again where a busy machine took longer
LOST = 0.3  # seconds that it never takes


@exercise("23-two-calls", title="Two calls that end with their caller", kind="function")
def two_calls(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`load_page(context, users, orders, user_id)` asks both at once and leaves nothing behind."""
    sides = users, orders = Side(), Side()
    users.other, orders.other = orders, users
    service = sandbox.serve_grpc(Users(users), Orders(orders), name="shop")  # type: ignore[abstract]
    with channel(service.target) as line:
        grpc.channel_ready_future(line).result(timeout=5)
        page = Page(answer, line)
        front = sandbox.serve_grpc(page, name="page", workers=4)
        with stub(user_pb2_grpc.UserServiceStub, front.target) as caller:
            scene = Scene(answer, sides, page, caller)
            return (
                _both(scene)
                or _without_deadline(scene)
                or _status(scene, "users")
                or _status(scene, "orders")
                or _left_behind(scene)
                or _leaves_while_both_hang(scene)
                or _leaves_before(scene, 1)
                or _leaves_before(scene, 2)
                or _leaves_after_one(scene, "users", "orders")
                or _leaves_after_one(scene, "orders", "users")
                or _leaves_before_ties(scene)
                or solved(
                    "both were asked at once, and neither went on when the caller had left",
                    moments_of_leaving=5 + scene.ties,
                    calls_left=0,
                )
            )


def _both(scene: Scene) -> Verdict | None:
    for _ in range(LOOKS):
        scene.ask(CALLER)
        gate = scene.gate
        spare = gate.spare
        if max(spare, default=KEEP) > KEEP - CLOCK:
            break
    return first_broken(
        (
            not scene.users.asked or not scene.orders.asked,
            "the caller had time, and not both services were asked",
            "Start one call at each stub.",
        ),
        (
            len(gate.timeouts) > 2,  # noqa: PLR2004  # one each
            "one of the services was asked more than once",
            "Start one call at each stub, and wait for that one.",
        ),
        (
            scene.users.alone or scene.orders.alone,
            "the second service was asked only when the first had answered",
            "A stub's method waits. Which method of it starts a call and returns at once?",
        ),
        (
            None in gate.timeouts,
            "a service was asked without a deadline",
            "`future` takes a timeout too.",
        ),
        (
            min(spare, default=KEEP) < -LOST,
            "a service was given more time than the caller had left",
            "A fixed timeout starts anew. Ask the context what is left.",
        ),
        (
            max(spare, default=KEEP) < KEEP - CLOCK,
            "not enough was kept for the work after the answers",
            "Take 0.1 seconds off before you pass the rest on.",
        ),
        (
            max(spare, default=KEEP) > KEEP + LOST,
            "a service was given far less time than there was",
            "Each may have all that the caller has left, less 0.1 seconds.",
        ),
        (
            scene.page.code != "OK",
            f"both services answered, and the caller got {scene.page.code}",
            "Return both answers as they came.",
        ),
        calls=len(gate.timeouts),
    ) or _answers(scene)


def _answers(scene: Scene) -> Verdict | None:
    right = (user_of(scene.user_id), orders_of(scene.user_id))
    got = scene.page.got
    if not isinstance(got, tuple | list):
        return wrong_type(got, "both answers as a pair, the user first")
    return first_broken(
        (
            tuple(got) == right[::-1],
            "the orders came first",
            "The user comes first in the pair.",
        ),
        (
            tuple(got) != right,
            f"what came back for {scene.user_id} was not what the two services had answered",
            "Return both answers as they came, and ask for the `user_id` that you were given.",
        ),
    )


def _without_deadline(scene: Scene) -> Verdict | None:
    scene.ask(None)
    timeouts = scene.gate.timeouts
    return first_broken(
        (
            not scene.users.asked and not scene.orders.asked,
            f"a caller without a deadline got {scene.page.code}, and neither service was asked",
            "Without a deadline, time_remaining() is a number above 10**18. Cap it.",
        ),
        (
            any(timeout is None or timeout > CAP + CLOCK for timeout in timeouts),
            "a caller set no deadline, and a service was given more than 2 seconds",
            "The smaller of two numbers: what is left, and the cap.",
        ),
        (
            any(timeout is not None and timeout < CAP - KEEP - CLOCK for timeout in timeouts),
            "a caller set no deadline, and a service was given far less than 2 seconds",
            "Cap what is left at 2 seconds; take off only what you keep.",
        ),
        calls=len(timeouts),
    ) or _answers(scene)


def _status(scene: Scene, failing: str) -> Verdict | None:
    code = random.choice(CODES)
    scene.ask(CALLER, **{failing: code})
    return first_broken(
        (
            scene.page.code != code.name,
            f"{failing} said {code.name}, and the caller got {scene.page.code}",
            "Look at the code of each call, and end the handler with it: `context.abort`.",
        ),
    )


def _left_behind(scene: Scene) -> Verdict | None:
    """One call fails at once and the other hangs: when the handler ends, neither goes on."""
    code = random.choice(CODES)
    for failing, hanging in (("users", "orders"), ("orders", "users")):
        scene.ask(SHORT, hang=hanging, **{failing: code})
        wait(lambda: not scene.gate.open, SOON / 4)
        left = scene.gate.open
        if verdict := first_broken(
            (
                left > 0,
                f"{failing} failed, your function ended, and the call to {hanging} went on",
                "What has to happen on every way out of the function? See `finally`.",
            ),
            (
                scene.page.code not in (code.name, *OVER),
                f"{failing} said {code.name}, and the caller got {scene.page.code}",
                "Look at the code of each call, and end the handler with it: `context.abort`.",
            ),
            calls_left=left,
        ):
            return verdict
    return None


def _leaves_while_both_hang(scene: Scene) -> Verdict | None:
    call = scene.start(30, hang="users orders")
    wait(lambda: scene.users.asked and scene.orders.asked, SOON)
    call.cancel()
    stopped, left = scene.stopped(), scene.gate.open
    return first_broken(
        (
            left > 0,
            f"the caller left, and {_calls(left)} went on",
            "`context.add_callback` takes a function to run when the caller leaves."
            if left > 1
            else "Tie both calls to the caller, not only one.",
        ),
        (
            not stopped,
            "the caller left, both calls ended, and your function did not",
            "When a call was cancelled, there is nothing more to wait for.",
        ),
        calls_left=left,
    )


def _leaves_before(scene: Scene, number: int) -> Verdict | None:
    """Let the caller leave just before a call starts, after the function has looked."""
    scene.start(30, hang="users orders", leave_at=number)
    stopped, left = scene.stopped(), scene.gate.open
    moment = "before the first call" if number == 1 else "between the two calls"
    return first_broken(
        (
            left > 0 or not stopped,
            f"the caller left {moment}, and {_calls(left)} went on",
            "`add_callback` returns False when the caller has left already. Who cancels then?",
        ),
        calls_left=left,
    )


def _leaves_after_one(scene: Scene, quick: str, hanging: str) -> Verdict | None:
    """Let the caller leave when one service has answered and the other has not."""
    call = scene.start(30, hang=hanging)
    scene.one_ended()
    call.cancel()
    stopped, left = scene.stopped(), scene.gate.open
    return first_broken(
        (
            left > 0 or not stopped,
            f"{quick} had answered, the caller left, and the call to {hanging} went on",
            "Tie both calls to the caller, not only one.",
        ),
        calls_left=left,
    )


def _leaves_before_ties(scene: Scene) -> Verdict | None:
    """Let the caller leave just before each callback is added, after the function has looked."""
    for number in range(1, scene.ties + 1):
        scene.start(30, hang="users orders", leave_at_tie=number)
        stopped, left = scene.stopped(), scene.gate.open
        if left or not stopped:
            return broken(
                f"the caller left just before `add_callback`, and {_calls(left)} went on",
                "`add_callback` returns False when the caller has left already. Who cancels then?",
                calls_left=left,
            )
    return None


def _calls(number: int) -> str:
    return ("your function", "one call", "both calls")[number]
