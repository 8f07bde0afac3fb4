from __future__ import annotations

import asyncio
import gc
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from labsvc.web.client import aio_client
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Answer = Callable[[str, list[str]], Awaitable[Any]]

pytestmark = pytest.mark.usefixtures("answers_have_ended")

FOUR = httpx2.Limits(max_connections=4)
KEPT: list[httpx2.AsyncClient] = []
FOUND: dict[str, int] = {}
"""What wrong answers keep, as a notebook's global names would."""


async def cents(http: httpx2.AsyncClient, url: str) -> int:
    """Ask for one price."""
    answer = await http.get(url)
    price: int = answer.raise_for_status().json()["cents"]
    return price


async def put(http: httpx2.AsyncClient, url: str, item: str, found: dict[str, int]) -> None:
    """Note one price if it is there."""
    with suppress(httpx2.HTTPError):
        found[item] = await cents(http, f"{url}/prices/{item}")


async def within_a_second(url: str, items: list[str], limits: httpx2.Limits) -> dict[str, int]:
    """Ask for all prices with a client that has these limits."""
    found: dict[str, int] = {}
    with suppress(TimeoutError):
        async with (
            asyncio.timeout(1),
            httpx2.AsyncClient(limits=limits) as http,
            asyncio.TaskGroup() as group,
        ):
            for item in items:
                group.create_task(put(http, url, item, found))
    return found


async def solution(url: str, items: list[str]) -> dict[str, int]:
    """Solve the exercise with a task group inside a timeout."""
    return await within_a_second(url, items, FOUR)


async def waits_and_cancels(url: str, items: list[str]) -> dict[str, int]:
    """Solve it with `asyncio.wait`, and end what is left by hand."""
    async with httpx2.AsyncClient(limits=FOUR, base_url=url) as http:
        tasks = {item: asyncio.create_task(cents(http, f"/prices/{item}")) for item in items}
        try:
            if tasks:
                await asyncio.wait(tasks.values(), timeout=0.95)
        finally:
            for task in tasks.values():
                task.cancel()
            ended = await asyncio.gather(*tasks.values(), return_exceptions=True)
    return {item: got for item, got in zip(tasks, ended, strict=True) if isinstance(got, int)}


async def four_workers(url: str, items: list[str]) -> dict[str, int]:
    """Solve it with four workers that take the next item."""
    found: dict[str, int] = {}
    todo = list(items)

    async def work(http: httpx2.AsyncClient) -> None:
        while todo:
            await put(http, url, todo.pop(), found)

    async with httpx2.AsyncClient(timeout=None) as http:
        workers = asyncio.gather(*[work(http) for _ in range(4)])
        with suppress(TimeoutError):
            await asyncio.wait_for(workers, timeout=1)
    return found


async def with_a_semaphore(url: str, items: list[str]) -> dict[str, int]:
    """Solve it with a semaphore, and `gather` of tasks that never fail."""
    found: dict[str, int] = {}
    four = asyncio.Semaphore(4)

    async def one(http: httpx2.AsyncClient, item: str) -> None:
        async with four:
            await put(http, url, item, found)

    async with httpx2.AsyncClient() as http:
        try:
            async with asyncio.timeout(1):
                await asyncio.gather(*(one(http, item) for item in items))
        except TimeoutError:
            pass
    return found


async def with_labsvc_web(url: str, items: list[str]) -> dict[str, int]:
    """Solve it with the client of the course: who waits for a place may wait the whole second."""
    found: dict[str, int] = {}
    async with (
        aio_client(url, seconds=0.9, connections=4, wait=1.0) as http,
        asyncio.TaskGroup() as group,
    ):
        for item in items:
            group.create_task(put(http, url, item, found))
    return found


def plain_function(url: str, items: list[str]) -> Any:
    """Return the coroutine of another function."""
    return solution(url, items)


async def one_after_the_other(url: str, items: list[str]) -> dict[str, int]:
    """Ask in a loop."""
    found: dict[str, int] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(1), httpx2.AsyncClient() as http:
            for item in items:
                await put(http, url, item, found)
    return found


