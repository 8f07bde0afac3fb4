from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from contextlib import nullcontext, suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from weakref import WeakKeyDictionary

import httpx2
import pytest

from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Changes = dict[str, dict[str, Any]]
    Answer = Callable[[str, Changes], Awaitable[Any]]

pytestmark = pytest.mark.usefixtures("answers_have_ended")

EXERCISE = "T3-save"
FOUR = httpx2.Limits(max_connections=4)
PROBLEM = "application/problem+json"


def drawn() -> float:
    """Draw a pause."""
    return random.uniform(0.05, 0.3)  # noqa: S311  # no secret


def seconds_asked(answer: Any) -> float:
    """Return what the answer asks for, as the notebook's function does."""
    value = answer.headers.get("Retry-After", "")
    if value.isdecimal():
        return int(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0


def hours_only(answer: Any) -> float:
    """Look only whether a wait is too long."""
    asked = seconds_asked(answer)
    return asked if asked > 1 else 0


def end_of(answer: Any) -> str:
    """Say how a change ended, by its last answer."""
    return "saved" if answer.is_success else told_by(answer)


def told_by(answer: Any) -> str:
    """Say what an answer tells that is no success."""
    code = None
    if answer.headers["content-type"].split(";")[0].strip() == PROBLEM:
        with suppress(ValueError, TypeError, LookupError):
            code = answer.json()["code"]
    return code if isinstance(code, str) else str(answer.status_code)


def merged(read: dict[str, Any], change: dict[str, Any], _first: dict[str, Any]) -> dict[str, Any]:
    """Return the user to be written."""
    return read | change


def tag(answer: Any, _first: Any) -> dict[str, str]:
    """Return the header of a write."""
    return {"if-match": answer.headers["etag"]}


async def grouped(works: list[Any], _http: httpx2.AsyncClient) -> None:
    """Do all of it in a group."""
    async with asyncio.TaskGroup() as group:
        for work in works:
            group.create_task(work)


def way(  # noqa: C901  # one answer, with all its settings
    *,
    tries: int = 3,
    rounds: int = 3,
    seconds: float | None = 3,
    limits: httpx2.Limits = FOUR,
    timeout: float | None = 5,
    again: tuple[int, ...] = (429, 503),
    errors: Any = httpx2.TransportError,
    tried: Any = httpx2.TransportError,
    quoted: Callable[[str], str] = lambda name: quote(name, safe=""),
    most: float = 1,
    pause: Callable[[], float] = drawn,
    asks: Callable[[Any], float] = seconds_asked,
    adds: Callable[[float, float], float] = lambda asked, rest: asked + rest,
    end: Callable[[Any], str] = end_of,
    lost: str = "lost",
    default: str | None = "late",
    make: Callable[..., dict[str, Any]] = merged,
    match: Callable[[Any, Any], dict[str, str]] = tag,
    unusable: Any = (httpx2.HTTPStatusError, ValueError, TypeError, LookupError),
    skips: Callable[[dict[str, Any], dict[str, Any]], bool] = lambda *_: False,
    also_of_get: bool = False,
    places: Callable[[httpx2.AsyncClient], Any] = nullcontext,
    all_of: Callable[[list[Any], httpx2.AsyncClient], Awaitable[None]] = grouped,
) -> Answer:
    """Return an answer, right but for what is said here."""

    async def send(http: httpx2.AsyncClient, method: str, path: str, **more: Any) -> Any:
        for left in reversed(range(tries)):
            asked = 0.0
            async with places(http):
                try:
                    answer = await http.request(method, path, **more)
                    asked = asks(answer)
                    if answer.status_code not in again or asked > most or not left:
                        return answer
                except tried:
                    if not left:
                        raise
                await asyncio.sleep(adds(asked, pause()))
        return None

    async def save(http: httpx2.AsyncClient, name: str, change: dict[str, Any]) -> str:
        path, first = f"/users/{quoted(name)}", None
        for _ in range(rounds):
            read = answer = await send(http, "GET", path)
            if read.status_code == 412 and also_of_get:
                continue
            first = first or read
            try:
                user = make(read.raise_for_status().json(), change, first.json())
                headers = match(read, first)
            except unusable:
                return told_by(read) if read.is_success else end(read)
            if skips(user, read.json()):
                return "saved"
            answer = await send(http, "PUT", path, json=user, headers=headers)
            if answer.status_code != 412:
                break
        return end(answer)

    async def save_all(url: str, changes: Changes) -> dict[str, str]:
        ends = {} if default is None else dict.fromkeys(changes, default)

        async def note(http: httpx2.AsyncClient, name: str) -> None:
            try:
                ends[name] = await save(http, name, changes[name])
            except errors:
                ends[name] = lost

        with suppress(TimeoutError):
            async with (
                asyncio.timeout(seconds),
                httpx2.AsyncClient(base_url=url, limits=limits, timeout=timeout) as http,
            ):
                await all_of([note(http, name) for name in changes], http)
        return ends

    return save_all


async def gathered(works: list[Any], _http: Any) -> None:
    """Gather all, which ends them all when the time is up."""
    await asyncio.gather(*works)


async def waited_for(works: list[Any], _http: Any) -> None:
    """Wait for the tasks, and end them whatever happens."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        if tasks:
            await asyncio.wait(tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def four_workers(works: list[Any], _http: Any) -> None:
    """Let four workers take one user after the other."""
    left = iter(works)

    async def worker() -> None:
        for work in left:
            await work

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(4):
                group.create_task(worker())
    finally:
        for work in left:
            work.close()


def usable(answer: Any) -> bool:
    """Say whether a user can be written from an answer."""
    try:
        user = answer.is_success and answer.json()
        return "etag" in answer.headers and isinstance(user, dict)
    except ValueError:
        return False


async def that_reads_anew(url: str, changes: Changes) -> dict[str, str]:  # noqa: C901  # whole
    """Solve it with a semaphore, a deadline by `wait_for`, and raw requests."""
    ends, places = dict.fromkeys(changes, "late"), asyncio.Semaphore(4)

    async def send(http: httpx2.AsyncClient, request: httpx2.Request) -> httpx2.Response | None:
        answer = None
        for number in range(3):
            if number:
                await asyncio.sleep((seconds_asked(answer) if answer else 0) + drawn())
            answer = None
            with suppress(httpx2.TransportError):
                async with places:
                    answer = await http.send(request)
            if answer and (answer.status_code not in {429, 503} or seconds_asked(answer) > 1):
                break
        return answer

    async def save(http: httpx2.AsyncClient, name: str) -> None:
        left, path = 3, f"{url}/users/{quote(name, safe='')}"
        answer: httpx2.Response | None = None
        while left and (answer is None or answer.status_code == 412):
            left -= 1
            answer = await send(http, http.build_request("GET", path))
            if answer and not usable(answer):
                ends[name] = told_by(answer)
                return
            if answer:
                body, headers = answer.json(), {"If-Match": answer.headers["ETag"]}
                body.update(changes[name])
                put = http.build_request("PUT", path, json=body, headers=headers)
                answer = await send(http, put)
            if answer is None:
                ends[name] = "lost"
                return
        if answer:
            ends[name] = end_of(answer)

    async def main() -> None:
        async with httpx2.AsyncClient(timeout=None) as http:
            await asyncio.gather(*(save(http, name) for name in changes))

    with suppress(TimeoutError):
        await asyncio.wait_for(main(), 3)
    return ends


async def runs_on(works: list[Any], _http: Any) -> None:
    """Start tasks that nobody ends."""
    tasks = [asyncio.ensure_future(work) for work in works]
    await asyncio.wait(tasks or [asyncio.ensure_future(asyncio.sleep(0))])


async def in_a_row(works: list[Any], _http: Any) -> None:
    """Do one after the other."""
    try:
        for work in works:
            await work
    finally:
        for work in works:
            work.close()


async def waits_out(works: list[Any], http: Any) -> None:
    """Return when the time is up, always."""
    await grouped(works, http)
    await asyncio.sleep(5)


KEPT: list[httpx2.AsyncClient] = []


async def never_closed(url: str, changes: Changes) -> dict[str, str]:
    """Make a client that nobody closes."""
    ends: dict[str, str] = {}
    http = httpx2.AsyncClient(base_url=url, limits=FOUR)
    KEPT.append(http)

    async def save(name: str) -> None:
        path = "/users/" + quote(name, safe="")
        read = await http.get(path)
        user, match = read.json() | changes[name], {"if-match": read.headers["etag"]}
        answer = await http.put(path, json=user, headers=match)
        ends[name] = end_of(answer)

    await asyncio.gather(*map(save, changes))
    return ends


async def client_for_each(url: str, changes: Changes) -> dict[str, str]:
    """Make a client for each user, four at a time."""
    places, ends = asyncio.Semaphore(4), {}

    async def save(name: str) -> None:
        async with places:
            ends.update(await way()(url, {name: changes[name]}))

    await asyncio.gather(*map(save, changes))
    return ends


async def seconds_for_each(url: str, changes: Changes) -> dict[str, str]:
    """Give each four users three seconds, one four after the other."""
    ends, names = {}, list(changes)
    for start in range(0, len(names), 4):
        ends.update(await way()(url, {name: changes[name] for name in names[start : start + 4]}))
    return ends


async def swallows(url: str, changes: Changes) -> dict[str, str]:
    """Catch what a cancelled task gets."""
    try:
        ends: dict[str, str] = await way()(url, changes)
    except asyncio.CancelledError:
        return dict.fromkeys(changes, "late")
    return ends


def known_fields(
    read: dict[str, Any], change: dict[str, Any], _first: dict[str, Any]
) -> dict[str, Any]:
    """Write the fields that are known."""
    return {name: (read | change)[name] for name in ("street", "postcode", "phone")}


def of_any_json(answer: Any) -> str:
    """Read a code in any JSON, by its content."""
    if answer.is_success:
        return "saved"
    try:
        code: str = answer.json()["code"]
    except (ValueError, KeyError, TypeError):
        return str(answer.status_code)
    return code if isinstance(code, str) else str(answer.status_code)


def of_every_body(answer: Any) -> str:
    """Read a code in all that comes."""
    return "saved" if answer.is_success else answer.json().get("code") or str(answer.status_code)


def by_status(answer: Any) -> str:
    """Tell the status alone, where the content type says nothing but problem document."""
    plain = answer.headers["content-type"] == PROBLEM and answer.status_code != 412
    return str(answer.status_code) if plain else end_of(answer)


def by_title(answer: Any) -> str:
    """Tell what is for people."""
    if told_by(answer) == str(answer.status_code):
        return end_of(answer)
    return "saved" if answer.is_success else str(answer.json()["title"])


def always_saved(answer: Any) -> str:
    """Take any answer for a success."""
    return "saved"


def also_412(answer: Any) -> str:
    """Take a 412 for one's own change, whose answer was lost."""
    return "saved" if answer.status_code == 412 else end_of(answer)


def by_exact_form(answer: Any) -> str:
    """Compare the whole content type."""
    if answer.is_success or answer.headers["content-type"] == PROBLEM:
        return end_of(answer)
    return str(answer.status_code)


def of_trusted_body(answer: Any) -> str:
    """Take each problem document for an object."""
    if answer.is_success or not answer.headers["content-type"].startswith(PROBLEM):
        return end_of(answer)
    return answer.json().get("code") or str(answer.status_code)


def of_any_code(answer: Any) -> str:
    """Take each code for a text, where there is one."""
    if answer.headers["content-type"].startswith(PROBLEM):
        with suppress(ValueError, TypeError, LookupError):
            return str(answer.json()["code"])
    return end_of(answer)


def below_400(answer: Any) -> str:
    """Take what is no error for a success."""
    return "saved" if answer.status_code < 400 else end_of(answer)


def only_200(answer: Any) -> str:
    """Take one status for a success."""
    return "saved" if answer.status_code == 200 else told_by(answer)


def without_nulls(
    read: dict[str, Any], change: dict[str, Any], _first: dict[str, Any]
) -> dict[str, Any]:
    """Leave out what is null."""
    return {name: value for name, value in (read | change).items() if value is not None}


def nested(read: dict[str, Any], change: dict[str, Any], _first: dict[str, Any]) -> dict[str, Any]:
    """Merge what is inside a field too."""
    inside = {name: read[name] | value for name, value in change.items() if isinstance(value, dict)}
    return read | change | inside


def between(shortest: float, longest: float) -> Callable[[], float]:
    """Draw pauses from another range."""
    return lambda: random.uniform(shortest, longest)  # noqa: S311  # no secret


def evenly(shortest: float, longest: float) -> Callable[[], float]:
    """Take pauses from another range, none of which are near each other by chance."""
    golden = (math.sqrt(5) - 1) / 2  # its multiples, modulo 1, lie evenly
    numbers = itertools.count()
    return lambda: shortest + (longest - shortest) * (next(numbers) * golden % 1)


def of_two() -> float:
    """Draw one of two pauses."""
    return random.choice((0.05, 0.3))  # noqa: S311  # no secret


def of_each_task() -> float:
    """Draw a pause once for each user."""
    return random.Random(id(asyncio.current_task())).uniform(0.05, 0.3)  # noqa: S311  # no secret


async def held(works: list[Any], http: Any) -> None:
    """Give a place to a user until its end."""
    places = asyncio.Semaphore(4)

    async def placed(work: Any) -> None:
        async with places:
            await work

    try:
        await grouped([placed(work) for work in works], http)
    finally:
        for work in works:
            work.close()


def starred(answer: Any, _first: Any) -> dict[str, str]:
    """Name any state where the service names none."""
    return {"if-match": answer.headers.get("etag", "*")}


PLACES: WeakKeyDictionary[httpx2.AsyncClient, asyncio.Semaphore] = WeakKeyDictionary()


def places_of(http: httpx2.AsyncClient) -> asyncio.Semaphore:
    """Return the four places of a client."""
    return PLACES.setdefault(http, asyncio.Semaphore(4))


async def left_behind(url: str, changes: Changes) -> dict[str, str]:
    """Leave a task that ends soon."""
    ends: dict[str, str] = await way()(url, changes)
    KEPT_TASKS.append(asyncio.ensure_future(asyncio.sleep(0.2)))
    return ends


KEPT_TASKS: list[asyncio.Future[None]] = []


async def slow_to_leave(url: str, changes: Changes) -> dict[str, str]:
    """Wait a moment before the cancelled function ends."""
    try:
        ends: dict[str, str] = await way()(url, changes)
    except asyncio.CancelledError:
        await asyncio.sleep(0.4)
        raise
    return ends


async def skips_the_empty(url: str, changes: Changes) -> dict[str, str]:
    """Send nothing for who has nothing to change."""
    some = {name: change for name, change in changes.items() if change}
    ends: dict[str, str] = await way()(url, some)
    return dict.fromkeys(changes, "saved") | ends


async def shielded(url: str, changes: Changes) -> dict[str, str]:
    """Keep the work from being cancelled."""
    ends: dict[str, str] = await asyncio.shield(asyncio.ensure_future(way()(url, changes)))
    return ends


async def asks_nobody(url: str, changes: Changes) -> dict[str, str]:
    """Make the ends up."""
    return dict.fromkeys(changes, "saved")


async def in_one_breath(url: str, changes: Changes) -> dict[str, str]:
    """Make three tries of all rounds of a user together."""
    ends = dict.fromkeys(changes, "late")

    async def save(http: httpx2.AsyncClient, name: str) -> None:
        asked, path = 0.0, "/users/" + quote(name, safe="")
        for number in range(3):
            if number:
                await asyncio.sleep(asked + drawn())
            try:
                answer, told = await http.get(path), told_by
                if usable(answer):
                    match = {"if-match": answer.headers["etag"]}
                    user = answer.json() | changes[name]
                    answer, told = await http.put(path, json=user, headers=match), end_of
            except httpx2.TransportError:
                ends[name], asked = "lost", 0
                continue
            ends[name], asked = told(answer), seconds_asked(answer)
            if answer.status_code not in {412, 429, 503} or asked > 1:
                return

    with suppress(TimeoutError):
        async with asyncio.timeout(3), httpx2.AsyncClient(base_url=url, limits=FOUR) as http:
            await asyncio.gather(*(save(http, name) for name in changes))
    return ends


@pytest.mark.parametrize(
    "answer",
    [
        way(),
        way(all_of=gathered),
        way(all_of=waited_for),
        way(timeout=0.9),
        way(seconds=2.8),
        that_reads_anew,
    ],
    ids=["plain", "gather", "wait", "timeout", "margin", "semaphore"],
)
def test_saving_solved(answer: Answer) -> None:
    """Whatever holds the five points solves it."""
    assert_solved(EXERCISE, answer)


def test_saving_stub() -> None:
    """The stub is not attempted."""

    async def stub(url: str, changes: Changes) -> dict[str, str]:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (asks_nobody, "the service was not asked", "/users/"),
        (way(limits=httpx2.Limits()), "requests were under way at a time", "Limits"),
        (way(limits=httpx2.Limits(max_connections=2)), "no more than 2 at a time", "together"),
        (way(all_of=in_a_row), "no more than 1 at a time", "Notebook 30"),
        (way(all_of=waits_out), "did not return", "nothing is left to wait for"),
        (client_for_each, "over 8 connections", "once for all? Notebook 30"),
        (never_closed, "stayed open", "aclose"),
        (way(seconds=None), "did not come back", "bounds the whole? Notebook 30"),
        (way(seconds=4.5), "came back after 4.5 seconds", "for all users together"),
        (way(seconds=3.3), "came back after 3.3 seconds", "for all users together"),
        (way(seconds=1), "says 'late' ", "Notebook"),
        (way(seconds=1.3), "says 'late' ", "Notebook"),
        (way(seconds=2.4), "says 'late' after 2.4 seconds", "is not late. Notebook 30"),
        (way(quoted=str), "a path that is no user's", "quote(name"),
        (way(quoted=quote), "a path that is no user's", "quote(name"),
        (way(all_of=four_workers), "no request of another came meanwhile", "holds no place"),
        (way(places=places_of), "no request of another came meanwhile", "Notebook 30"),
        (way(all_of=held), "no request of another came meanwhile", "Notebook 30"),
        (left_behind, "1 task went on without it", "Notebook 30"),
        (slow_to_leave, "did not end at once", "Notebook 30"),
        (seconds_for_each, "over 8 connections", "once for all? Notebook 30"),
        (way(all_of=runs_on), "went on without it", "Notebook 30"),
        (swallows, "did not end with a CancelledError", "Notebook 30"),
        (way(default=None), "are missing from what came back", "begin? Notebook 30"),
        (way(default="lost"), "a GET dripped, and your function says 'lost'", "Notebook 30"),
        (way(errors=httpx2.ConnectError), "your function raised", "costs no other its change"),
        (way(lost="late"), "says 'late' where 'lost' is true", "Notebook 32"),
        (way(match=lambda *_: {}), "a PUT came without an If-Match", "Notebook 31"),
        (way(match=lambda *_: {"if-match": "*"}), "that names a state", "Notebook 31"),
        (way(match=lambda _, first: tag(first, None)), "says 'CHANGED'", "read again"),
        (way(make=lambda _, change, first: first | change), "and that is gone", "same answer"),
        (way(make=known_fields), "of a user is another now", "send all that you have read"),
        (
            way(make=lambda _read, change, _first: change),
            "is another now, and nobody",
            "replaces the whole user",
        ),
        (way(rounds=1), "gave up after 1", "Three rounds of reading and writing in all"),
        (way(rounds=2), "gave up after 2", "and then the end is told. Notebook 31"),
        (way(rounds=4), "the PUT came 4 times", "Three rounds of reading and writing"),
        (way(end=of_any_json), "JSON was no problem", "nowhere else. Notebook 31"),
        (way(end=of_every_body), "your function raised JSONDecodeError", "costs no other"),
        (way(end=by_status), "and your function says '", "where the content type says"),
        (way(end=by_title), "says 'not now'", "Notebook"),
        (way(end=always_saved), "saved", "Notebook 31"),
        (way(tries=1), "gave up after 1", "Three tries of each request"),
        (way(tries=2), "gave up after 2", "Count the first one too. Notebook 32"),
        (way(tries=4), "came 4 times", "Count the first one too. Notebook 32"),
        (way(again=(503,)), "each PUT got 429, and your function gave up after 1", "Three tries"),
        (way(again=(429, 503, 500, 502, 409)), "came 3 times", "Only 429, 503 and"),
        (way(pause=lambda: 0), "a request was sent again at once", "Notebook 32"),
        (way(pause=lambda: 0.2), "were as long as each other", "come back together"),
        (way(pause=of_two), "were as long as each other", "Draw each pause anew"),
        (way(pause=of_each_task), "were as long as each other", "Draw each pause anew"),
        (way(pause=between(0, 0.3)), "a request was sent again at once", "Notebook 32"),
        (way(pause=evenly(0.1, 0.2)), "none was near .", "from the whole range"),
        (way(pause=evenly(0.05, 0.2)), "none was near .3 seconds", "Notebook 32"),
        (way(pause=between(0.05, 0.6)), "many were too long", "Notebook 32"),
        (way(asks=lambda _: 0), "came 3 times", "longer than a second is an end"),
        (way(asks=hours_only), "before the time that the service had asked for", "Add it"),
        (way(adds=max), "at the very moment that the service had named", "Add a random time"),
        (way(most=5000), " got ", "longer than a second is an end"),
        (way(pause=lambda: 1.15), "a request was sent again too late", ".3 seconds at most"),
        (way(pause=between(0.3, 0.65)), "sent again too late", ".3 seconds at most"),
        (shielded, "requests went on without it", "Who cancels a request"),
        (
            way(limits=httpx2.Limits(max_connections=4, max_keepalive_connections=0)),
            "over 16",
            "30",
        ),
        (way(end=also_412), "no PUT was answered with 2xx", "Only a 2xx to a PUT"),
        (skips_the_empty, "a change was empty: your function says saved", "Only a 2xx"),
        (
            way(skips=lambda user, read: user == read),
            "no PUT was answered with 2xx",
            "Only a 2xx to a PUT",
        ),
        (way(make=without_nulls), "of a user is another now", "send all that you have read"),
        (way(make=nested), "did not change as it was to", "replaces the whole field"),
        (way(end=by_exact_form), "named its charset, and your function says '409'", "after a `;`"),
        (way(end=of_trusted_body), "your function raised", "Notebook"),
        (way(end=of_any_code), "says '17' where '410' is true", "a text"),
        (way(end=below_400), "elsewhere: your function says saved", "Only a 2xx to a PUT"),
        (way(end=only_200), "where 'saved' is true", "Notebook"),
        (way(match=starred), "an If-Match that names a state", "Notebook 31"),
        (way(unusable=httpx2.HTTPStatusError), "your function raised", "costs no other"),
        (way(errors=Exception, unusable=httpx2.HTTPStatusError), "says 'lost' where '200'", "PUT"),
        (way(also_of_get=True), "answered with 412, and the GET came 3 times", "412 to a PUT"),
        (way(tried=(httpx2.ReadError, httpx2.RemoteProtocolError)), "gave up at once", "pause"),
        (way(most=2), "came 2 times", "longer than a second is an end"),
        (in_one_breath, "and the GET came 3 times", "Only a 412 to a PUT"),
    ],
)
def test_saving_wrong(answer: Answer, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
