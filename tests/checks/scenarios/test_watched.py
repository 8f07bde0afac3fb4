from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import context, propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode
from prometheus_client import CollectorRegistry, Counter, Histogram

from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

EXERCISE = "T6-watched"
KNOWN = ("order", "cancel")


async def whatever_comes(write: Any, line: Any) -> None:
    """Write a line, and take what that raises for a result."""
    await asyncio.gather(write(line), return_exceptions=True)


def by_queue(write: Any, lost: Any, most: int = 100, log: Any = whatever_comes) -> Any:
    """Return what takes a line, and does not wait."""
    lines: asyncio.Queue[Any] = asyncio.Queue(most)
    writers: list[Any] = []

    async def write_lines() -> None:
        while True:
            await log(write, await lines.get())

    async def put(line: Any) -> None:
        if not writers:
            writers.append(asyncio.create_task(write_lines()))
        try:
            lines.put_nowait(line)
        except asyncio.QueueFull:
            lost.inc()

    return put


def dies_of_an_error(write: Any, lost: Any) -> Any:
    """Let the writer end with the first error of the log."""
    return by_queue(write, lost, log=lambda write, line: write(line))


def dies_of_a_cancel(write: Any, lost: Any) -> Any:
    """Let the writer end when a task of the log's own was cancelled."""

    async def log(write: Any, line: Any) -> None:
        with contextlib.suppress(Exception):
            await write(line)

    return by_queue(write, lost, log=log)


def cut_off(write: Any, lost: Any) -> Any:
    """Give each write a limit."""

    async def log(write: Any, line: Any) -> None:
        await whatever_comes(lambda line: asyncio.wait_for(write(line), 1), line)

    return by_queue(write, lost, log=log)


def written_again(write: Any, lost: Any) -> Any:
    """Try again what raised."""

    async def log(write: Any, line: Any) -> None:
        try:
            await write(line)
        except OSError:
            await whatever_comes(write, line)
        except asyncio.CancelledError:
            pass

    return by_queue(write, lost, log=log)


def raised_is_lost(write: Any, lost: Any) -> Any:
    """Count what raised for lost."""

    async def log(write: Any, line: Any) -> None:
        try:
            await write(line)
        except (OSError, asyncio.CancelledError):
            lost.inc()

    return by_queue(write, lost, log=log)


def of_99(write: Any, lost: Any) -> Any:
    """Have a place too few."""
    return by_queue(write, lost, most=99)


def of_101(write: Any, lost: Any) -> Any:
    """Have a place too many."""
    return by_queue(write, lost, most=101)


def for_a_moment(write: Any, lost: Any) -> Any:
    """Let a message wait where many lines do."""
    put, waiting = by_queue(write, lost), [0]

    async def patient(line: Any) -> None:
        waiting[0] += 1
        await put(line)
        if waiting[0] > 50:
            await asyncio.sleep(0.02)

    return patient


def without_a_bound(write: Any, lost: Any) -> Any:
    """Let all wait."""
    return by_queue(write, lost, most=0)


def of_ten(write: Any, lost: Any) -> Any:
    """Let few wait."""
    return by_queue(write, lost, most=10)


def uncounted(write: Any, _: Any) -> Any:
    """Count no line that is lost."""

    class Nobody:
        def inc(self) -> None:
            pass

    return by_queue(write, Nobody())


def at_once(write: Any, _: Any) -> Any:
    """Wait for the log."""

    async def put(line: Any) -> None:
        with contextlib.suppress(Exception):
            await write(line)

    return put


def patiently(write: Any, _: Any) -> Any:
    """Wait for the log, whatever it raises."""
    turn = asyncio.Lock()

    async def put(line: Any) -> None:
        async with turn:
            await whatever_comes(write, line)

    return put


def for_a_second(write: Any, lost: Any) -> Any:
    """Give the log a while, and then go on."""

    async def put(line: Any) -> None:
        try:
            await asyncio.wait_for(write(line), 0.1)
        except Exception:  # noqa: BLE001  # as a log may raise
            lost.inc()

    return put


def a_task_each(write: Any, _: Any) -> Any:
    """Begin a task for each line."""
    tasks = set()

    async def put(line: Any) -> None:
        tasks.add(asyncio.create_task(write(line)))

    return put