async def client_per_price(url: str, items: list[str]) -> dict[str, int]:
    """Make a client for each price."""
    found: dict[str, int] = {}
    four = asyncio.Semaphore(4)

    async def one(item: str) -> None:
        async with four, httpx2.AsyncClient() as http:
            await put(http, url, item, found)

    with suppress(TimeoutError):
        async with asyncio.timeout(1), asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(one(item))
    return found


async def unlimited(url: str, items: list[str]) -> dict[str, int]:
    """Ask for all at a time."""
    found: dict[str, int] = {}
    with suppress(TimeoutError):
        async with (
            asyncio.timeout(1),
            httpx2.AsyncClient() as http,
            asyncio.TaskGroup() as group,
        ):
            for item in items:
                group.create_task(put(http, url, item, found))
    return found


async def all_or_nothing(url: str, items: list[str]) -> dict[str, int]:
    """Let one error end all."""
    async with asyncio.timeout(1), httpx2.AsyncClient(limits=FOUR) as http:
        got = await asyncio.gather(*[cents(http, f"{url}/prices/{item}") for item in items])
    return dict(zip(items, got, strict=True))


async def loses_all_when_late(url: str, items: list[str]) -> dict[str, int]:
    """Catch errors of each price, and give nothing when the time is up."""
    found: dict[str, int] = {}
    try:
        async with asyncio.timeout(1), httpx2.AsyncClient(limits=FOUR) as http:
            await asyncio.gather(*[put(http, url, item, found) for item in items])
    except TimeoutError:
        return {}
    return found


async def raises_when_late(url: str, items: list[str]) -> dict[str, int]:
    """Let the TimeoutError out."""
    found: dict[str, int] = {}
    async with asyncio.timeout(1), httpx2.AsyncClient(limits=FOUR) as http:
        await asyncio.gather(*[put(http, url, item, found) for item in items])
    return found


async def timeout_of_httpx2(url: str, items: list[str]) -> dict[str, int]:
    """Trust the client's timeout, which a body in drips outlives."""
    found: dict[str, int] = {}
    async with httpx2.AsyncClient(limits=FOUR, timeout=0.9) as http:
        await asyncio.gather(*[put(http, url, item, found) for item in items])
    return found


async def second_for_each(url: str, items: list[str]) -> dict[str, int]:
    """Give each price a second of its own."""
    found: dict[str, int] = {}
    four = asyncio.Semaphore(4)

    async def one(http: httpx2.AsyncClient, item: str) -> None:
        async with four:
            with suppress(TimeoutError):
                async with asyncio.timeout(1):
                    await put(http, url, item, found)

    async with httpx2.AsyncClient() as http:
        await asyncio.gather(*[one(http, item) for item in items])
    return found


async def too_short_for_each(url: str, items: list[str]) -> dict[str, int]:
    """Give each price .2 seconds."""
    found: dict[str, int] = {}
    four = asyncio.Semaphore(4)

    async def one(http: httpx2.AsyncClient, item: str) -> None:
        async with four:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await put(http, url, item, found)

    async with httpx2.AsyncClient() as http:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await asyncio.gather(*[one(http, item) for item in items])
    return found


async def no_status(url: str, items: list[str]) -> dict[str, int]:
    """Take the body of an error for a price."""
    found: dict[str, int] = {}

    async def one(http: httpx2.AsyncClient, item: str) -> None:
        with suppress(httpx2.HTTPError):
            found[item] = (await http.get(f"{url}/prices/{item}")).json()["cents"]

    with suppress(TimeoutError):
        async with (
            asyncio.timeout(1),
            httpx2.AsyncClient(limits=FOUR) as http,
            asyncio.TaskGroup() as group,
        ):
            for item in items:
                group.create_task(one(http, item))
    return found


async def status_only(url: str, items: list[str]) -> dict[str, int]:
    """Catch the error status, and no lost connection."""
    found: dict[str, int] = {}

    async def one(http: httpx2.AsyncClient, item: str) -> None:
        with suppress(httpx2.HTTPStatusError):
            found[item] = await cents(http, f"{url}/prices/{item}")

    with suppress(TimeoutError):
        async with (
            asyncio.timeout(1),
            httpx2.AsyncClient(limits=FOUR) as http,
            asyncio.TaskGroup() as group,
        ):
            for item in items:
                group.create_task(one(http, item))
    return found


