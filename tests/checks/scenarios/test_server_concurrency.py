from __future__ import annotations

import asyncio
import os
import queue
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import grpc
import pytest

from labsvc.checks import run_check
from labsvc.shop.v1 import user_pb2
from tests.wrong_answer import assert_not_attempted, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handler = Callable[[Any, Any], Any]
    Query = Callable[[Any], Any]

REFUSED = grpc.StatusCode.RESOURCE_EXHAUSTED


def limited(handler: Handler, calls: int) -> Handler:
    """Solve the exercise."""
    running: Counter[str] = Counter()
    lock = threading.Lock()

    def handle(request: Any, context: Any) -> Any:
        user = request.user_id
        with lock:
            full = running[user] >= calls
            running[user] += 0 if full else 1
        if full:
            context.abort(REFUSED, "try later")
        try:
            return handler(request, context)
        finally:
            with lock:
                running[user] -= 1

    return handle


def semaphore_for_each_user(handler: Handler, calls: int) -> Handler:
    """Solve it with a semaphore for each user."""
    lock = threading.Lock()
    places: dict[str, threading.BoundedSemaphore] = {}

    def handle(request: Any, context: Any) -> Any:
        with lock:
            free = places.setdefault(request.user_id, threading.BoundedSemaphore(calls))
        if not free.acquire(blocking=False):
            context.abort(REFUSED, "try later")
        try:
            return handler(request, context)
        finally:
            free.release()

    return handle


def waits(handler: Handler, calls: int) -> Handler:
    """Let what is too much wait."""
    places: dict[str, Any] = defaultdict(lambda: threading.BoundedSemaphore(calls))

    def handle(request: Any, context: Any) -> Any:
        with places[request.user_id]:
            return handler(request, context)

    return handle


def waits_a_while(handler: Handler, calls: int) -> Handler:
    """Wait for a place before refusing."""
    places: dict[str, Any] = defaultdict(lambda: threading.BoundedSemaphore(calls))

    def handle(request: Any, context: Any) -> Any:
        free = places[request.user_id]
        if not free.acquire(timeout=0.3):
            context.abort(REFUSED, "try later")
        try:
            return handler(request, context)
        finally:
            free.release()

    return handle


def no_limit(handler: Handler, calls: int) -> Handler:
    """Return the handler as it is."""
    return handler


def limit_for_each_call(handler: Handler, calls: int) -> Handler:
    """Make a count for every call."""

    def handle(request: Any, context: Any) -> Any:
        return limited(handler, calls)(request, context)

    return handle


def limit_for_all_users(handler: Handler, calls: int) -> Handler:
    """Count all calls together."""
    free = threading.BoundedSemaphore(calls)

    def handle(request: Any, context: Any) -> Any:
        if not free.acquire(blocking=False):
            context.abort(REFUSED, "try later")
        try:
            return handler(request, context)
        finally:
            free.release()

    return handle


SHARED: dict[str, Any] = {}


def limit_for_all_handlers(handler: Handler, calls: int) -> Handler:
    """Keep the count outside."""

    def handle(request: Any, context: Any) -> Any:
        free = SHARED.setdefault(request.user_id, threading.BoundedSemaphore(calls))
        if not free.acquire(blocking=False):
            context.abort(REFUSED, "try later")
        try:
            return handler(request, context)
        finally:
            free.release()

    return handle


def gives_back_only_after_success(handler: Handler, calls: int) -> Handler:
    """Give the place back on the last line."""
    places: dict[str, Any] = defaultdict(lambda: threading.BoundedSemaphore(calls))

    def handle(request: Any, context: Any) -> Any:
        if not places[request.user_id].acquire(blocking=False):
            context.abort(REFUSED, "try later")
        reply = handler(request, context)
        places[request.user_id].release()
        return reply

    return handle


