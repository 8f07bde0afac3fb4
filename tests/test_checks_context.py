from __future__ import annotations

import contextvars
import secrets
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING, Any

import pytest

from labsvc.checks import run_check
from labsvc.lab import Lab
from labsvc.rpc.context import ContextExecutor
from labsvc.shop.v1 import user_pb2
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Pairs = list[tuple[str, Any]]
FIXED = secrets.token_hex(16)


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[Lab]:
    """Run the learner's own lab."""
    with Lab() as running:
        yield running


def outgoing(incoming: Pairs, new_trace: str = "") -> Pairs:
    """Solve the exercise."""
    came = dict(incoming)
    start = new_trace or secrets.token_hex(16)
    trace = came.get("traceparent", f"00-{start}-").split("-")[1]
    return [
        ("traceparent", f"00-{trace}-{secrets.token_hex(8)}-01"),
        ("x-request-id", came.get("x-request-id") or secrets.token_hex(8)),
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
    trace = came["traceparent"].split("-")[1]
    span = secrets.token_hex(8)
    return [("traceparent", f"00-{trace}-{span}-01"), ("x-request-id", came["x-request-id"])]


def bad_keys(incoming: Pairs) -> Pairs:
    """Write the keys in title case."""
    return [(key.title(), value) for key, value in outgoing(incoming)]


def test_outgoing_solved() -> None:
    """Two keys, the ids kept, a new span: solved; a dict will do as well."""
    for answer in (outgoing, lambda incoming: dict(outgoing(incoming))):
        assert str(run_check("04-outgoing", answer)) == (
            "solved\n"
            "  each call carries its trace and its request id, and no secret\n"
            "  counts: calls 6, traces kept 2"
        )


NEW = "00-{}-{}-01"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (everything, "the caller's token", "Send two keys"),
        (also_the_user, "keys were sent that were not asked for", "no others"),
        (must_be_there, "came without a traceparent", ".get"),
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
            "the same span id",
            "new span id",
        ),
        (
            lambda incoming: outgoing(incoming, new_trace=FIXED),
            "got the same trace id",
            "inside the function",
        ),
        (
            replaced("x-request-id", lambda _: secrets.token_hex(8)),
            "request id that came in was not sent on",
            "x-request-id",
        ),
        (
            replaced("x-request-id", lambda c: c.get("x-request-id", "none")),
            "did not get one of its own",
            "random one",
        ),
        (lambda incoming: incoming.clear(), "refused to send", "list of pairs"),
        (lambda incoming: incoming.traceparent, "raised AttributeError", "cell of its own"),
    ],
)
def test_outgoing_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("04-outgoing", answer, guarantee, hint)


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


@pytest.mark.parametrize("answer", [ask_all, with_the_executor])
def test_parallel_solved(answer: Callable[..., Any]) -> None:
    """A copy of the context for each call solves the exercise."""
    assert str(run_check("04-parallel", answer)) == (
        "solved\n"
        "  all users were asked at once, and each call knew its request\n"
        "  counts: calls 4, at once 4, with the request id 4"
    )


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (loses_it, "without the id of the request", "empty context"),
        (one_copy, "one copy of the context", "a copy for each call"),
        (one_by_one, "not asked all at once", "Submit all calls"),
        (small_pool, "not asked all at once", "large enough"),
        (as_they_come, "order of the ids", "futures in a list"),
        (lambda stub, user_ids: (stub, user_ids[9]), "raised IndexError", "cell of its own"),
    ],
)
def test_parallel_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("04-parallel", answer, guarantee, hint)


def test_stubs() -> None:
    """The stubs are not attempted."""

    def one(incoming: Any) -> Any:
        raise NotImplementedError

    def two(stub: Any, user_ids: Any) -> Any:
        raise NotImplementedError

    assert run_check("04-outgoing", one).state == "not attempted"
    assert run_check("04-parallel", two).state == "not attempted"
