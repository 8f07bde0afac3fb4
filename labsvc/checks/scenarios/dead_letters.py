"""Exercise of notebook 51: errors that pass, and messages that nobody can handle (C31)."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from typing import TYPE_CHECKING

from labsvc.checks.asking import wait_while_moving
from labsvc.checks.engine import exercise
from labsvc.checks.queue_sandbox import QueueSandbox, names
from labsvc.checks.scenarios.until_cancelled import cancelled
from labsvc.checks.verdict import Verdict, broken, first_broken, solved
from labsvc.checks.wording import summary
from labsvc.delivery.deadletter import deaths

if TYPE_CHECKING:
    from aio_pika.abc import AbstractIncomingMessage

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Attempt, Submission

DELIVERIES = 5
UNREADABLE = (b'{"order_id": "o', b"[]", b"{}", b"3", b'{"order_id": "caf\xe9"}')  # Latin-1
READ_ERRORS = (ValueError, LookupError, TypeError, AttributeError)  # of a body that is odd
NO_ID = (
    "save was called with what is no order id",
    "The id is in the JSON of message.body, under order_id.",
)
BEGIN_SECONDS = 1.0  # for the last order to reach save, if it is ever asked
STILL_SECONDS = 2.0  # in which no order is tried and nothing put aside
SETTLE_SECONDS = 0.2


@exercise("51-poison", title="Tell two kinds of errors apart", deadline=15, kind="coroutine")
def poison(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`serve_orders(url, queue_name, save)`: what passes comes back, what does not is put aside."""
    *orders, last = names("o", 7)
    save = _Save([*orders, last], busy=orders[1], refused=orders[4], last=last)
    bodies = [_body(order) for order in orders]
    for body in UNREADABLE:  # behind a good one, so that a slip shows itself with that
        bodies.insert(random.randint(1, len(bodies)), body)  # no secret
    with QueueSandbox(sandbox, deliveries=DELIVERIES) as desk:
        desk.publish(*bodies)
        worker = answer.start(desk.url, desk.queue, save, allow=Exception)
        put_aside = len(UNREADABLE) + 1

        def settled() -> bool:
            saved = len(save.saved) >= len(orders) - 1 and desk.ready(desk.dead) >= put_aside
            return saved or not worker.running

        wait_while_moving(
            settled, lambda: (save.asked.total(), desk.ready(desk.dead)), STILL_SECONDS
        )
        time.sleep(SETTLE_SECONDS)  # for what came too much, and for acks on their way
        if not worker.running:
            return _ended(answer, worker, save)
        desk.publish(_body(last))
        desk.wait(lambda: save.asked[last] > 0 or not worker.running, BEGIN_SECONDS)
        went_on = cancelled(worker)
        desk.proxy.cut()
        time.sleep(SETTLE_SECONDS)
        dead, left = (
            [each for each in desk.take_all(queue) if each.body != _body(last)]
            for queue in (desk.dead, desk.queue)
        )
        verdict = _served(save, orders, dead, left)
        return went_on if went_on and verdict.state == "solved" else verdict


def _body(order_id: str) -> bytes:
    return json.dumps({"order_id": order_id}).encode()


def _ended(answer: Submission, worker: Attempt, save: _Save) -> Verdict:
    """Return the verdict on a consumer that ended by itself."""
    outcome = worker.outcome()
    if outcome.hung:
        raise worker.hang()
    if isinstance(outcome.error, _SaveError):
        return broken(
            f"save raised {type(outcome.error).__bases__[0].__name__} for one order, and your"
            " loop ended with it",
            "Each error belongs to one message: answer that message, and go on with the next.",
        )
    if save.odd:
        return broken(*NO_ID)
    if isinstance(outcome.error, READ_ERRORS) and save.asked:
        return broken(
            f"your loop ended with {summary(outcome.error)}, {answer.line(outcome.error)}",
            "Each error belongs to one message: which bodies raise it? Answer that message, and"
            " go on with the next.",
        )
    if outcome.error is not None:
        raise answer.fault(outcome.error)
    return broken(
        "your function returned, and its connection went with it",
        "It serves until it is cancelled: stay in the loop.",
    )


def _served(
    save: _Save,
    orders: list[str],
    dead: list[AbstractIncomingMessage],
    left: list[AbstractIncomingMessage],
) -> Verdict:
    """Return the verdict on what was saved, put aside and left."""
    aside = [message.body.decode(errors="replace") for message in dead]
    good = [order for order in orders if order != save.refused]
    unread = sum(body in [message.body for message in dead] for body in UNREADABLE)
    late = sum(death.reason != "rejected" for message in dead for death in deaths(message))
    return first_broken(
        (
            not save.asked,
            "orders waited, and your function saved none",
            "Await save(order_id) for each message that can be read.",
        ),
        (
            save.odd,
            *NO_ID,
        ),
        (
            any(save.busy in body for body in aside),
            "a database that was away for a moment sent an order to the dead letters",
            "ConnectionError passes: put this message back into the queue.",
        ),
        (
            bool(left),
            f"{len(left)} messages are still in the queue",
            "Answer each message with ack or reject, and go on with the next one.",
        ),
        (
            save.busy not in save.saved,
            "the database was away for a moment, and the order was lost",
            "ConnectionError passes: put this message back into the queue.",
        ),
        (
            bool(late),
            f"{late} messages went to the dead letters by the limit, after {DELIVERIES} deliveries",
            "What does not get better is rejected at once: which parameter of reject decides?",
        ),
        (
            unread < len(UNREADABLE),
            (
                f"{len(UNREADABLE) - unread} bodies that cannot be read are not in the"
                " dead-letter queue"
            ),
            "Do not acknowledge what you cannot handle: reject it without requeue.",
        ),
        (
            not any(save.refused in body for body in aside),
            "an order that save refused with ValueError is not in the dead-letter queue",
            "Which errors do you catch? A refusal is not a message that is done.",
        ),
        (
            any(save.asked[order] > 1 for order in good if order != save.busy),
            "an order was saved, and came again",
            "Acknowledge a message when save has returned.",
        ),
        orders=len(orders),
        saved=len(save.saved),
        dead_letters=len(dead),
    ) or solved(
        "what can pass came back, and what cannot was put aside at once",
        saved=len(save.saved),
        dead_letters=len(dead),
    )


class _SaveError(Exception):
    """What `save` raises is known by it."""


class _BusyError(ConnectionError, _SaveError):
    """The database is away."""


class _RefusedError(ValueError, _SaveError):
    """No order with this id can be saved."""


class _Save:
    """What the answer awaits: `busy` fails twice, `refused` always, and `last` takes for ever."""

    def __init__(self, orders: list[str], busy: str, refused: str, last: str) -> None:
        self._orders = orders
        self.busy = busy
        self.refused = refused
        self._last = last
        self.asked: Counter[str] = Counter()
        self.saved: set[str] = set()

    @property
    def odd(self) -> bool:
        """Whether it was called with what is no order id."""
        return bool(self.asked.keys() - {*self._orders})

    async def __call__(self, order_id: str) -> None:
        self.asked[order_id] += 1
        if order_id == self.busy and self.asked[order_id] <= 2:  # noqa: PLR2004
            msg = "the database is away"
            raise _BusyError(msg)
        if order_id == self.refused:
            msg = f"{order_id} has no lines"
            raise _RefusedError(msg)
        if order_id == self._last:
            await asyncio.Event().wait()
        self.saved.add(order_id)