def never_gives_back(handler: Handler, calls: int) -> Handler:
    """Count the calls that came in, ever."""
    running: Counter[str] = Counter()
    lock = threading.Lock()

    def handle(request: Any, context: Any) -> Any:
        with lock:
            running[request.user_id] += 1
            full = running[request.user_id] > calls
        if full:
            context.abort(REFUSED, "try later")
        return handler(request, context)

    return handle


def another_code(handler: Handler, calls: int) -> Handler:
    """Refuse with UNAVAILABLE."""
    inner = limited(handler, calls)

    class Other:
        def __init__(self, context: Any) -> None:
            self.context = context

        def abort(self, code: Any, text: str) -> None:
            if code is REFUSED:
                code = grpc.StatusCode.UNAVAILABLE
            self.context.abort(code, text)

    def handle(request: Any, context: Any) -> Any:
        return inner(request, Other(context))

    return handle


def answers_without_abort(handler: Handler, calls: int) -> Handler:
    """Return an empty answer instead of a refusal."""

    class Kind:
        def __init__(self, context: Any) -> None:
            self.context = context

        def abort(self, code: Any, text: str) -> None:
            if code is not REFUSED:
                self.context.abort(code, text)
            raise KeyError

    inner = limited(handler, calls)

    def handle(request: Any, context: Any) -> Any:
        try:
            return inner(request, Kind(context))
        except KeyError:
            return user_pb2.GetUserResponse()

    return handle


def one_too_few(handler: Handler, calls: int) -> Handler:
    """Refuse when the last place is taken."""
    return limited(handler, calls - 1)


def slip(handler: Handler, calls: int) -> Handler:
    """Write a name that does not exist."""

    def handle(request: Any, context: Any) -> Any:
        return handler(request, contxt)  # type: ignore[name-defined]  # noqa: F821

    return handle


def returns_nothing(handler: Handler, calls: int) -> None:
    """Forget to return the inner function."""


def set_code_instead_of_abort(handler: Handler, calls: int) -> Handler:
    """Solve it with a status that is set, and tokens that a list gives and takes as one step."""
    tokens: dict[str, list[object]] = {}

    def handle(request: Any, context: Any) -> Any:
        free = tokens.setdefault(request.user_id, [None] * calls)
        try:
            token = free.pop()
        except IndexError:
            context.set_code(REFUSED)
            return user_pb2.GetUserResponse()
        try:
            return handler(request, context)
        finally:
            free.append(token)

    return handle


def looks_without_a_lock(handler: Handler, calls: int) -> Handler:
    """Look and count in two steps."""
    running: Counter[str] = Counter()

    def handle(request: Any, context: Any) -> Any:
        user = request.user_id
        if running[user] >= calls:
            context.abort(REFUSED, "try later")
        running[user] += 1
        try:
            return handler(request, context)
        finally:
            running[user] -= 1

    return handle


def looks_and_counts_under_two_locks(handler: Handler, calls: int) -> Handler:
    """Take the lock twice."""
    running: Counter[str] = Counter()
    lock = threading.Lock()

    def handle(request: Any, context: Any) -> Any:
        user = request.user_id
        with lock:
            full = running[user] >= calls
        if full:
            context.abort(REFUSED, "try later")
        with lock:
            running[user] += 1
        try:
            return handler(request, context)
        finally:
            with lock:
                running[user] -= 1

    return handle


def makes_a_semaphore_without_a_lock(handler: Handler, calls: int) -> Handler:
    """Look for the user's semaphore, then make it."""
    places: dict[str, threading.Semaphore] = {}

    def handle(request: Any, context: Any) -> Any:
        if request.user_id not in places:
            places[request.user_id] = threading.Semaphore(calls)
        free = places[request.user_id]
        if not free.acquire(blocking=False):
            context.abort(REFUSED, "try later")
        try:
            return handler(request, context)
        finally:
            free.release()

    return handle


def gives_back_without_the_lock(handler: Handler, calls: int) -> Handler:
    """Enter under the lock, and leave without it."""
    running: Counter[str] = Counter()
    lock = threading.Lock()

    def handle(request: Any, context: Any) -> Any:
        user = request.user_id
        with lock:
            if running[user] >= calls:
                context.abort(REFUSED, "try later")
            running[user] += 1
        try:
            return handler(request, context)
        finally:
            running[user] -= 1

    return handle