async def leaves_tasks(url: str, items: list[str]) -> dict[str, int]:
    """Give up waiting, and stop nothing."""
    found: dict[str, int] = {}
    http = httpx2.AsyncClient(limits=FOUR)
    KEPT.append(http)
    tasks = [asyncio.create_task(put(http, url, item, found)) for item in items]
    if tasks:
        await asyncio.wait(tasks, timeout=0.95)
    if all(task.done() for task in tasks):
        await http.aclose()
    return found


async def never_closed(url: str, items: list[str]) -> dict[str, int]:
    """Keep the client open."""
    found: dict[str, int] = {}
    KEPT.append(httpx2.AsyncClient(limits=FOUR))
    with suppress(TimeoutError):
        async with asyncio.timeout(1), asyncio.TaskGroup() as group:
            for item in items:
                group.create_task(put(KEPT[-1], url, item, found))
    return found


async def waits_the_whole_second(url: str, items: list[str]) -> dict[str, int]:
    """Return after a second, whatever is there."""
    found, _ = await asyncio.gather(solution(url, items), asyncio.sleep(1))
    return found


async def nothing_to_wait_for(url: str, items: list[str]) -> dict[str, int]:
    """Call `asyncio.wait` with nothing."""
    found: dict[str, int] = {}
    async with httpx2.AsyncClient(limits=FOUR) as http:
        tasks = [asyncio.create_task(put(http, url, item, found)) for item in items]
        _, late = await asyncio.wait(tasks, timeout=0.95)
        for task in late:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def shielded(url: str, items: list[str]) -> dict[str, int]:
    """Go on after a cancel."""
    return await asyncio.shield(asyncio.create_task(solution(url, items)))


async def ends_its_group_late(url: str, items: list[str]) -> dict[str, int]:
    """Catch the cancellation, and wait on."""
    task = asyncio.create_task(solution(url, items))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        return await task


async def swallows(url: str, items: list[str]) -> dict[str, int]:
    """End at once when it is cancelled, and return as if nobody had cancelled it."""
    found: dict[str, int] = {}
    with suppress(TimeoutError, asyncio.CancelledError):
        async with (
            asyncio.timeout(1),
            httpx2.AsyncClient(limits=FOUR) as http,
            asyncio.TaskGroup() as group,
        ):
            for item in items:
                group.create_task(put(http, url, item, found))
    return found


async def keeps_prices(url: str, items: list[str]) -> dict[str, int]:
    """Return what earlier calls have found, too."""
    FOUND.update(await solution(url, items))
    return dict(FOUND)


async def without_reuse(url: str, items: list[str]) -> dict[str, int]:
    """Take four places, and keep none."""
    limits = httpx2.Limits(max_connections=4, max_keepalive_connections=0)
    return await within_a_second(url, items, limits)


async def five_places(url: str, items: list[str]) -> dict[str, int]:
    """Take one place too many."""
    return await within_a_second(url, items, httpx2.Limits(max_connections=5))


async def in_batches(url: str, items: list[str]) -> dict[str, int]:
    """Ask for the next four when all of these are there."""
    found: dict[str, int] = {}
    with suppress(TimeoutError):
        async with asyncio.timeout(1), httpx2.AsyncClient(limits=FOUR) as http:
            for first in range(0, len(items), 4):
                four = items[first : first + 4]
                await asyncio.gather(*[put(http, url, item, found) for item in four])
    return found


async def zero_for_missing(url: str, items: list[str]) -> dict[str, int]:
    """Have a price for each item, whatever came."""
    return dict.fromkeys(items, 0) | await solution(url, items)


async def in_threads(url: str, items: list[str]) -> dict[str, int]:
    """Ask with a blocking client in threads, which cannot be cancelled."""
    found: dict[str, int] = {}
    pool = ThreadPoolExecutor(4)

    def one(http: httpx2.Client, item: str) -> None:
        with suppress(httpx2.HTTPError):
            answer = http.get(f"{url}/prices/{item}").raise_for_status()
            found[item] = answer.json()["cents"]

    with httpx2.Client(limits=FOUR, timeout=2) as http:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(pool, one, http, item) for item in items]
        if calls:
            await asyncio.wait(calls, timeout=0.95)
        pool.shutdown(wait=False, cancel_futures=True)
    return dict(found)