def the_newest(write: Any, lost: Any) -> Any:
    """Solve it with a deque that drops the oldest, and a task that ends with its work."""
    waiting: deque[Any] = deque()
    busy: list[Any] = []

    async def write_all() -> None:
        while waiting:
            await whatever_comes(write, waiting.popleft())
        busy.clear()

    async def put(line: Any) -> None:
        if len(waiting) == 100:  # as the exercise says
            waiting.popleft()
            lost.inc()
        waiting.append(line)
        if not busy:
            busy.append(asyncio.create_task(write_all()))

    return put


def outcome_of(error: BaseException | None) -> str:
    """Return the word for how `handle` ended."""
    if error is None:
        return "ok"
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    return "refused" if isinstance(error, ValueError) else "failed"


def line_of(span: Any, kind: str, outcome: str, took: float, _: Any) -> dict[str, Any]:
    """Return the line of a message."""
    trace_id = trace.format_trace_id(span.get_span_context().trace_id)
    return {"trace_id": trace_id, "kind": kind, "outcome": outcome, "ms": 1000 * took}


def texts(message: Any) -> dict[str, str]:
    """Return the headers that are texts."""
    return {key: value for key, value in message.headers.items() if isinstance(value, str)}


async def plainly(publish: Any, body: bytes, headers: Any) -> None:
    """Publish an event."""
    await publish(body, headers)


def known(kind: str) -> str:
    """Return the label of a kind."""
    return kind if kind in KNOWN else "other"


def new(_: Any) -> dict[str, Any]:
    """Return the headers to begin with."""
    return {}