def gives_back_when_the_call_ends(handler: Handler, calls: int) -> Handler:
    """Give the place back as soon as the caller has left."""
    places: dict[str, threading.Semaphore] = {}

    def handle(request: Any, context: Any) -> Any:
        free = places.setdefault(request.user_id, threading.Semaphore(calls))
        if not free.acquire(blocking=False):
            context.abort(REFUSED, "try later")
        context.add_callback(free.release)
        return handler(request, context)

    return handle


def forgets_the_others(handler: Handler, calls: int) -> Handler:
    """Delete the user's count when one call leaves."""
    running: Counter[str] = Counter()
    lock = threading.Lock()

    def handle(request: Any, context: Any) -> Any:
        user = request.user_id
        with lock:
            if running[user] >= calls:
                context.abort(REFUSED, "try later")
            running[user] += 1
        try:
            return handler(request, context)
        finally:
            with lock:
                del running[user]

    return handle


def gives_back_when_all_have_ended(handler: Handler, calls: int) -> Handler:
    """Count anew only when nobody is inside."""
    entered: Counter[str] = Counter()
    inside: Counter[str] = Counter()
    lock = threading.Lock()

    def handle(request: Any, context: Any) -> Any:
        user = request.user_id
        with lock:
            if entered[user] >= calls:
                context.abort(REFUSED, "try later")
            entered[user] += 1
            inside[user] += 1
        try:
            return handler(request, context)
        finally:
            with lock:
                inside[user] -= 1
                if not inside[user]:
                    entered[user] = 0

    return handle


def gives_back_after_exceptions(handler: Handler, calls: int) -> Handler:
    """Give the place back after what `except Exception` catches."""
    places: dict[str, threading.Semaphore] = {}

    def handle(request: Any, context: Any) -> Any:
        free = places.setdefault(request.user_id, threading.Semaphore(calls))
        if not free.acquire(blocking=False):
            context.abort(REFUSED, "try later")
        try:
            reply = handler(request, context)
        except Exception:
            free.release()
            raise
        free.release()
        return reply

    return handle


def gives_back_for_refused_calls(handler: Handler, calls: int) -> Handler:
    """Let a refused call give back a place."""
    running: Counter[str] = Counter()
    lock = threading.Lock()

    def handle(request: Any, context: Any) -> Any:
        user = request.user_id
        try:
            with lock:
                if running[user] >= calls:
                    context.abort(REFUSED, "try later")
                running[user] += 1
            return handler(request, context)
        finally:
            with lock:
                running[user] -= 1

    return handle


def holds_the_lock(handler: Handler, calls: int) -> Handler:
    """Run the handler under the lock."""
    lock = threading.Lock()

    def handle(request: Any, context: Any) -> Any:
        with lock:
            return handler(request, context)

    return handle


def answers_for_a_failed_handler(handler: Handler, calls: int) -> Handler:
    """Swallow the handler's error."""
    inner = limited(lambda request, context: _or_empty(handler, request, context), calls)

    def handle(request: Any, context: Any) -> Any:
        return inner(request, context)

    return handle


def _or_empty(handler: Handler, request: Any, context: Any) -> Any:
    try:
        return handler(request, context)
    except Exception:  # noqa: BLE001
        return user_pb2.GetUserResponse()


def drops_the_answer(handler: Handler, calls: int) -> Handler:
    """Forget to return what the handler returned."""
    inner = limited(handler, calls)

    def handle(request: Any, context: Any) -> Any:
        inner(request, context)

    return handle


def never_calls_the_handler(handler: Handler, calls: int) -> Handler:
    """Answer something."""

    def handle(request: Any, context: Any) -> Any:
        return user_pb2.GetUserResponse()

    return handle


def async_handler(handler: Handler, calls: int) -> Handler:
    """Return a handler for asyncio."""

    async def handle(request: Any, context: Any) -> Any:
        return handler(request, context)

    return handle