async def blocks_the_loop(url: str, items: list[str]) -> dict[str, int]:
    """Ask with a blocking client in an async function."""
    found: dict[str, int] = {}
    end = time.monotonic() + 0.9
    with httpx2.Client(timeout=0.9) as http:
        for item in items:
            if time.monotonic() < end:
                with suppress(httpx2.HTTPError):
                    answer = http.get(f"{url}/prices/{item}").raise_for_status()
                    found[item] = answer.json()["cents"]
    return found


async def made_up(url: str, items: list[str]) -> dict[str, int]:
    """Ask nobody."""
    return dict.fromkeys(items, 1299)


async def one_price_for_all(url: str, items: list[str]) -> dict[str, int]:
    """Return the first price for each item."""
    found = await solution(url, items)
    return dict.fromkeys(found, next(iter(found.values()), 0))


async def a_list(url: str, items: list[str]) -> Any:
    """Return the prices without their items."""
    return list((await solution(url, items)).values())


@pytest.mark.parametrize(
    "answer",
    [
        solution,
        waits_and_cancels,
        four_workers,
        with_a_semaphore,
        with_labsvc_web,
        plain_function,
    ],
)
def test_prices_solved(answer: Answer) -> None:
    """Each right answer is solved, and nothing is noted."""
    assert_solved("30-prices", answer)


def test_prices_stub() -> None:
    """The stub is not attempted."""

    async def stub(url: str, items: list[str]) -> dict[str, int]:
        raise NotImplementedError

    assert_not_attempted("30-prices", stub)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (one_after_the_other, "no more than 1 at a time", "under way together"),
        (blocks_the_loop, "no more than 1 at a time", "under way together"),
        (client_per_price, "over 8 connections", "once for all"),
        (unlimited, "8 requests were under way at a time", "httpx2.Limits"),
        (all_or_nothing, "a status of 500, and your function raised HTTPStatusError", "Which line"),
        (status_only, "lost its connection, and your function raised ExceptionGroup", "one base"),
        (no_status, "a price came back that nobody has named", "500 is an answer"),
        (too_short_for_each, "half a second each, and 2 ", "for all prices together"),
        (raises_when_late, "never came, and your function raised TimeoutError", "where are"),
        (loses_all_when_late, "never came, and 7 other prices got lost", "where are the prices"),
        (timeout_of_httpx2, "in drips, without an end, and your function did", "starts anew"),
        (second_for_each, "came back after more than", "When does its clock start"),
        (leaves_tasks, "never came, your function returned, and 1 request went on", "cancels"),
        (never_closed, "and 4 connections stayed open", "`async with`"),
        (waits_the_whole_second, "all were there, and your function did not", "nothing is left"),
        (nothing_to_wait_for, "no price was asked for, and your function raised", "empty list"),
        (shielded, "was cancelled, and 4 requests went on", "cancels a request"),
        (ends_its_group_late, "was cancelled, and did not end", "CancelledError has to pass"),
        (swallows, "was cancelled, and did not end with a CancelledError", "has to learn"),
        (keeps_prices, "nobody has named", "With what does your dictionary begin"),
        (without_reuse, "over 8 connections", "once for all"),
        (five_places, "5 requests were under way at a time", "httpx2.Limits"),
        (in_batches, "never came, and 4 other prices got lost", "where are the prices"),
        (zero_for_missing, "a price came back that nobody has named", "500 is an answer"),
        (in_threads, "request went on", "cancels a request"),
        (made_up, "was not asked", "in `url`"),
        (one_price_for_all, "another price came back", "a price of its own"),
        (a_list, "returned a list of int", "dict"),
    ],
)
def test_prices_wrong(answer: Answer, guarantee: str, hint: str) -> None:
    """Each wrong answer is not solved, for its own reason and with its own hint."""
    try:
        assert_wrong("30-prices", answer, guarantee, hint)
    finally:
        KEPT.clear()
        FOUND.clear()
        gc.collect()  # what a wrong answer has left open is named here, and not in the next test
