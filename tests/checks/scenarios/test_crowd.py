from __future__ import annotations

import asyncio
import queue
import statistics
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Ends = list[tuple[bool, float]]

pytestmark = pytest.mark.usefixtures("answers_have_ended")

EXERCISE = "T0-crowd"
NO_P95 = "the p95 in your report is not what customers had"


def tea(order_id: str) -> dict[str, Any]:
    """Return the body of an order."""
    return {
        "order_id": order_id,
        "user_id": "u-1",
        "lines": [{"sku": "tea-100", "quantity": 1}],
    }


def new() -> str:
    """Return an id of its own."""
    return str(uuid.uuid4())


def rank(waits: Sequence[float], percent: int = 95) -> float:
    """Return the nearest rank."""
    return sorted(waits)[-(-len(waits) * percent // 100) - 1]


def report(ends: Ends) -> Any:
    """Return what the exercise asks for."""
    ordered = sum(well for well, _ in ends)
    return {
        "ordered": ordered,
        "failed": len(ends) - ordered,
        "p95": rank([wait for _, wait in ends]),
    }


def sent(http: httpx2.Client, body: dict[str, Any]) -> bool:
    """Send once; return whether it went well."""
    return http.post("/v1/orders", json=body).is_success


def way(
    *,
    most: int = 3,
    errors: Any = httpx2.TransportError,
    new_id: Callable[[], str] = new,
    once: bool = True,
    rest: float = 0,
    workers: int = 60,
    send: Callable[[httpx2.Client, dict[str, Any]], bool] = sent,
    sleep: Callable[[float], object] = time.sleep,
    since: Callable[[float, float, float], float] = lambda wanted, _first, _last: wanted,
    report: Callable[[Ends], Any] = report,
    body: Callable[[str], dict[str, Any]] = tea,
) -> Callable[..., Any]:
    """Return an answer, right but for what is said here."""

    def order_for_all(http: httpx2.Client, starts: list[float]) -> Any:
        began = time.monotonic()

        def customer(start: float) -> tuple[bool, float]:
            order_id = new_id()
            sleep(max(0, began + start - time.monotonic()))
            well, first, last = False, time.monotonic(), 0.0
            for number in range(most):
                time.sleep(rest if number else 0)
                last = time.monotonic()
                try:
                    well = send(http, body(order_id if once else new_id()))
                    break
                except errors:
                    pass
            return well, time.monotonic() - since(began + start, first, last)

        with ThreadPoolExecutor(workers) as pool:
            return report(list(pool.map(customer, starts)))

    return order_for_all


def by_a_dispatcher(http: httpx2.Client, starts: list[float]) -> Any:
    """Start a thread at each moment; hear of each end through a queue."""
    began, ends = time.perf_counter(), queue.Queue[tuple[bool, float]]()

    def customer(order: dict[str, Any], wanted: float) -> None:
        answer = None
        for _ in range(3):
            try:
                answer = http.post("/v1/orders", json=order)
            except httpx2.TransportError:
                continue
            break
        ends.put((answer is not None and answer.is_success, time.perf_counter() - wanted))

    for start in starts:
        time.sleep(max(0, began + start - time.perf_counter()))
        threading.Thread(target=customer, args=(tea(new()), began + start)).start()
    return report([ends.get() for _ in starts])


def on_asyncio(http: httpx2.Client, starts: list[float]) -> Any:
    """Sleep on a loop, and send from threads, as many as there are customers."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        began = loop.time()
        with ThreadPoolExecutor(len(starts)) as pool:

            async def customer(start: float) -> tuple[bool, float]:
                await asyncio.sleep(began + start - loop.time())
                order, well = tea(new()), False
                for _ in range(3):
                    try:
                        well = await loop.run_in_executor(pool, sent, http, order)
                        break
                    except httpx2.TransportError:
                        well = False
                return well, loop.time() - began - start

            return report(await asyncio.gather(*map(customer, starts)))

    return asyncio.run(main())


def by_timers(http: httpx2.Client, starts: list[float]) -> Any:
    """Let a timer wait for each customer; a status error is caught by its own class."""
    began, ends, lock = time.monotonic(), [], threading.Lock()

    def customer(wanted: float) -> None:
        order, left, well = tea(new()), 3, False
        while left:
            left -= 1
            try:
                http.post("/v1/orders", json=order).raise_for_status()
                well, left = True, 0
            except httpx2.HTTPStatusError:
                left = 0
            except httpx2.TransportError:
                pass
        with lock:
            ends.append((well, time.monotonic() - wanted))

    timers = [threading.Timer(start, customer, [began + start]) for start in starts]
    for timer in timers:
        timer.start()
    for timer in timers:
        timer.join()
    return report(ends)


def by_default_executor(http: httpx2.Client, starts: list[float]) -> Any:
    """Send from the threads of the loop's own pool, which are few."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(6))
        began = loop.time()

        async def customer(start: float) -> tuple[bool, float]:
            await asyncio.sleep(began + start - loop.time())
            order, well = tea(new()), False
            for _ in range(3):
                try:
                    well = await asyncio.to_thread(sent, http, order)
                    break
                except httpx2.TransportError:
                    well = False
            return well, loop.time() - began - start

        return report(await asyncio.gather(*map(customer, starts)))

    return asyncio.run(main())


def status_again(http: httpx2.Client, body: dict[str, Any]) -> bool:
    """Raise an error status, as if no answer had come."""
    http.post("/v1/orders", json=body).raise_for_status()
    return True


def any_answer(http: httpx2.Client, body: dict[str, Any]) -> bool:
    """Take each answer for a success."""
    http.post("/v1/orders", json=body)
    return True


def twice(http: httpx2.Client, body: dict[str, Any]) -> bool:
    """Send two tries at the same time."""
    with ThreadPoolExecutor(2) as pool:
        return any(list(pool.map(lambda _: sent(http, body), range(2))))


def sends(path: str = "/v1/orders", **options: Any) -> Any:
    """Send in another way."""
    return lambda http, body: http.post(path, json=body, **options).is_success


def counts_as(well: Callable[[int], bool]) -> Any:
    """Take other statuses for a success."""
    return lambda http, body: well(http.post("/v1/orders", json=body).status_code)


def by_a_client_of_ones_own(http: httpx2.Client, body: dict[str, Any]) -> bool:
    """Connect anew for each try."""
    with httpx2.Client(base_url=http.base_url, timeout=http.timeout, trust_env=False) as own:
        return sent(own, body)


def looks_first(http: httpx2.Client, body: dict[str, Any]) -> bool:
    """Ask whether the order is there already."""
    return http.get(f"/v1/orders/{body['order_id']}").is_success or sent(http, body)


def by_a_counter(http: httpx2.Client, starts: list[float]) -> Any:
    """Count the orders from 0 on."""
    numbers = count()
    return way(new_id=lambda: f"o-{next(numbers)}")(http, starts)


def by_the_start(http: httpx2.Client, starts: list[float]) -> Any:
    """Make ids of what the function is given."""
    numbers = count()
    return way(new_id=lambda: f"load-{(n := next(numbers))}-{starts[n]}")(http, starts)


def keeps_its_report() -> Callable[..., Any]:
    """Return an answer that works once, and repeats its report from then on."""
    kept: list[Any] = []

    def order_for_all(http: httpx2.Client, starts: list[float]) -> Any:
        if not kept:
            kept.append(way()(http, starts))
        return kept[0]

    return order_for_all


def three_late(http: httpx2.Client, starts: list[float]) -> Any:
    """Forget three customers for a while."""
    late = iter([2.0] * 3)
    return way(sleep=lambda wait: time.sleep(wait + next(late, 0)))(http, starts)


def told(**other: Callable[[Ends], Any]) -> Callable[[Ends], Any]:
    """Report something else under these keys."""
    return lambda ends: report(ends) | {key: value(ends) for key, value in other.items()}


def waits(ends: Ends) -> list[float]:
    """Return the wait of each customer."""
    return [wait for _, wait in ends]


def leaves_early(http: httpx2.Client, starts: list[float]) -> Any:
    """Report when half of them have ended."""
    pool = ThreadPoolExecutor(60)
    began, ends = time.monotonic(), []

    def customer(start: float) -> None:
        one = way(workers=1, report=list)
        time.sleep(max(0, began + start - time.monotonic()))
        ends.extend(one(http, [0.0]))

    for start in starts:
        pool.submit(customer, start)
    while len(ends) < 55:
        time.sleep(0.01)
    return report(ends)


def half_of_them(http: httpx2.Client, starts: list[float]) -> Any:
    """Leave customers out who come at the moment of another."""
    return way()(http, sorted(set(starts)))


def gives_nothing(http: httpx2.Client, starts: list[float]) -> Any:
    """Forget the report."""
    way()(http, starts)


def orders_nothing(http: httpx2.Client, starts: list[float]) -> Any:
    """Make the report up."""
    return {"ordered": len(starts), "failed": 0, "p95": 0.1}


def misspelt(http: httpx2.Client, starts: list[float]) -> Any:
    """Use a name that does not exist."""
    return way()(htp, starts)  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    "answer",
    [way(), by_a_dispatcher, on_asyncio, by_timers],
    ids=["pool", "dispatcher", "asyncio", "timers"],
)
def test_crowd_solved(answer: Callable[..., Any]) -> None:
    """Whatever holds the four points solves it."""
    assert_solved(EXERCISE, answer)


def test_crowd_stub() -> None:
    """The stub is not attempted."""

    def stub(http: httpx2.Client, starts: list[float]) -> dict[str, float]:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (way(once=False), "60 customers came, and", "how often does it run for one customer?"),
        (way(new_id=lambda: "o-1"), "and 1 orders were sent", "an id of its own"),
        (way(body=lambda i: tea(i) | {"user_id": "u-2"}), "something else", "Notebook 00"),
        (way(new_id=lambda: [new()]), "an order's id was a list of str", "letters and digits"),  # type: ignore[arg-type,return-value]
        (way(new_id=lambda: uuid.uuid4().int), "an order's id was an int", "a text"),  # type: ignore[arg-type,return-value]
        (way(new_id=lambda: f"{new()} {new()}"), "the shop answered 422 to order", "64 at most"),
        (way(send=sends("/v1/order")), "POST /v1/order was sent", "`POST /v1/orders`, and no"),
        (way(send=looks_first), "GET /v1/orders/", "and nothing else"),
        (way(send=by_a_client_of_ones_own), "that `http` did not send", "that your function is"),
        (way(send=sends(timeout=5)), "another timeout than `http` has", "Leave its timeout"),
        (by_a_counter, "60 orders had the id of an earlier one", "A counter begins anew"),
        (
            by_the_start,
            "called again, for 12 customers: 12 orders had the id of an earlier one",
            "Who else makes such ids?",
        ),
        (
            keeps_its_report(),
            "called again, for 12 customers: no customer's order was sent",
            "in each call anew",
        ),
        (half_of_them, "60 customers came, and 5", "nobody is left out"),
        (orders_nothing, "no customer's order was sent", "`tea(order_id)`"),
        (way(workers=1), "customers had ordered, long after", "as many threads as customers"),
        (way(workers=6), "customers had ordered, long after", "Notebook 01"),
        (way(workers=30), "30 of 60 customers ordered long after", "as many threads"),
        (way(workers=50), "of 60 customers ordered long after", "as many threads"),
        (three_late, "3 of 60 customers ordered long after", "Nobody waits"),
        (way(sleep=lambda wait: time.sleep(wait + 0.15)), "each customer ordered after", "clock"),
        (
            way(sleep=lambda wait: time.sleep(max(0, wait - 0.15))),
            "ordered before their time",
            "from the call of your function",
        ),
        (by_default_executor, "of 60 customers ordered long after", "as many threads as customers"),
        (way(sleep=float), "ordered before their time", "A start counts from"),
        (way(errors=httpx2.TimeoutException), "gave up after 1 of 3 tries", "an answer cut"),
        (way(errors=httpx2.RemoteProtocolError), "gave up after 1 of 3 tries", "many kinds"),
        (
            way(errors=(httpx2.TimeoutException, httpx2.RemoteProtocolError, httpx2.ReadError)),
            "gave up after 1 of 3 tries",
            "a connection refused",
        ),
        (
            way(errors=(httpx2.TimeoutException, httpx2.RemoteProtocolError, httpx2.ConnectError)),
            "gave up after 1 of 3 tries",
            "or reset",
        ),
        (way(send=status_again, errors=httpx2.HTTPError), "was sent again", "An answer is final"),
        (way(send=status_again), "raised HTTPStatusError", "Whoever fails"),
        (way(most=2), "gave up after 2 of 3 tries", "Notebook 00"),
        (way(most=4), "was sent 4 times", "Count the first one too"),
        (way(send=sends(follow_redirects=True)), "answered 307, and the order was", "is final"),
        (way(rest=0.2), "waited before it tried again", "Try again at once"),
        (way(send=twice), "began while one was under way", "One after the other"),
        (way(send=any_answer), "read a success, and your report says", "2xx"),
        (
            way(send=counts_as(lambda status: status < 400)),
            "read a success, and your report says",
            "Success is 2xx",
        ),
        (
            way(send=counts_as(lambda status: status == 201)),
            "read a success, and your report says",
            "all of it",
        ),
        (leaves_early, "was still under way", "every thread"),
        (
            way(report=told(failed=len)),
            "read a success, and your report says",
            "Each customer counts once",
        ),
        (
            way(report=told(p95=lambda ends: rank([wait for well, wait in ends if well]))),
            NO_P95,
            "ount every customer",
        ),
        (
            way(report=told(failed=lambda ends: 60 - sum(well for well, _ in ends))),
            "called again, for 12 customers: 10 customers of 12 read a success",
            "Each customer counts once",
        ),
        (
            way(
                report=told(
                    p95=lambda ends: rank([max(0, wait - 0.8 * (not well)) for well, wait in ends])
                )
            ),
            f"called again, for 12 customers: {NO_P95}",
            "ount every customer",
        ),
        # Which mistake it is is told by numbers that load brings near each other: the tests of the
        # report hold that, with numbers that lie apart.
        (way(since=lambda _w, _f, last: last), NO_P95, "until the last try has ended"),
        (way(report=told(p95=lambda ends: max(waits(ends)))), NO_P95, "rounded up"),
        (way(report=told(p95=lambda ends: statistics.mean(waits(ends)))), NO_P95, "rounded up"),
        (
            way(report=told(p95=lambda ends: rank(waits(ends)) * 1000)),
            "in milliseconds",
            "Seconds are wanted",
        ),
        (
            way(report=told(p95=lambda ends: sorted(waits(ends))[len(ends) * 95 // 100])),
            NO_P95,
            "rounded up",
        ),
        (
            way(report=told(p95=lambda ends: sorted(waits(ends))[round(len(ends) * 0.95) - 1])),
            f"called again, for 12 customers: {NO_P95}",
            "rounded up",
        ),
        (
            way(
                report=told(
                    p95=lambda ends: statistics.quantiles(waits(ends), n=100, method="inclusive")[
                        94
                    ]
                )
            ),
            f"called again, for 12 customers: {NO_P95}",
            "rounded up",
        ),
        (way(report=told(p95=lambda ends: sorted(waits(ends))[56])), "IndexError", "that line"),
        (
            way(report=told(p95=lambda ends: rank(waits(ends), 50))),
            NO_P95,
            "The rank is 95 of 100 of their number, rounded up",
        ),
        (way(report=told(p95=lambda _: None)), "the p95 in your report is None", "in seconds"),
        (way(report=told(p95=lambda _: float("nan"))), "the p95 in your report is", "in seconds"),
        (
            way(report=told(ordered=lambda ends: str(sum(well for well, _ in ends)))),
            "your report says '",
            "Each customer counts once",
        ),
        (way(report=waits), "your function returned", "Return a dict with"),
        (gives_nothing, "your function returned None", "Return a dict with"),
        (misspelt, "NameError", "a slip in the name"),
    ],
)
def test_crowd_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