class Limited:
    """Solve it with objects: one that makes handlers, and a block for the place."""

    def __call__(self, handler: Handler, calls: int) -> Handler:
        """Return a handler that was made of a function and what it keeps."""
        place = partial(self.place, defaultdict(set), threading.RLock(), calls)
        return partial(self.handle, handler, place)

    def handle(self, handler: Handler, place: Any, request: Any, context: Any) -> Any:
        """Handle one call."""
        with place(request.user_id) as found:
            if not found:
                context.abort(REFUSED, "try later")
            return handler(request, context)

    @contextmanager
    def place(
        self, inside: dict[str, set[object]], lock: threading.RLock, calls: int, user: str
    ) -> Iterator[bool]:
        """Take a place and give it back; yield whether there was one."""
        me = object()
        with lock:
            if found := len(inside[user]) < calls:
                inside[user].add(me)
        try:
            yield found
        finally:
            with lock:
                inside[user].discard(me)


def tokens_in_a_queue(handler: Handler, calls: int) -> Handler:
    """Solve it with a bounded queue for each user."""
    lock = threading.Lock()
    queues: dict[str, queue.Queue[None]] = {}

    class Handles:
        def __call__(self, request: Any, context: Any) -> Any:
            with lock:
                places = queues.setdefault(request.user_id, queue.Queue(calls))
            try:
                places.put_nowait(None)
            except queue.Full:
                context.abort(REFUSED, "try later")
            try:
                return handler(request, context)
            finally:
                places.get_nowait()

    return Handles()


@pytest.mark.parametrize(
    "answer",
    [
        limited,
        semaphore_for_each_user,
        set_code_instead_of_abort,
        Limited(),
        tokens_in_a_queue,
    ],
)
def test_limit_solved(answer: Callable[..., Any]) -> None:
    """A count behind a lock, a semaphore for each user, and a list of tokens solve the exercise."""
    assert str(run_check("28-limit", answer)) == (
        "solved\n"
        "  what was too much was refused at once, and every place came back\n"
        "  counts: calls 10, served 3, refused 7"
    )


def test_limit_stub() -> None:
    """The stub is not attempted."""

    def stub(handler: Handler, calls: int) -> Handler:
        raise NotImplementedError

    assert_not_attempted("28-limit", stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (waits, "waited, and were not refused", "return at once"),
        (waits_a_while, "waited a while before", "look, and refuse"),
        (
            no_limit,
            "10 calls of one user ran at once, 3 were allowed",
            "take a place or give one back",
        ),
        (limit_for_each_call, "10 calls of one user ran at once", "for all calls together"),
        (limit_for_all_users, "a call of another user ended with RESOURCE_EXH", "who asks"),
        (limit_for_all_handlers, "a call of another handler ended with RES", "inside `limited`"),
        (gives_back_only_after_success, "after handlers had failed", "`finally` always is"),
        (never_gives_back, "one after the other were not served", "given back"),
        (another_code, "ended with UNAVAILABLE", "RESOURCE_EXHAUSTED says"),
        (answers_without_abort, "over the limit got an OK", "has to learn"),
        (one_too_few, "2 of 3 calls that had a place were served", "of this user are taken"),
        (looks_without_a_lock, "when they came at the same moment", "under one lock"),
        (looks_and_counts_under_two_locks, "when they came at the same moment", "under one lock"),
        (makes_a_semaphore_without_a_lock, "when they came at the same moment", "under one lock"),
        (gives_back_without_the_lock, "came and left at the same moment", "under the lock, too"),
        (gives_back_when_the_call_ends, "after a caller had given up", "told you"),
        (forgets_the_others, "more than one took its place", "the others keep theirs"),
        (gives_back_when_all_have_ended, "nobody could take its place", "as soon as"),
        (gives_back_after_exceptions, "after handlers had failed", "`finally` always is"),
        (gives_back_for_refused_calls, "6 calls of one user ran at once", "give one back"),
        (holds_the_lock, "while only 1 of 3 places was taken", "hold while the handler runs"),
        (answers_for_a_failed_handler, "its caller got OK instead", "let it pass"),
        (drops_the_answer, "returned None", "`return`"),
        (never_calls_the_handler, "the handler was never called", "goes to `handler`"),
        (async_handler, "is an `async def`, and has to be a plain `def`", "from a thread"),
        (slip, "NameError", "slip in the name"),
        (returns_nothing, "returned None", "`return`"),
    ],
)
def test_limit_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    SHARED.clear()
    assert_wrong("28-limit", answer, guarantee, hint)


