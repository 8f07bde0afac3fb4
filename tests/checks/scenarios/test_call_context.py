from __future__ import annotations

import asyncio
import contextvars
import os
import random
import re
import secrets
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

import pytest

from labsvc.checks import run_check
from labsvc.rpc import context as call_context
from labsvc.rpc.context import CallContext, ContextExecutor
from labsvc.shop.v1 import user_pb2
from tests.wrong_answer import assert_not_attempted, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Pairs = list[tuple[str, Any]]
FIXED = secrets.token_hex(16)
KEYS = ("traceparent", "x-request-id")


TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-[0-9a-f]{16}-([0-9a-f]{2})")


def outgoing(incoming: Pairs, new_trace: str = "", new_id: str = "") -> Pairs:
    """Solve the exercise."""
    came = dict(incoming)
    match = TRACEPARENT.fullmatch(came.get("traceparent", ""))
    trace, flags = match.groups() if match else (new_trace or secrets.token_hex(16), "01")
    return [
        ("traceparent", f"00-{trace}-{secrets.token_hex(8)}-{flags}"),
        ("x-request-id", came.get("x-request-id") or new_id or secrets.token_hex(8)),
    ]


def with_the_package(incoming: Pairs) -> Pairs:
    """Solve it with the package's own module."""
    return [pair for pair in CallContext.received(incoming).metadata() if pair[0] in KEYS]


class Next:
    """Solve it with an object that knows the two keys, and splits what it has looked at."""

    def __init__(self, *kept: str) -> None:
        self.kept = kept

    def __call__(self, incoming: Pairs) -> Pairs:
        """Return the two pairs."""
        traceparent, request_id = (
            next((value for key, value in incoming if key == kept), "") for kept in self.kept
        )
        if not TRACEPARENT.fullmatch(traceparent):
            traceparent = f"00-{uuid.uuid4().hex}-0-01"
        version, trace, _, flags = traceparent.split("-")
        parent = "-".join([version, trace, f"{random.getrandbits(63) + 1:016x}", flags])
        return list(zip(self.kept, (parent, request_id or str(uuid.uuid4())), strict=True))


def from_a_list(incoming: Pairs) -> Pairs:
    """Solve it with a loop over what came, and a list that is made as it goes."""
    trace, flags, request_id = os.urandom(16).hex(), "01", ""
    for key, value in incoming:
        if key == "x-request-id":
            request_id = value
        elif key == "traceparent" and TRACEPARENT.match(value) and len(value) == 55:
            trace, flags = value[3:35], value[53:]
    made = [("traceparent", f"00-{trace}-{os.urandom(8).hex()}-{flags}")]
    made.insert(0, ("x-request-id", request_id or os.urandom(4).hex()))
    return made


async def in_a_coroutine(incoming: Pairs) -> Pairs:
    """Solve it as a coroutine."""
    return outgoing(incoming)


def splits(incoming: Pairs) -> Pairs:
    """Take a traceparent apart without looking at it."""
    came = dict(incoming)
    trace = came.get("traceparent", f"00-{secrets.token_hex(16)}--01").split("-")[1]
    parent = ("traceparent", f"00-{trace}-{secrets.token_hex(8)}-01")
    return [parent, ("x-request-id", came.get("x-request-id") or secrets.token_hex(8))]


def searches(incoming: Pairs) -> Pairs:
    """Take a traceparent out of the middle of something."""
    match = TRACEPARENT.search(dict(incoming).get("traceparent", ""))
    parent = f"00-{match[1]}-{secrets.token_hex(8)}-{match[2]}" if match else ""
    kept = [pair for pair in outgoing(incoming) if pair[0] != "traceparent" or not match]
    return [*kept, ("traceparent", parent)] if match else kept


def tracestate_too(incoming: Pairs) -> Pairs:
    """Send tracestate on as well."""
    return [*outgoing(incoming), *(pair for pair in incoming if pair[0] == "tracestate")]


def always_sampled(incoming: Pairs) -> Pairs:
    """Send the flags 01 whatever came."""
    return [
        (key, value[:-2] + "01" if key == "traceparent" else value)
        for key, value in outgoing(incoming)
    ]


