"""Exercise of notebook 50: orders through a network that fails (C27)."""

from __future__ import annotations

import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from aio_pika import DeliveryMode
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    DeliveryError,
)

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.queue_sandbox import QueueSandbox, names
from labsvc.checks.verdict import Verdict, broken, first_broken, solved

if TYPE_CHECKING:
    from aio_pika.abc import AbstractIncomingMessage

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Attempt, Outcome, Submission
    from labsvc.hosts.proxy import Proxy
    from labsvc.sweep import Run

FEW, MANY = 3, 5  # orders
ALL_SECONDS = 12.0  # for the longest case
FLOOD = 5  # messages for each order, of which a right answer sends one, and one for each fault
AT_ONCE = 16
BY_THE_BROKER = (ChannelNotFoundEntity, ChannelPreconditionFailed, DeliveryError)
SECONDS = 4.0  # for each fault; the exercise says 10 for two outages of less than a second
DELAY = 0.015  # seconds, each way, so that an outage strikes in the middle
LONG_DELAY = 0.06  # a confirm takes twice as long; the exercise says up to .2
SILENCE, REFUSAL = 0.2, 0.35  # seconds; an outage is both


@exercise("50-confirms", title="Send orders through two outages", deadline=30)
def confirms(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`send_orders(url, queue_name, order_ids)`: all of them arrive, though the network fails."""
    cases = Cases(answer, sandbox)
    return (
        cases.broken(_confirms_are_slow)
        or cases.broken(_broker_is_away)
        or cases.broken(_links_break, only=("lost",), within=3 * SECONDS, at_once=AT_ONCE)
        or solved(
            "every order arrived, whatever was lost, marked with its id", cases=cases.count, lost=0
        )
    )


def _confirms_are_slow(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Let confirms take a while from the second order on, and nothing fail."""
    orders = names("o", FEW)
    desk = room.enter(QueueSandbox(room))
    wire, url = _slow_way(room, run, desk)
    attempt = _start(answer, url, desk, orders, SECONDS)
    _published(run, 1, desk, attempt)
    wire.set(delay=LONG_DELAY)
    return _sent(answer, attempt, desk, orders, run)


def _links_break(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Send a few orders while connections break at publishes and confirms."""
    orders = names("o", FEW)
    desk = room.enter(QueueSandbox(room))
    seconds = SECONDS * max(1, len(run.plan))
    attempt = _start(answer, run.door(desk.broker).url, desk, orders, seconds)
    return _sent(answer, attempt, desk, orders, run)


def _broker_is_away(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """In the middle of an order, swallow everything; then take no connection for a while."""
    orders = names("o", MANY)
    desk = room.enter(QueueSandbox(room))
    wire, url = _slow_way(room, run, desk)
    attempt = _start(answer, url, desk, orders, SECONDS)
    if _published(run, random.randint(2, 3), desk, attempt):  # no secret
        wire.set(blackhole=True)
        time.sleep(SILENCE)
        wire.set(refuse=True, blackhole=False)
        wire.cut()
        time.sleep(REFUSAL)
    wire.clear()
    broke = _sent(answer, attempt, desk, orders, run, copies=MANY)
    if broke is not None:
        failed = f"the network failed for {SILENCE + REFUSAL:.2f} s: {broke.guarantee}"
        broke = replace(broke, guarantee=failed)
    return broke


def _slow_way(room: Sandbox, run: Run, desk: QueueSandbox) -> tuple[Proxy, str]:
    """Return a wire that delays before the door of a run, and the address that leads over both."""
    door = run.door(desk.broker)
    wire = room.proxy(door.target, name="wire")
    wire.set(delay=DELAY)
    return wire, door.url.replace(door.target, wire.target)


def _start(
    answer: Submission, url: str, desk: QueueSandbox, orders: list[str], seconds: float
) -> Attempt:
    return answer.start(url, desk.queue, iter(orders), within=seconds, allow=CONNECTION_EXCEPTIONS)


def _published(run: Run, count: int, desk: QueueSandbox, attempt: Attempt) -> bool:
    """Wait until so many orders were sent; return whether the answer still runs."""
    desk.wait(lambda: _seen(run, "publish") >= count or not attempt.running, SECONDS)
    return attempt.running


def _seen(run: Run, kind: str) -> int:
    return sum(event.point.kind == kind for event in run.events)


def _in_doubt(run: Run) -> int:
    """Return how many orders may have come without a confirm, when connections broke.

    Several may be under way at once: each of those may rightly be sent again.
    """
    doubt = published = confirmed = 0
    for event in list(run.events):
        came = event.fault is None
        published += came and event.point.kind == "publish"
        confirmed += came and event.point.kind == "confirm"
        doubt += 0 if came else max(0, published - confirmed)
    return doubt


def _sent(
    answer: Submission,
    attempt: Attempt,
    desk: QueueSandbox,
    orders: list[str],
    run: Run,
    *,
    copies: int = 0,
) -> Verdict | None:
    """Return what broke, once the answer has ended; so many copies are right in any case."""
    # Whoever sends each order again and again need not be waited for.
    desk.wait(
        lambda: not attempt.running or _seen(run, "publish") > FLOOD * len(orders), ALL_SECONDS
    )
    if attempt.running:
        attempt.stop()
    outcome = attempt.outcome()
    messages = desk.look()
    if outcome.hung and not messages and not run.plan:
        raise attempt.hang()
    attempt.stop()
    if isinstance(outcome.error, BY_THE_BROKER):  # no outage: the broker has said no
        raise answer.fault(outcome.error)
    if not (messages or outcome.hung or outcome.error or run.plan):
        return broken(
            f"your function returned as if all was well, and all {len(orders)} orders are lost",
            "Await each publish to the default exchange, with the queue's name as routing key.",
            orders=len(orders),
        )
    return _is_missing(orders, outcome, messages, copies + _in_doubt(run)) or _is_unmarked(messages)


def _is_missing(
    orders: list[str], outcome: Outcome, messages: list[AbstractIncomingMessage], in_doubt: int
) -> Verdict | None:
    bodies = [message.body.decode(errors="replace") for message in messages]
    arrived = len({*bodies} & {*orders})
    lost, error = len(orders) - arrived, type(outcome.error).__name__
    copied = (
        (
            f"{arrived} orders came as {len(bodies)} messages: orders were sent again that were"
            " confirmed, or would have been"
        ),
        "A confirm takes up to .2 seconds. Wait for it; repeat only the order that has none.",
    )
    return first_broken(
        (
            bool({*bodies} - {*orders}),
            "the queue has messages that are no orders",
            "The body of a message is the order's id, and nothing else.",
        ),
        (outcome.hung and len(bodies) > arrived + in_doubt, *copied),
        (
            outcome.hung,
            "the network came back, and your function did not return",
            (
                "What in it waits or repeats without an end? A plain connection never comes back;"
                " connect_robust waits five seconds unless you set reconnect_interval."
            ),
        ),
        (
            outcome.error is not None and bool(lost),
            f"your function raised {error}, and {lost} orders were never sent",
            "Catch the error of a publish and send the same order again, a few times at most.",
        ),
        (
            outcome.error is not None,
            "every order arrived, and your function raised an error all the same",
            "Which call fails after the last publish? Catch the network's errors there too.",
        ),
        (
            bool(lost),
            f"your function returned as if all was well, and {lost} orders are lost",
            "Which answer of the broker did it wait for? And what if that answer does not come?",
        ),
        (len(bodies) > arrived + in_doubt, *copied),
        orders=len(orders),
        arrived=arrived,
        messages=len(bodies),
    )


def _is_unmarked(messages: list[AbstractIncomingMessage]) -> Verdict | None:
    transient = sum(message.delivery_mode != DeliveryMode.PERSISTENT for message in messages)
    return first_broken(
        (
            any(message.message_id != message.body.decode() for message in messages),
            "the message ids are not the order ids, so a second copy looks like a second order",
            "Give each Message the order's id as message_id, the same one on every try.",
        ),
        (
            bool(transient),
            f"{transient} messages would not survive a restart of the broker",
            "A durable queue is half of it. What is a Message's delivery_mode by default?",
        ),
        messages=len(messages),
    )