def offloaded(query: Query, at_once: int) -> Handler:
    """Solve the exercise with a pool."""
    pool = ThreadPoolExecutor(at_once)

    async def handle(request: Any, context: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, query, request)

    return handle


def semaphore_given_back_by_the_thread(query: Query, at_once: int) -> Handler:
    """Solve it with a place that only the end of the query gives back."""
    pool = ThreadPoolExecutor(2 * at_once)
    free = asyncio.Semaphore(at_once)

    async def handle(request: Any, context: Any) -> Any:
        await free.acquire()
        running = asyncio.get_running_loop().run_in_executor(pool, query, request)
        running.add_done_callback(lambda _: free.release())
        return await asyncio.shield(running)

    return handle


def threads_of_its_own(query: Query, at_once: int) -> Handler:
    """Solve it with threads that take the calls from a queue."""
    waiting: queue.SimpleQueue[tuple[Future[Any], Any]] = queue.SimpleQueue()

    def work() -> None:
        while True:
            future, request = waiting.get()
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(query(request))
                except BaseException as error:  # noqa: BLE001
                    future.set_exception(error)

    for _ in range(at_once):
        threading.Thread(target=work, name="labsvc-test", daemon=True).start()

    async def handle(request: Any, context: Any) -> Any:
        future: Future[Any] = Future()
        waiting.put((future, request))
        return await asyncio.wrap_future(future)

    return handle


def asks_again_and_again(query: Query, at_once: int) -> Handler:
    """Solve it with a future that is looked at, and taken back when the caller leaves."""
    pool = ThreadPoolExecutor(at_once)

    async def handle(pool: ThreadPoolExecutor, request: Any, context: Any) -> Any:
        running = pool.submit(query, request)
        try:
            while not running.done():  # noqa: ASYNC110
                await asyncio.sleep(0.005)
            return running.result()
        finally:
            running.cancel()

    return partial(handle, pool)


def holds_its_place_to_the_end(query: Query, at_once: int) -> Handler:
    """Solve it with a place that a caller who leaves keeps until the query has ended."""
    pool = ThreadPoolExecutor(at_once)
    free = asyncio.BoundedSemaphore(at_once)

    class Handles:
        async def __call__(self, request: Any, context: Any) -> Any:
            async with free:
                running = asyncio.get_running_loop().run_in_executor(pool, query, request)
                try:
                    return await asyncio.shield(running)
                except asyncio.CancelledError:
                    await asyncio.wait([running])
                    raise

    return Handles()


@pytest.mark.parametrize(
    "answer",
    [
        offloaded,
        semaphore_given_back_by_the_thread,
        threads_of_its_own,
        asks_again_and_again,
        holds_its_place_to_the_end,
    ],
)
def test_blocking_solved(answer: Callable[..., Any]) -> None:
    """A pool, a semaphore that the query's end gives back, and threads of its own solve it."""
    assert str(run_check("28-blocking", answer)) == (
        "solved\n"
        "  the library never had more than it bears, and nobody else waited for it\n"
        "  counts: together 3, and then 40"
    )


def test_blocking_stub() -> None:
    """The stub is not attempted."""

    def stub(query: Query, at_once: int) -> Handler:
        raise NotImplementedError

    assert_not_attempted("28-blocking", stub)


