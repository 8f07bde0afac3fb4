"""The faults of notebook 53's exercise: a link that breaks in a saga, a process that is killed."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.in_child import live
from labsvc.checks.scenarios.voucher_desk import KINDS, PRICE, START, Desk
from labsvc.checks.verdict import Verdict, first_broken
from labsvc.delivery.saga import Refused, Saga, Step
from labsvc.shop.v1 import payment_pb2, payment_pb2_grpc
from labsvc.sweep import Database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

LET_OUT = "Let the error out: then the saga makes the call again."
FAILURES = {  # what fails: the words for it, and what to tell who does not let the error out
    "calls": ("the database failed to write `calls`", LET_OUT),
    "vouchers": ("the database failed to write `vouchers`", LET_OUT),
    "lock": (
        "another process held the database (`database is locked`)",
        f"It says nothing of the voucher, and may soon be over. {LET_OUT}",
    ),
}
BOTH = "The row in `calls` and the money come together, or not at all: one transaction for both."
CHANGES = ("INSERT", "UPDATE", "DELETE")
PATIENCE = 8.0  # seconds, more than the five for which sqlite3 waits for a lock
TIMEOUT = 5.0  # seconds for one call; a link that breaks is seen at once


def in_a_saga(answer: Submission, room: Sandbox, run: Run, *, placed: bool) -> Verdict | None:
    """Let a saga call it over a link that breaks; its next step is done, or refused."""
    desk = Desk(answer, room)
    server = room.serve_grpc(_Payment(answer, desk), workers=4)
    with (
        grpc.insecure_channel(run.door(server).target) as channel,
        closing(sqlite3.connect(":memory:", check_same_thread=False)) as journal,
    ):
        stub = payment_pb2_grpc.PaymentServiceStub(channel)
        charge = payment_pb2.ChargeRequest(order_id=desk.saga_id)
        refund = payment_pb2.RefundRequest(order_id=desk.saga_id)

        def order(_: str, __: Mapping[str, Any]) -> None:
            if not placed:
                msg = "no order today"
                raise Refused(msg)

        steps = [
            Step(
                "voucher",
                lambda _, __: stub.Charge(charge, timeout=TIMEOUT),
                lambda _, __: stub.Refund(refund, timeout=TIMEOUT),
            ),
            Step("order", order, order if placed else lambda _, __: None),
        ]
        ended = Saga(journal, steps, pauses=(0.01,) * 3).run(desk.saga_id, {})
    answer.raise_noted()
    has, should = desk.cents(), START - PRICE * placed
    wanted = "done" if placed else "undone"
    return first_broken(
        (
            (has, ended.state) != (should, wanted),
            (
                f"the saga is {ended.state}, not {wanted}, and the voucher has {has} cents, not"
                f" {should}"
            ),
            "Which call of the saga came again, and what did it do and answer then?",
        ),
        cents=has,
    )


class _Payment(payment_pb2_grpc.PaymentServiceServicer):
    """Serves the answer: a charge redeems, a refund gives back."""

    def __init__(self, answer: Submission, desk: Desk) -> None:
        self._call: Callable[..., Any] = answer.handler(allow=sqlite3.Error)
        self._desk = desk

    def Charge(self, _: payment_pb2.ChargeRequest, context: Any) -> payment_pb2.ChargeResponse:
        """Redeem."""
        if self._call(self._desk.connect(), *self._desk.args("r")) == "refused":
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "refused")
        return payment_pb2.ChargeResponse()

    def Refund(self, _: payment_pb2.RefundRequest, __: Any) -> payment_pb2.RefundResponse:
        """Give back."""
        self._call(self._desk.connect(), *self._desk.args("g"))
        return payment_pb2.RefundResponse()


def meets_an_error(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Let the database fail in a call: the error leaves, nothing else is left, it comes again."""
    desk = Desk(answer, room)
    for failing in FAILURES:
        for before, call in (("", "r"), ("r", "g"), ("", "g")):
            if failing == "vouchers" and before + call == "g":
                continue  # it has nothing to put back
            desk.renew()
            for each in before:
                desk.call(each)
            if verdict := _fails(answer, desk, failing, call):
                return verdict
    return None