def replaced(key: str, value: Callable[[dict[str, Any]], Any]) -> Callable[[Pairs], Pairs]:
    """Return an answer that is right but for one value."""

    def answer(incoming: Pairs) -> Pairs:
        return [*(p for p in outgoing(incoming) if p[0] != key), (key, value(dict(incoming)))]

    return answer


def everything(incoming: Pairs) -> Pairs:
    """Send all on."""
    return incoming


def also_the_user(incoming: Pairs) -> Pairs:
    """Send one key too many."""
    return [*outgoing(incoming), ("user-bin", b"x")]


def must_be_there(incoming: Pairs) -> Pairs:
    """Trust that every caller sends both keys."""
    came = dict(incoming)
    _, trace, _, flags = came["traceparent"].split("-")
    parent = f"00-{trace}-{secrets.token_hex(8)}-{flags}"
    return [("traceparent", parent), ("x-request-id", came["x-request-id"])]


def as_lines(incoming: Pairs) -> list[str]:
    """Return lines, as HTTP has them."""
    return [f"{key}: {value}" for key, value in outgoing(incoming)]


def bad_keys(incoming: Pairs) -> Pairs:
    """Write the keys in title case."""
    return [(key.title(), value) for key, value in outgoing(incoming)]


@pytest.mark.parametrize(
    "answer", [outgoing, with_the_package, Next(*KEYS), from_a_list, in_a_coroutine]
)
def test_outgoing_solved(answer: Callable[..., Any]) -> None:
    """Two keys, the ids kept, a new span: solved, by hand or by the package."""
    assert str(run_check("24-outgoing", answer)) == (
        "solved\n"
        "  each call carried its trace and its request id, and no secret\n"
        "  counts: calls 12"
    )


NEW = "00-{}-{}-01"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (everything, "the caller's token", "Send two keys"),
        (also_the_user, "other keys than the two", "no others"),
        (as_lines, "refused to send", "pairs of strings"),
        (lambda incoming: dict(outgoing(incoming)), "returned a dict", "asks for a list"),
        (must_be_there, "raised KeyError", "print what it works with"),
        (searches, "malformed, and the trace id in it was sent on", "first to its last"),
        (tracestate_too, "other keys than the two", "no others"),
        (splits, "was not sampled, flags 00", "not yours to change"),
        (always_sampled, "the flags 01 were sent on", "not yours to change"),
        (bad_keys, "refused to send", "lower case"),
        (replaced("traceparent", lambda _: "00-1-2-01"), "without a valid", "Four fields"),
        (
            replaced(
                "traceparent", lambda _: NEW.format(secrets.token_hex(16), secrets.token_hex(8))
            ),
            "trace id that came in was not sent on",
            "second of the four",
        ),
        (
            replaced("traceparent", lambda c: c.get("traceparent") or outgoing([])[0][1]),
            "still that of the caller",
            "new span id",
        ),
        (
            lambda incoming: outgoing(incoming, new_trace=FIXED),
            "got the same trace id",
            "inside the function",
        ),
        (
            lambda incoming: outgoing(incoming, new_id=FIXED),
            "got the same request id",
            "new one for each",
        ),
        (
            replaced("x-request-id", lambda _: secrets.token_hex(8)),
            "request id that came in was not sent on",
            "x-request-id",
        ),
        (
            replaced("x-request-id", lambda c: c.get("x-request-id", "")),
            "left without a request id",
            "random one",
        ),
        (lambda incoming: incoming.clear(), "returned None", "`return`"),
        (lambda incoming: incoming.traceparent, "raised AttributeError", "print what"),
    ],
)
def test_outgoing_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("24-outgoing", answer, guarantee, hint)


def name(stub: Any, user_id: str) -> str:
    """Ask for one user."""
    request = user_pb2.GetUserRequest(user_id=user_id)
    return str(stub.GetUser(request, timeout=10).user.name)


def ask_all(stub: Any, user_ids: list[str]) -> list[str]:
    """Solve the exercise."""
    with ThreadPoolExecutor(len(user_ids)) as pool:
        copies = [contextvars.copy_context() for _ in user_ids]
        work = zip(copies, user_ids, strict=True)
        calls = [pool.submit(copy.run, name, stub, user_id) for copy, user_id in work]
        return [call.result() for call in calls]