def blocks_the_loop(query: Query, at_once: int) -> Handler:
    """Call the library on the loop."""

    async def handle(request: Any, context: Any) -> Any:
        return query(request)

    return handle


def waits_for_the_pool_on_the_loop(query: Query, at_once: int) -> Handler:
    """Hand it to a pool, and block until it is done."""
    pool = ThreadPoolExecutor(at_once)

    async def handle(request: Any, context: Any) -> Any:
        return pool.submit(query, request).result()

    return handle


def to_thread(query: Query, at_once: int) -> Handler:
    """Use the hidden pool without a bound."""

    async def handle(request: Any, context: Any) -> Any:
        return await asyncio.to_thread(query, request)

    return handle


def semaphore_around_to_thread(query: Query, at_once: int) -> Handler:
    """Bound it by a semaphore that a caller's end gives back."""
    free = asyncio.Semaphore(at_once)

    async def handle(request: Any, context: Any) -> Any:
        async with free:
            return await asyncio.to_thread(query, request)

    return handle


def shielded_on_the_hidden_pool(query: Query, at_once: int) -> Handler:
    """Keep the bound, on the threads of everybody."""
    free = asyncio.Semaphore(at_once)

    async def handle(request: Any, context: Any) -> Any:
        await free.acquire()
        running = asyncio.ensure_future(asyncio.to_thread(query, request))
        running.add_done_callback(lambda _: free.release())
        return await asyncio.shield(running)

    return handle


def capacity_limiter(query: Query, at_once: int) -> Handler:
    """Bound it by anyio's limiter, which asyncio's own cancellation gives back too early."""
    limiter = anyio.CapacityLimiter(at_once)

    async def handle(request: Any, context: Any) -> Any:
        return await anyio.to_thread.run_sync(query, request, limiter=limiter)

    return handle


def pool_of_a_fixed_size(query: Query, at_once: int) -> Handler:
    """Take no more threads than the machine has cores, or a few."""
    return offloaded(query, min(at_once, 4 + (os.cpu_count() or 1) % 8))


def pool_for_each_call(query: Query, at_once: int) -> Handler:
    """Make a pool in the handler."""

    async def handle(request: Any, context: Any) -> Any:
        pool = ThreadPoolExecutor(at_once)
        return await asyncio.get_running_loop().run_in_executor(pool, query, request)

    return handle


def refuses(query: Query, at_once: int) -> Handler:
    """Refuse what is over the limit."""
    pool = ThreadPoolExecutor(at_once)
    running: set[Any] = set()

    async def handle(request: Any, context: Any) -> Any:
        if len(running) >= at_once:
            await context.abort(REFUSED, "try later")
        future = asyncio.get_running_loop().run_in_executor(pool, query, request)
        running.add(future)
        future.add_done_callback(running.discard)
        return await future

    return handle