def way(
    *,
    log: Callable[..., Any] = by_queue,
    parent: Callable[[Any], Any] = lambda message: propagate.extract(texts(message)),
    sends: Callable[..., Any] = plainly,
    calls: Callable[..., Any] = lambda work: work(),
    buckets: Any = Histogram.DEFAULT_BUCKETS,
    headers: Callable[[Any], dict[str, Any]] = new,
    line: Callable[..., Any] = line_of,
    label: Callable[[str], str] = known,
    outcome: Callable[[Any], str] = outcome_of,
    catches: type[BaseException] = BaseException,
    name: str = "handle",
    kind: SpanKind = SpanKind.CONSUMER,
    count: Callable[[str], bool] = lambda _: True,
    unit: float = 1,
    hands_on: bool = True,
) -> Callable[..., Any]:
    """Return an answer, right but for what is said here."""

    def watched(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
        handled = Counter("messages", "-", ["kind", "outcome"], registry=registry)
        seconds = Histogram("message_seconds", "-", ["kind"], registry=registry, buckets=buckets)
        put = log(write, Counter("lines_lost", "-", registry=registry))

        async def on_message(message: Any) -> None:
            async def send(body: bytes) -> None:
                made = headers(message)
                propagate.inject(made)
                await sends(publish, body, made)

            error, start = None, time.monotonic()
            with contextlib.ExitStack() as ends:
                if not hands_on:
                    ends.enter_context(contextlib.suppress(Exception))
                span = ends.enter_context(
                    tracer.start_as_current_span(name, parent(message), kind=kind)
                )
                try:
                    await calls(lambda: handle(message.body, send))
                except catches as raised:
                    error = raised
                    raise
                finally:
                    took, word = time.monotonic() - start, outcome(error)
                    if count(word):
                        handled.labels(label(message.type), word).inc()
                        seconds.labels(label(message.type)).observe(took * unit)
                    await put(line(span, message.type, word, took, (error, message)))

        return on_message

    return watched


def by_hand(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Solve it with a span that is begun, attached, marked and ended by hand."""
    handled = Counter("messages_total", "-", ("outcome", "kind"), registry=registry)
    seconds = Histogram("message_seconds", "-", ("kind",), registry=registry, buckets=(0.1, 1))
    put = by_queue(write, Counter("lines_lost_total", "-", registry=registry))

    async def on_message(message: Any) -> Any:
        span = tracer.start_span("handle", propagate.extract(texts(message)), SpanKind.CONSUMER)
        here = trace.set_span_in_context(span)

        async def send(body: bytes) -> None:
            headers: dict[str, str] = {}
            propagate.inject(headers, here)
            await publish(body, headers)

        token, error, start = context.attach(here), None, time.perf_counter()
        try:
            return await handle(message.body, send)
        except BaseException as raised:
            error = raised
            if isinstance(raised, Exception):
                span.set_status(Status(StatusCode.ERROR))
            raise
        finally:
            context.detach(token)
            span.end()
            took, word = time.perf_counter() - start, outcome_of(error)
            handled.labels(kind=known(message.type), outcome=word).inc()
            seconds.labels(known(message.type)).observe(took)
            await put(line_of(span, message.type, word, round(took, 3), None))

    return on_message


def all_headers(message: Any) -> dict[str, Any]:
    """Hand on all that came."""
    return dict(message.headers)


def with_the_error(*args: Any) -> dict[str, Any]:
    """Put the text of an error into the outcome."""
    error, _ = args[-1]
    return line_of(*args) | ({"outcome": f"{args[2]} {error}"} if error else {})


def with_headers(*args: Any) -> dict[str, Any]:
    """Put all headers into the line."""
    return line_of(*args) | {"headers": dict(args[-1][1].headers)}


def with_a_key_more(*args: Any) -> dict[str, Any]:
    """Put another field into the line."""
    return line_of(*args) | {"level": "INFO"}


def with_the_label(*args: Any) -> dict[str, Any]:
    """Put the label into the line."""
    return line_of(*args) | {"kind": known(args[1])}


def in_seconds(*args: Any) -> dict[str, Any]:
    """Tell seconds."""
    line = line_of(*args)
    return line | {"ms": line["ms"] / 1000}


def as_a_number(*args: Any) -> dict[str, Any]:
    """Tell the id as a number."""
    return line_of(*args) | {"trace_id": args[0].get_span_context().trace_id}


def never_refused(error: BaseException | None) -> str:
    """Take a refusal for a failure."""
    return "failed" if isinstance(error, ValueError) else outcome_of(error)


def two_words(error: BaseException | None) -> str:
    """Take a cancel for a failure."""
    return "failed" if isinstance(error, asyncio.CancelledError) else outcome_of(error)


def never_a_span(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Begin a span, and leave it open."""
    handled = way()(handle, publish, tracer, registry, write)

    async def on_message(message: Any) -> None:
        span = tracer.start_span("handle", propagate.extract(texts(message)))
        message.headers.clear()
        propagate.inject(message.headers, trace.set_span_in_context(span))
        await handled(message)

    return on_message


def handles_nothing(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Do nothing."""

    async def on_message(message: Any) -> None:
        pass

    return on_message


def swallows_a_cancel(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Return when its task is cancelled."""
    handled = way()(handle, publish, tracer, registry, write)

    async def on_message(message: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await handled(message)

    return on_message


def of_the_process(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Count where nobody looks."""
    return way()(handle, publish, tracer, CollectorRegistry(), write)


def injects_before(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Send on what came, and not the span."""

    async def came(body: bytes, headers: dict[str, Any]) -> None:
        await publish(body, dict(CAME[body]) or headers)

    async def noted(message: Any) -> None:
        CAME[message.body] = {k: v for k, v in message.headers.items() if k == "traceparent"}
        await handled(message)

    handled = way()(handle, came, tracer, registry, write)
    return noted


CAME: dict[bytes, dict[str, Any]] = {}


def one_after_the_other(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Keep what belongs to one message where all see it."""
    last: list[Any] = [None]

    def shared(*args: Any) -> dict[str, Any]:
        return line_of(last[0], *args[1:])

    def parent(message: Any) -> Any:
        return propagate.extract(texts(message))

    async def noted(body: bytes, send: Any) -> None:
        last[0] = trace.get_current_span()
        await handle(body, send)

    return way(line=shared, parent=parent)(noted, publish, tracer, registry, write)


def with_a_producer(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Solve it with a span for each event."""

    async def sends(publish: Any, body: bytes, headers: Any) -> None:
        with tracer.start_as_current_span("send", kind=SpanKind.PRODUCER):
            propagate.inject(headers)
            await publish(body, headers)

    return way(sends=sends)(handle, publish, tracer, registry, write)


def with_baggage(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Hand on what customers have put into the context."""

    def headers(message: Any) -> dict[str, Any]:
        made: dict[str, Any] = {}
        here = trace.set_span_in_context(
            trace.get_current_span(), propagate.extract(texts(message))
        )
        propagate.inject(made, here)
        return made

    return way(headers=headers)(handle, publish, tracer, registry, write)


async def swallowed(publish: Any, body: bytes, headers: Any) -> None:
    """Say nothing of an event that did not go out."""
    with contextlib.suppress(Exception):
        await publish(body, headers)


async def in_the_background(publish: Any, body: bytes, headers: Any) -> None:
    """Go on before the event is out."""
    TASKS.append(asyncio.create_task(publish(body, headers)))
    await asyncio.sleep(0)


async def twice(publish: Any, body: bytes, headers: Any) -> None:
    """Try again."""
    try:
        await publish(body, headers)
    except LookupError:
        await publish(body, headers)


async def for_one_second(publish: Any, body: bytes, headers: Any) -> None:
    """Have a limit."""
    await asyncio.wait_for(publish(body, headers), 1)


async def always_sampled(publish: Any, body: bytes, headers: Any) -> None:
    """Say that each trace is sampled."""
    await publish(body, headers | {"traceparent": headers["traceparent"][:-2] + "01"})


async def without_a_state(publish: Any, body: bytes, headers: Any) -> None:
    """Leave out what else belongs to the trace."""
    await publish(body, {"traceparent": headers["traceparent"]})


TASKS: list[Any] = []


def locked(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Publish one after the other."""
    lock = asyncio.Lock()

    async def sends(publish: Any, body: bytes, headers: Any) -> None:
        async with lock:
            await publish(body, headers)

    return way(sends=sends)(handle, publish, tracer, registry, write)


def some_at_a_time(most: int) -> Callable[..., Any]:
    """Return an answer that handles so many at once."""

    def watched(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
        places = asyncio.Semaphore(most)

        async def calls(work: Any) -> None:
            async with places:
                await work()

        return way(calls=calls)(handle, publish, tracer, registry, write)

    return watched


def one_dict(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Fill one and the same dict for all lines."""
    kept: dict[str, Any] = {}

    def line(*args: Any) -> dict[str, Any]:
        kept.update(line_of(*args))
        return kept

    return way(line=line)(handle, publish, tracer, registry, write)


def one_for_all(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Fill one and the same dict for all events."""
    kept: dict[str, Any] = {}
    return way(headers=lambda _: kept)(handle, publish, tracer, registry, write)


def without_zeros(*args: Any) -> dict[str, Any]:
    """Leave out the zeros that an id begins with."""
    return line_of(*args) | {"trace_id": f"{args[0].get_span_context().trace_id:x}"}


def as_a_text(*args: Any) -> dict[str, Any]:
    """Make a text of each kind."""
    return line_of(*args) | {"kind": str(args[1])}


def counted_in_branches(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Count what is an Exception."""

    def outcome(error: BaseException | None) -> str:
        return "" if isinstance(error, GeneratorExit) else outcome_of(error)

    answer = way(outcome=outcome, count=bool)
    return answer(handle, publish, tracer, registry, write)


def misspelt(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
    """Use a name that does not exist."""
    return handel  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    "answer",
    [way(), way(log=the_newest), by_hand, with_a_producer],
    ids=["plain", "newest", "by_hand", "producer"],
)
def test_watched_solved(answer: Callable[..., Any]) -> None:
    """Whatever holds the five points solves it."""
    assert_solved(EXERCISE, answer)


def test_watched_stub() -> None:
    """The stub is not attempted."""

    def stub(handle: Any, publish: Any, tracer: Any, registry: Any, write: Any) -> Any:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (way(log=at_once), "raised what `write` had raised", "a task of its own"),
        (way(log=for_a_second), "raised what `write` had raised", "a task of its own"),
        (way(log=patiently), "a message waited for it", "put_nowait"),
        (way(log=for_a_moment), "a message waited for it", "Notebook 60"),
        (way(log=cut_off), "writes were cut off", "as long as it takes"),
        (way(log=written_again), "one dict was written twice", "may have come through"),
        (way(log=raised_is_lost), "all lines found a place", "not what `write` raises"),
        (way(log=dies_of_a_cancel), "0 lines have its trace id", "CancelledError too"),
        (way(log=of_99), "99 of 100 lines came", "Keep 100 lines"),
        (way(log=of_101), "101 lines waited for it", "asyncio.Queue(100)"),
        (way(sends=swallowed), "`send` returned as if all was well", "let out"),
        (way(sends=in_the_background), "returned before the event was out", "nobody awaits"),
        (way(sends=twice), "`publish` was called 2 times", "comes twice"),
        (way(sends=for_one_second), "did not raise what `send` raised: Timeout", "no limit"),
        (way(sends=always_sampled), "whether the trace is sampled", "decides that for all"),
        (way(sends=without_a_state), "another tracestate than came", "hands it on"),
        (locked, "waited until that of another message was out", "No lock around"),
        (some_at_a_time(1), "and 1 were handled at the same time", "no semaphore"),
        (some_at_a_time(5), "and 5 were handled at the same time", "no semaphore"),
        (way(calls=lambda work: asyncio.wait_for(work(), 2)), "TimeoutError", "Try that line"),
        (with_baggage, "more than the trace in its headers: baggage", "is not passed on"),
        (one_for_all, "are the dict of another one", "A new dict"),
        (one_dict, "one dict was written twice", "A new dict"),
        (way(parent=lambda m: propagate.extract(m.headers)), "a traceparent was a number", "texts"),
        (way(line=without_zeros), "no trace id of 32 digits", "format_trace_id"),
        (way(line=as_a_text), "its line has the kind None", "as it came"),
        (way(label=lambda kind: known(str(kind).lower())), "`messages_total`", "in a `finally`"),
        (way(buckets=(1000,)), "no bucket that tells", "Notebook 61"),
        (counted_in_branches, "its line says , not failed", "Begin with `failed`"),
        (way(log=a_task_each), "writes were under way at once", "has a bound"),
        (way(log=without_a_bound), "129 lines waited for it", "asyncio.Queue(100)"),
        (way(log=of_ten), "lines found no place", "100 lines can wait"),
        (way(log=uncounted), "`lines_lost_total` says 0", "Count each line"),
        (way(log=dies_of_an_error), "0 lines have its trace id", "What `write` raises"),
        (way(parent=lambda _: None), "in the trace of the worker's own loop", "extract"),
        (way(parent=lambda m: propagate.extract(texts(m)) or None), "without a trace", "Begin"),
        (way(parent=lambda _: context.Context()), "in another trace than", "Notebook 60"),
        (way(headers=all_headers), "more than the trace in its headers: auth", "not passed on"),
        (way(name="message"), "its span is called message", "is called `handle`"),
        (way(kind=SpanKind.INTERNAL), "of kind internal", "SpanKind.CONSUMER"),
        (never_a_span, "not the child of what its headers say", "One span"),
        (way(line=with_the_error), "a secret is in its line", "Notebook 61"),
        (way(line=with_headers), "a secret is in its line", "Notebook 61"),
        (way(line=with_a_key_more), "its line has the keys", "and no others"),
        (way(line=with_the_label), "its line has the kind other", "as it came"),
        (way(line=in_seconds), "`ms` is not how long it took", "times 1000"),
        (way(line=as_a_number), "no trace id of 32 digits in hex", "format_trace_id"),
        (way(outcome=never_refused), "its line says failed, not refused", "Begin with `failed`"),
        (way(outcome=two_words), "its line says failed, not cancelled", "Begin with `failed`"),
        (way(catches=Exception), "its line says ok, not failed", "Begin with `failed`"),
        (way(hands_on=False), "returned as if all was well", "A bare `raise`"),
        (injects_before, "its event does not carry on its span", "Notebook 60"),
        (swallows_a_cancel, "cancelled, and your function returned as if", "A bare `raise`"),
        (of_the_process, "no `messages_total` with kind and outcome", "See the exercise"),
        (way(label=str), "made a series of its own", "`other` takes them all"),
        (way(count=lambda word: word == "ok"), "is not what `messages_total`", "in a `finally`"),
        (way(unit=1000), "another unit than seconds", "Seconds in metrics"),
        (handles_nothing, "`handle` was not called", "Await it"),
        (one_after_the_other, "lines have its trace id", "Notebook 61"),
        (misspelt, "NameError", "a slip in the name"),
    ],
)
def test_watched_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