def with_the_executor(stub: Any, user_ids: list[str]) -> list[str]:
    """Solve it with the package's own executor."""
    with ContextExecutor(len(user_ids)) as pool:
        return list(pool.map(lambda user_id: name(stub, user_id), user_ids))


def by_futures(stub: Any, user_ids: list[str]) -> list[str]:
    """Solve it with the calls' own futures, which are all started here."""
    requests = [user_pb2.GetUserRequest(user_id=user_id) for user_id in user_ids]
    calls = [stub.GetUser.future(request, timeout=3) for request in requests]
    return [call.result().user.name for call in calls]


def bare_threads(stub: Any, user_ids: list[str]) -> list[str]:
    """Solve it with threads, a copy for each, and a place in a list for each name."""
    names = [""] * len(user_ids)

    def fill(place: int) -> None:
        names[place] = name(stub, user_ids[place])

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(fill, place))
        for place in range(len(user_ids))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return names


def to_threads(stub: Any, user_ids: list[str]) -> list[str]:
    """Solve it with asyncio, whose `to_thread` takes the context along."""

    async def ask() -> list[str]:
        return await asyncio.gather(*(asyncio.to_thread(name, stub, one) for one in user_ids))

    loop = asyncio.new_event_loop()
    try:
        loop.set_default_executor(ThreadPoolExecutor(len(user_ids)))
        return loop.run_until_complete(ask())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def hands_the_context_over(stub: Any, user_ids: list[str]) -> list[str]:
    """Solve it with what is current now, made current in each thread by the package."""
    now = call_context.current()
    assert now is not None

    def ask(user_id: str) -> str:
        with call_context.use(now):
            return name(stub, user_id)

    with ThreadPoolExecutor(len(user_ids)) as pool:
        return list(pool.map(ask, user_ids))


def loses_it(stub: Any, user_ids: list[str]) -> list[str]:
    """Use a plain pool."""
    with ThreadPoolExecutor(len(user_ids)) as pool:
        return list(pool.map(lambda user_id: name(stub, user_id), user_ids))


def one_copy(stub: Any, user_ids: list[str]) -> list[str]:
    """Share one copy among all threads."""
    copy = contextvars.copy_context()
    with ThreadPoolExecutor(len(user_ids)) as pool:
        return list(pool.map(lambda user_id: copy.run(name, stub, user_id), user_ids))


def one_by_one(stub: Any, user_ids: list[str]) -> list[str]:
    """Use no threads."""
    return [name(stub, user_id) for user_id in user_ids]


def small_pool(stub: Any, user_ids: list[str]) -> list[str]:
    """Use two threads."""
    with ContextExecutor(2) as pool:
        return list(pool.map(lambda user_id: name(stub, user_id), user_ids))


def as_they_come(stub: Any, user_ids: list[str]) -> list[str]:
    """Return the names as they arrive."""
    with ContextExecutor(len(user_ids)) as pool:
        calls = [pool.submit(name, stub, user_id) for user_id in sorted(user_ids)]
        return sorted(call.result() for call in as_completed(calls))


def copies_in_the_thread(stub: Any, user_ids: list[str]) -> list[str]:
    """Copy the context where it is empty."""
    with ThreadPoolExecutor(len(user_ids)) as pool:
        return list(pool.map(lambda one: contextvars.copy_context().run(name, stub, one), user_ids))


def waits_in_turn(stub: Any, user_ids: list[str]) -> list[str]:
    """Submit a call when the one before has its result."""
    with ContextExecutor(len(user_ids)) as pool:
        return [pool.submit(name, stub, user_id).result() for user_id in user_ids]


def once_for_each(stub: Any, user_ids: list[str]) -> list[str]:
    """Ask once for a user who is named twice."""
    with ContextExecutor(len(user_ids)) as pool:
        known = sorted(set(user_ids))
        return list(pool.map(lambda user_id: name(stub, user_id), known))


def only_the_first(stub: Any, user_ids: list[str]) -> list[str]:
    """Ask once and give everybody this name."""
    with ContextExecutor(len(user_ids)) as pool:
        calls = [pool.submit(name, stub, user_ids[0]) for _ in user_ids]
        return [call.result() for call in calls]