def waits_in_the_thread(query: Query, at_once: int) -> Handler:
    """Let a thread wait for each caller, whether it is still there or not."""
    pool = ThreadPoolExecutor(1000)
    free = threading.BoundedSemaphore(at_once)

    def wait_and_query(request: Any) -> Any:
        with free:
            return query(request)

    async def handle(request: Any, context: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(pool, wait_and_query, request)

    return handle


def swallows_errors(query: Query, at_once: int) -> Handler:
    """Answer something when the query fails."""
    inner = offloaded(query, at_once)

    async def handle(request: Any, context: Any) -> Any:
        try:
            return await inner(request, context)
        except RuntimeError:
            return user_pb2.GetUserResponse()

    return handle


def loses_a_thread_with_each_error(query: Query, at_once: int) -> Handler:
    """Give the place back only after success."""
    pool = ThreadPoolExecutor(at_once)
    free = asyncio.Semaphore(at_once)

    async def handle(request: Any, context: Any) -> Any:
        async with asyncio.timeout(3):
            await free.acquire()
        running = asyncio.get_running_loop().run_in_executor(pool, query, request)

        def give_back(done: Any) -> None:
            if done.cancelled() or not done.exception():
                free.release()

        running.add_done_callback(give_back)
        return await asyncio.shield(running)

    return handle


def same_answer(query: Query, at_once: int) -> Handler:
    """Keep the first answer for all."""
    pool = ThreadPoolExecutor(at_once)
    kept: list[Any] = []

    async def handle(request: Any, context: Any) -> Any:
        loop = asyncio.get_running_loop()
        kept.append(await loop.run_in_executor(pool, partial(query, request)))
        return kept[0]

    return handle


def plain_function(query: Query, at_once: int) -> Handler:
    """Return a handler for threads."""

    def handle(request: Any, context: Any) -> Any:
        time.sleep(0.01)
        return query(request)

    return handle


def semaphore_of_threads(query: Query, at_once: int) -> Handler:
    """Wait for a place on the loop."""
    free = threading.Semaphore(at_once)

    async def handle(request: Any, context: Any) -> Any:
        with free:
            return await asyncio.to_thread(query, request)

    return handle


def tries_again(query: Query, at_once: int) -> Handler:
    """Make a failed query a second time."""
    inner = offloaded(query, at_once)

    async def handle(request: Any, context: Any) -> Any:
        try:
            return await inner(request, context)
        except RuntimeError:
            return await inner(request, context)

    return handle


def keeps_answers(query: Query, at_once: int) -> Handler:
    """Answer a user from a cache."""
    inner = offloaded(query, at_once)
    kept: dict[str, Any] = {}

    async def handle(request: Any, context: Any) -> Any:
        if request.user_id not in kept:
            kept[request.user_id] = await inner(request, context)
        return kept[request.user_id]

    return handle


def returns_the_future(query: Query, at_once: int) -> Handler:
    """Forget to await."""
    pool = ThreadPoolExecutor(at_once)

    async def handle(request: Any, context: Any) -> Any:
        return asyncio.get_running_loop().run_in_executor(pool, query, request)

    return handle


def raises_before_it_asks(query: Query, at_once: int) -> Handler:
    """Fail before the query."""

    async def handle(request: Any, context: Any) -> Any:
        raise KeyError(request.user_id)

    return handle


def passes_the_context(query: Callable[..., Any], at_once: int) -> Handler:
    """Give the library what it does not take."""
    pool = ThreadPoolExecutor(at_once)

    async def handle(request: Any, context: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(pool, query, request, context)

    return handle


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (blocks_the_loop, "answers no other method", "the loop's own thread"),
        (waits_for_the_pool_on_the_loop, "answers no other method", "while a handler awaits"),
        (to_thread, "queries ran together, the library bears 3", "share one count"),
        (semaphore_around_to_thread, "after a caller had given up", "told you"),
        (capacity_limiter, "after a caller had given up", "told you"),
        (shielded_on_the_hidden_pool, "asyncio.to_thread had no thread", "threads of your own"),
        (pool_of_a_fixed_size, "of 40 queries ran together", "How many threads"),
        (pool_for_each_call, "queries ran together, the library bears 3", "share one count"),
        (refuses, "ended with RESOURCE_EXHAUSTED, and had to wait", "their turn"),
        (waits_in_the_thread, "was queried all the same", "taken out"),
        (swallows_errors, "its caller got an OK", "has to leave"),
        (loses_a_thread_with_each_error, "no longer answered", "however it ends"),
        (same_answer, "the answer of another's request", "each request"),
        (semaphore_of_threads, "while calls wait, the server answers no", "the loop's own thread"),
        (tries_again, "16 queries were made for 12 calls", "no second try"),
        (keeps_answers, "8 queries were made for 12 calls", "no answer from before"),
        (returns_the_future, "returned a Future", "await a future"),
        (raises_before_it_asks, "none reached `query`", "Does that raise?"),
        (passes_the_context, "takes 2 positional arguments but 3 were given", "print"),
        (plain_function, "your function is a plain `def`", "awaited on an event loop"),
        (returns_nothing, "returned None", "`return`"),
    ],
)
def test_blocking_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("28-blocking", answer, guarantee, hint)