def _fails(answer: Submission, desk: Desk, failing: str, call: str) -> Verdict | None:
    what, hint = FAILURES[failing]
    tale = f"{what} in a {KINDS[call]}"
    db, args = desk.connect(timeout=0), desk.args(call)
    with _failing(desk.db, db, failing) as failed:
        attempt = answer.start(db, *args, within=PATIENCE, allow=sqlite3.Error)
        end = attempt.outcome()
        left_open = db.in_transaction
        if not end.hung:
            db.rollback()
    attempt.stop()  # before its connection is closed
    verdict = first_broken(
        (end.hung, f"{tale}, and your function did not come back", hint),
        (
            end.error is None and failed == [],
            f"a {KINDS[call]} was answered {end.value!r}, and wrote nothing into `{failing}`",
            "A variable is empty in another process. What is done stands in `calls`.",
        ),
        (end.error is None, f"{tale}, and it was answered {end.value!r}", hint),
        (
            left_open,
            f"{tale}, the error left your function, and its transaction is still open",
            "`with db:` undoes everything when its block raises. Who does it here?",
        ),
        (
            desk.cents() != desk.should,
            f"{tale}, the error left your function, and the cents have changed",
            BOTH,
        ),
    )
    if verdict:
        return verdict
    said = answer(db, *args)
    _, wanted = desk.expect(call)
    has = desk.cents()
    return first_broken(
        (
            (has, said) != (desk.should, wanted),
            (
                f"{tale}, it came again, was answered {said!r}, and the voucher has {has} cents,"
                f" not {desk.should}"
            ),
            BOTH,
        ),
        cents=has,
    )


@contextmanager
def _failing(
    owner: sqlite3.Connection, db: sqlite3.Connection, what: str
) -> Iterator[list[str] | None]:
    """Keep another process at writing, or let each change of a table fail, and note it."""
    if what == "lock":
        owner.execute("BEGIN IMMEDIATE")
        yield None
        owner.rollback()
        return
    failed: list[str] = []

    def fail(change: str) -> None:
        failed.append(change)
        raise OSError

    db.create_function("fail", 1, fail)
    for change in CHANGES:
        when = f"BEFORE {change} ON {what}"
        owner.execute(f"CREATE TRIGGER no_{change} {when} BEGIN SELECT fail('{change}'); END")
    yield failed
    for change in CHANGES:
        owner.execute(f"DROP TRIGGER no_{change}")


def is_killed(answer: Submission, room: Sandbox, run: Run, *, calls: str) -> Verdict | None:
    """Kill the process at each commit of these two calls, and make both again.

    In the end the saga is over, so the voucher has what it had.
    """
    desk = Desk(answer, room)
    work = [desk.args(call) for call in calls]
    if verdict := live(run, answer.function, _make, Database(desk.path), answer.function, work):
        return verdict
    said = [answer(desk.connect(), *args) for args in work]
    has = desk.cents()
    # Of a redeem that is made again it is not known whether its give back was made before.
    wanted = (
        ["done", "refused"] if calls == "gr" else [said[0] if run.struck else "refused", "done"]
    )
    told = " and ".join(KINDS[call] for call in calls)
    hint = "The row in `calls` and the money: one `with db:` block, one commit."
    if not run.struck:
        told = f"another process had done it before: {told}"
        hint = "A variable is empty in another process. What is done stands in `calls`."
    answers = f"answered {' and '.join(map(str, said))}, not {' and '.join(map(str, wanted))}"
    return first_broken(
        (has != START, f"{told} came again, and the voucher has {has} cents, not {START}", hint),
        (said != wanted, f"{told} came again: {answers}", hint),
        cents=has,
    )


def _make(db: sqlite3.Connection, function: Callable[..., Any], calls: list[Any]) -> None:
    for args in calls:
        function(db, *args)