def returns_messages(stub: Any, user_ids: list[str]) -> list[Any]:
    """Return the users in place of their names."""

    def ask(user_id: str) -> Any:
        return stub.GetUser(user_pb2.GetUserRequest(user_id=user_id), timeout=3).user

    with ContextExecutor(len(user_ids)) as pool:
        return list(pool.map(ask, user_ids))


def returns_a_map(stub: Any, user_ids: list[str]) -> Any:
    """Return what has still to be read."""
    with ContextExecutor(len(user_ids)) as pool:
        return pool.map(lambda user_id: name(stub, user_id), user_ids)


def too_short(stub: Any, user_ids: list[str]) -> list[str]:
    """Give a call less time than it takes."""

    def ask(user_id: str) -> str:
        request = user_pb2.GetUserRequest(user_id=user_id)
        return str(stub.GetUser(request, timeout=0.0001).user.name)

    with ContextExecutor(len(user_ids)) as pool:
        return list(pool.map(ask, user_ids))


async def on_a_loop(stub: Any, user_ids: list[str]) -> list[str]:
    """Be a coroutine where a plain function is called."""
    return ask_all(stub, user_ids)


FIRST: list[contextvars.Context] = []


def first_context(stub: Any, user_ids: list[str]) -> list[str]:
    """Keep the context of the first request for all that follow."""
    FIRST[:] = FIRST or [contextvars.copy_context()]
    with ThreadPoolExecutor(len(user_ids)) as pool:
        calls = [pool.submit(FIRST[0].copy().run, name, stub, one) for one in user_ids]
        return [call.result() for call in calls]


def no_timeout(stub: Any, user_ids: list[str]) -> list[str]:
    """Wait for ever."""

    def ask(user_id: str) -> str:
        return str(stub.GetUser(user_pb2.GetUserRequest(user_id=user_id)).user.name)

    with ContextExecutor(len(user_ids)) as pool:
        return list(pool.map(ask, user_ids))


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Forget the context that a wrong answer kept."""
    yield
    FIRST.clear()


@pytest.mark.parametrize(
    "answer",
    [ask_all, with_the_executor, by_futures, bare_threads, to_threads, hands_the_context_over],
)
def test_parallel_solved(answer: Callable[..., Any]) -> None:
    """A copy of the context for each call solves the exercise."""
    assert str(run_check("24-parallel", answer)) == (
        "solved\n"
        "  all users were asked at once, and each call knew its request\n"
        "  counts: requests 3"
    )


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (loses_it, "without the id of the request", "copy the one of now"),
        (one_copy, "one copy of the context", "a copy for each call"),
        (one_by_one, "not asked all at once", "Submit all calls"),
        (small_pool, "not asked all at once", "large enough"),
        (as_they_come, "order of the ids", "futures in a list"),
        (lambda stub, user_ids: (stub, user_ids[99]), "raised IndexError", "print what"),
        (first_context, "that is current now", "copy the one of now"),
        (no_timeout, "a call had no timeout", "takes a timeout"),
        (copies_in_the_thread, "without the id of the request", "copy the one of now"),
        (waits_in_turn, "not asked all at once", "before you wait for a result"),
        (once_for_each, "not asked all at once", "Submit all calls"),
        (only_the_first, "order of the ids", "futures in a list"),
        (returns_messages, "returned a list of User", "list[str]"),
        (returns_a_map, "returned a generator", "finished value"),
        (too_short, "ended with DEADLINE_EXCEEDED", "a timeout of some seconds"),
        (on_a_loop, "has to be a plain `def`", "called from a thread"),
    ],
)
def test_parallel_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("24-parallel", answer, guarantee, hint)


def test_outgoing_stub() -> None:
    """The stub is not attempted."""

    def stub(incoming: Any) -> Any:
        raise NotImplementedError

    assert_not_attempted("24-outgoing", stub)


def test_parallel_stub() -> None:
    """The stub is not attempted."""

    def stub(stub: Any, user_ids: Any) -> Any:
        raise NotImplementedError

    assert_not_attempted("24-parallel", stub)
