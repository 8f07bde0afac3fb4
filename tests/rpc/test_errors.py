from __future__ import annotations

import asyncio
import logging
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from grpc_status import rpc_status  # type: ignore[import-untyped]

from labsvc.rpc import recovery
from labsvc.rpc.errors import DEFINITE, StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

SECRET = "password=hunter2"
CODE = grpc.StatusCode
LOCAL = [("grpc.so_reuseport", 0), ("grpc.enable_http_proxy", 0)]
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
RICH = StatusError(
    CODE.INVALID_ARGUMENT,
    "the order is wrong",
    reason="BAD_ORDER",
    domain="shop.example.com",
    metadata={"order": "o-7"},
    fields={"quantity": "must be over 0"},
    retry_after=0.25,
)


class OutOfTeaError(Exception):
    """An error of the application."""


def translate(error: Exception) -> StatusError | None:
    """Know the application's error."""
    return StatusError(CODE.FAILED_PRECONDITION, "no tea") if type(error) is OutOfTeaError else None


def broken_translate(error: Exception) -> StatusError | None:
    """Fail."""
    raise ValueError(SECRET)


def misbehave(how: str) -> str:
    """Raise what the caller asks for."""
    errors: dict[str, Callable[[], BaseException]] = {
        "raise": lambda: ValueError(SECRET),
        "key": lambda: KeyError(SECRET),
        "status": lambda: RICH,
        "tea": OutOfTeaError,
        "exit": lambda: SystemExit(SECRET),
        "down": lambda: downstream(CODE.UNAVAILABLE),
        "late": lambda: downstream(CODE.DEADLINE_EXCEEDED),
        "missing": lambda: downstream(CODE.NOT_FOUND),
    }
    if how in errors:
        error = errors[how]()
        raise error
    return how


def downstream(code: grpc.StatusCode) -> BaseException:
    """Return the error of a real call to another service."""
    with served(lambda _, context: context.abort(code, SECRET)) as ask:
        try:
            ask("x")
        except grpc.RpcError as error:
            return error
    raise AssertionError


def sync_handler(kind: str, behave: Callable[[str, Any], Any]) -> Any:
    """Return a handler that sends the first request's answer twice, or once."""

    def unary(request: Any, context: Any) -> Any:
        return behave((request if isinstance(request, bytes) else next(request)).decode(), context)

    def stream(request: Any, context: Any) -> Iterator[Any]:
        yield b"first"
        yield unary(request, context)

    return stream if kind.endswith("stream") else unary


def aio_handler(kind: str, behave: Callable[[str, Any], Any]) -> Any:
    """Return the same for grpc.aio."""

    async def unary(request: Any, context: Any) -> Any:
        if not isinstance(request, bytes):
            request = await anext(aiter(request))
        done = behave(request.decode(), context)
        return await done if asyncio.iscoroutine(done) else done

    async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
        yield b"first"
        yield await unary(request, context)

    return stream if kind.endswith("stream") else unary


def generic(kind: str, handler: Any) -> Any:
    """Register a handler as /t.T/Ask, texts as messages."""
    make: Any = getattr(grpc, f"{kind}_rpc_method_handler")
    method = make(handler, response_serializer=lambda m: m if isinstance(m, bytes) else m.encode())
    return grpc.method_handlers_generic_handler("t.T", {"Ask": method})


@contextmanager
def served(
    behave: Callable[[str, Any], Any], *interceptors: Any, kind: str = "unary_unary"
) -> Iterator[Callable[[str], list[bytes]]]:
    """Serve on threads; give a function that asks and returns the answers."""
    with ThreadPoolExecutor(4) as pool:
        server = grpc.server(pool, interceptors=list(interceptors), options=LOCAL)
        server.add_generic_rpc_handlers((generic(kind, sync_handler(kind, behave)),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}", LOCAL) as channel:

                def ask(text: str) -> list[bytes]:
                    call: Any = getattr(channel, kind)("/t.T/Ask")
                    sent: Any = text.encode()
                    answer = call(iter([sent]) if kind.startswith("stream") else sent, timeout=5)
                    return list(answer) if kind.endswith("stream") else [answer]

                yield ask
        finally:
            server.stop(0).wait()


@asynccontextmanager
async def served_aio(
    behave: Callable[[str, Any], Any], *interceptors: Any, kind: str = "unary_unary"
) -> AsyncIterator[Callable[[str], Any]]:
    """Serve on the loop; give a coroutine function that asks."""
    server = grpc.aio.server(interceptors=interceptors, options=LOCAL)
    server.add_generic_rpc_handlers((generic(kind, aio_handler(kind, behave)),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", LOCAL) as channel:

            async def ask(text: str) -> list[bytes]:
                call: Any = getattr(channel, kind)("/t.T/Ask")
                sent: Any = text.encode()
                answer = call(iter([sent]) if kind.startswith("stream") else sent, timeout=5)
                return [m async for m in answer] if kind.endswith("stream") else [await answer]

            yield ask
    finally:
        await server.stop(0)


def outcome(
    how: str, *, kind: str = "unary_unary", translate: Any = None, behave: Any = None
) -> StatusError:
    """Ask a threaded server and return the error that its client sees."""
    chosen = behave or (lambda text, _: misbehave(text))
    with served(chosen, recovery.server(translate), kind=kind) as ask:
        with pytest.raises(grpc.RpcError) as caught:
            ask(how)
        return StatusError.of(caught.value)


def outcome_aio(
    how: str, *, kind: str = "unary_unary", translate: Any = None, behave: Any = None
) -> StatusError:
    """Ask a grpc.aio server and return the error that its client sees."""

    async def main() -> StatusError:
        chosen = behave or (lambda text, _: misbehave(text))
        async with served_aio(chosen, recovery.aio_server(translate), kind=kind) as ask:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(how)
            return StatusError.of(caught.value)

    return asyncio.run(main())


BOTH = pytest.mark.parametrize("outcome", [outcome, outcome_aio], ids=["sync", "aio"])
ALL_KINDS = pytest.mark.parametrize("kind", KINDS)


@BOTH
@ALL_KINDS
@pytest.mark.parametrize("how", ["raise", "key", "exit"])
def test_unexpected_exception(
    outcome: Any, kind: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets INTERNAL and an id, the log the same id and the exception."""
    caplog.set_level(logging.ERROR, "labsvc.rpc.recovery")
    seen = outcome(how, kind=kind)
    assert seen.code is CODE.INTERNAL
    found = re.fullmatch(r"internal error, id=([0-9a-f]{12})", seen.text)
    assert found is not None
    (record,) = [r for r in caplog.records if r.name == "labsvc.rpc.recovery"]
    assert found[1] in record.getMessage()
    assert "/t.T/Ask" in record.getMessage()
    assert record.exc_info is not None
    assert SECRET in str(record.exc_info[1])


@BOTH
@ALL_KINDS
def test_status_error_arrives_whole(outcome: Any, kind: str) -> None:
    """Code, text and details are those that the handler raised."""
    seen = outcome("status", kind=kind)
    assert vars(seen) == vars(RICH)
    assert seen.definite


@BOTH
def test_translated_exception(outcome: Any) -> None:
    """The application's own exception gets its status; others are unexpected as before."""
    seen = outcome("tea", translate=translate)
    assert (seen.code, seen.text) == (CODE.FAILED_PRECONDITION, "no tea")
    assert outcome("raise", translate=translate).code is CODE.INTERNAL


@BOTH
def test_translate_that_fails(outcome: Any, caplog: pytest.LogCaptureFixture) -> None:
    """A translate that raises leaks nothing either, and the log says what it stumbled over."""
    seen = outcome("key", translate=broken_translate)
    assert seen.code is CODE.INTERNAL
    assert SECRET not in seen.text
    failed, unexpected = (r for r in caplog.records if r.name == "labsvc.rpc.recovery")
    assert failed.getMessage() == "translate failed for a KeyError"
    assert failed.exc_info is not None
    assert failed.exc_info[0] is ValueError
    assert unexpected.exc_info is not None
    assert unexpected.exc_info[0] is KeyError


def test_ids_of_errors_differ() -> None:
    """An id names one error in the log, although Python uses the address of an object again."""
    with served(lambda *_: misbehave("raise"), recovery.server()) as ask:
        ids = set()
        for _ in range(20):
            with pytest.raises(grpc.RpcError) as caught:
                ask("x")
            ids.add(StatusError.of(caught.value).text)
    assert len(ids) == 20


class Own:
    """A servicer that answers its own errors; each method is one kind of function."""

    @recovery.answers(translate)
    def unary(self, request: str, context: Any) -> str:
        """Answer once, in a thread."""
        return self.end(request, context)

    @recovery.answers(translate)
    def stream(self, request: str, context: Any) -> Iterator[str]:
        """Answer twice, in a thread."""
        yield "first"
        yield self.end(request, context)

    @recovery.answers(translate)
    async def aio_unary(self, request: str, context: Any) -> str:
        """Answer once, on the loop."""
        return await self.aio_end(request, context)

    @recovery.answers(translate)
    async def aio_stream(self, request: str, context: Any) -> AsyncIterator[str]:
        """Answer twice, on the loop."""
        yield "first"
        yield await self.aio_end(request, context)

    def end(self, request: str, context: Any) -> str:
        """Abort, or do as asked."""
        if request == "abort":
            context.abort(CODE.NOT_FOUND, "no such tea")
        return misbehave(request)

    async def aio_end(self, request: str, context: Any) -> str:
        """Abort, or do as asked."""
        if request == "abort":
            await context.abort(CODE.NOT_FOUND, "no such tea")
        return misbehave(request)


OWN = [
    ("tea", CODE.FAILED_PRECONDITION, "no tea"),
    ("status", CODE.INVALID_ARGUMENT, RICH.text),
    ("abort", CODE.NOT_FOUND, "no such tea"),
    ("raise", CODE.UNKNOWN, SECRET),
]


@pytest.mark.parametrize("kind", ["unary_unary", "unary_stream"])
@pytest.mark.parametrize(("how", "code", "text"), OWN)
def test_a_servicer_answers_its_own_errors(kind: str, how: str, code: Any, text: str) -> None:
    """What it means to say is answered without an interceptor; other errors stay gRPC's."""
    name = kind.removeprefix("unary_")
    method = getattr(Own(), name)
    aio_method = getattr(Own(), f"aio_{name}")

    def behave(request: str, context: Any) -> str:
        done = method(request, context)
        return done if isinstance(done, str) else list(done)[-1]

    async def aio_behave(request: str, context: Any) -> str:
        if kind == "unary_unary":
            return str(await aio_method(request, context))
        return [str(one) async for one in aio_method(request, context)][-1]

    async def main() -> StatusError:
        async with served_aio(aio_behave, kind=kind) as ask:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask(how)
            return StatusError.of(caught.value)

    with served(behave, kind=kind) as ask, pytest.raises(grpc.RpcError) as caught:
        ask(how)
    for seen in (StatusError.of(caught.value), asyncio.run(main())):
        assert seen.code is code
        assert text in seen.text
    assert (Own.unary.__doc__, Own().unary.__name__) == ("Answer once, in a thread.", "unary")


@BOTH
@pytest.mark.parametrize(
    ("how", "code", "text"),
    [
        ("down", CODE.UNAVAILABLE, "a service behind this one answered UNAVAILABLE"),
        ("late", CODE.DEADLINE_EXCEEDED, "a service behind this one answered DEADLINE_EXCEEDED"),
        ("missing", CODE.INTERNAL, "internal error, id="),
    ],
)
def test_error_of_another_service(outcome: Any, how: str, code: Any, text: str) -> None:
    """What a retry may mend passes with its code; the rest is our own fault. No text leaks."""
    seen = outcome(how)
    assert seen.code is code
    assert seen.text.startswith(text)
    assert SECRET not in seen.text


@BOTH
@pytest.mark.parametrize(("how", "code"), [("down", "UNAVAILABLE"), ("late", "DEADLINE_EXCEEDED")])
def test_the_log_tells_what_another_service_answered(
    outcome: Any, how: str, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The text that the caller does not get is in the log: one warning, with the error."""
    outcome(how)
    (record,) = [r for r in caplog.records if r.name == "labsvc.rpc.recovery"]
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"a service behind this one answered {code}"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], grpc.RpcError)
    assert SECRET in str(record.exc_info[1])


@ALL_KINDS
def test_abort_is_left_alone(kind: str) -> None:
    """A handler on threads may still abort, with a plain status or a rich one."""

    def plain(_: str, context: Any) -> None:
        context.abort(CODE.NOT_FOUND, "no such order")

    def rich(_: str, context: Any) -> None:
        context.abort_with_status(RICH.status())

    assert outcome("x", behave=plain, kind=kind).text == "no such order"
    assert vars(outcome("x", behave=rich, kind=kind)) == vars(RICH)


@ALL_KINDS
def test_abort_is_left_alone_aio(kind: str) -> None:
    """A coroutine may still abort."""

    async def plain(_: str, context: Any) -> None:
        await context.abort(CODE.NOT_FOUND, "no such order")

    async def rich(_: str, context: Any) -> None:
        await context.abort_with_status(RICH.status())

    assert outcome_aio("x", behave=plain, kind=kind).text == "no such order"
    assert vars(outcome_aio("x", behave=rich, kind=kind)) == vars(RICH)


def test_set_code_and_raise_leaks_nothing() -> None:
    """A code that was set does not make the exception an abort."""

    def behave(_: str, context: Any) -> None:
        context.set_code(CODE.NOT_FOUND)
        raise ValueError(SECRET)

    assert outcome("x", behave=behave).code is CODE.INTERNAL


@ALL_KINDS
def test_answers_pass(kind: str) -> None:
    """A handler that raises nothing answers as before."""
    expected = [b"first", b"tea"] if kind.endswith("stream") else [b"tea"]
    with served(lambda text, _: misbehave(text), recovery.server(), kind=kind) as ask:
        assert ask("tea!")[-1] == b"tea!"
        assert len(ask("tea!")) == len(expected)

    async def main() -> None:
        async with served_aio(
            lambda text, _: misbehave(text), recovery.aio_server(), kind=kind
        ) as ask:
            assert len(await ask("tea!")) == len(expected)

    asyncio.run(main())


def test_unknown_method_stays_unimplemented() -> None:
    """There is no handler to wrap for a method that does not exist."""
    assert recovery.server().intercept_service(lambda _: None, details()) is None


def details() -> Any:
    """Return the details of a call."""

    class Details:
        method = "/t.T/Gone"
        invocation_metadata = ()

    return Details()


class Raises(grpc.ServerInterceptor):
    """An interceptor with a bug."""

    def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Raise."""
        raise KeyError(SECRET)


class RaisesAio(grpc.aio.ServerInterceptor):
    """An interceptor with a bug, for grpc.aio."""

    async def intercept_service(self, continuation: Any, handler_call_details: Any) -> Any:
        """Raise."""
        raise KeyError(SECRET)


@ALL_KINDS
def test_interceptor_behind_that_raises(kind: str) -> None:
    """What an interceptor behind raises is answered as well, for each kind of call."""
    with served(lambda *_: "x", recovery.server(), Raises(), kind=kind) as ask:
        with pytest.raises(grpc.RpcError) as caught:
            ask("x")
        assert StatusError.of(caught.value).text.startswith("internal error, id=")

    async def main() -> None:
        async with served_aio(lambda *_: "x", recovery.aio_server(), RaisesAio(), kind=kind) as ask:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask("x")
            assert StatusError.of(caught.value).text.startswith("internal error, id=")

    asyncio.run(main())


def test_plain_function_on_an_aio_server() -> None:
    """grpc.aio runs a plain function in a thread; its errors are answered too."""

    async def main() -> None:
        server = grpc.aio.server(interceptors=[recovery.aio_server()], options=LOCAL)
        handler = sync_handler("unary_unary", lambda text, _: misbehave(text))
        server.add_generic_rpc_handlers((generic("unary_unary", handler),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", LOCAL) as channel:
            ask: Any = channel.unary_unary("/t.T/Ask")
            for how, code in (("raise", CODE.INTERNAL), ("status", CODE.INVALID_ARGUMENT)):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await ask(how.encode(), timeout=5)
                assert caught.value.code() is code
        await server.stop(0)

    asyncio.run(main())


def test_caller_that_leaves_a_stream_of_requests(caplog: pytest.LogCaptureFixture) -> None:
    """The RpcError that gRPC itself raises in the handler is no internal error."""
    caplog.set_level(logging.INFO)

    def reads_late(requests: Any, context: Any) -> bytes:
        gone = threading.Event()
        if not context.add_callback(gone.set):
            gone.set()
        assert gone.wait(5)
        return b"".join(requests)

    interceptor = recovery.server()
    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, interceptors=[interceptor], options=LOCAL)
        server.add_generic_rpc_handlers((generic("stream_unary", reads_late),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()

        def never_ends() -> Iterator[bytes]:
            yield b"a"
            asyncio.run(asyncio.sleep(0.5))

        channel = grpc.insecure_channel(f"127.0.0.1:{port}", LOCAL)
        ask: Any = channel.stream_unary("/t.T/Ask")
        with channel, pytest.raises(grpc.RpcError):
            ask(never_ends(), timeout=0.1)
        server.stop(0).wait()
    assert [r for r in caplog.records if r.name.startswith(("grpc", "labsvc.rpc"))] == []


@pytest.mark.parametrize("text", ["x" * 30_000, "没有订单" * 5000])
def test_large_error_still_arrives(text: str) -> None:
    """What would not fit into metadata is cut, and the code arrives."""

    def behave(_: str, context: Any) -> None:
        raise StatusError(
            CODE.INVALID_ARGUMENT,
            text,
            reason="LARGE",
            fields=dict.fromkeys("abcdefghij", text[:999]),
        )

    seen = outcome("x", behave=behave)
    assert seen.code is CODE.INVALID_ARGUMENT
    assert seen.reason == "LARGE"
    assert len(seen.text) == 300
    assert seen.text.endswith("…")
    assert len(seen.fields) < 10


def test_many_fields_are_cut_at_the_limit() -> None:
    """As many fields as fit are sent, the first ones."""
    error = StatusError(
        CODE.INVALID_ARGUMENT, "t", fields={f"lines[{n}].sku": "is unknown" for n in range(500)}
    )
    fields = outcome("x", behave=lambda *_: (_ for _ in ()).throw(error)).fields
    assert list(fields) == [f"lines[{n}].sku" for n in range(len(fields))]
    assert 50 < len(fields) < 500


def test_plain_error_has_no_details() -> None:
    """An error without details reads as its code and its text, to be handed on as they came."""
    text = "down\n  für Wartung"

    def behave(_: str, context: Any) -> None:
        context.abort(CODE.UNAVAILABLE, text)

    def hands_on(_: str, context: Any) -> None:
        context.abort_with_status(outcome("x", behave=behave).status())

    seen = outcome("x", behave=hands_on)
    assert vars(seen) == vars(StatusError(CODE.UNAVAILABLE, text))
    assert not seen.definite


def test_details_that_contradict_the_status_are_passed_over() -> None:
    """A middlebox that changed the status, or broke the details, does not raise in the reader."""

    def contradicts(_: str, context: Any) -> None:
        context.set_trailing_metadata(RICH.status().trailing_metadata)
        context.abort(CODE.UNAVAILABLE, "rewritten")

    def garbage(_: str, context: Any) -> None:
        context.set_trailing_metadata((("grpc-status-details-bin", b"\xff\xff"),))
        context.abort(CODE.UNAVAILABLE, "rewritten")

    for behave in (contradicts, garbage):
        assert vars(outcome("x", behave=behave)) == vars(StatusError(CODE.UNAVAILABLE, "rewritten"))


def test_details_are_the_standard_ones() -> None:
    """Other languages' clients find google.rpc details where they look for them."""
    with served(lambda *_: misbehave("status"), recovery.server()) as ask:
        with pytest.raises(grpc.RpcError) as caught:
            ask("x")
        status = rpc_status.from_call(caught.value)
        assert [detail.type_url.rpartition("/")[2] for detail in status.details] == [
            "google.rpc.ErrorInfo",
            "google.rpc.BadRequest",
            "google.rpc.RetryInfo",
        ]
        trailers: dict[str, Any] = {x.key: x.value for x in caught.value.trailing_metadata()}
        assert trailers["grpc-retry-pushback-ms"] == "250"


def test_every_code_is_definite_or_not() -> None:
    """The codes that the course calls indefinite are the ones left over."""
    assert {code.name for code in grpc.StatusCode} - {code.name for code in DEFINITE} == {
        "CANCELLED",
        "UNKNOWN",
        "DEADLINE_EXCEEDED",
        "RESOURCE_EXHAUSTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
    }


def test_resource_exhausted_after_the_work_was_done() -> None:
    """A reply that is too large for the client is RESOURCE_EXHAUSTED, and the work is done."""
    done = []

    def behave(text: str, context: Any) -> str:
        done.append(text)
        return "x" * 1000

    with ThreadPoolExecutor(2) as pool:
        server = grpc.server(pool, options=LOCAL)
        server.add_generic_rpc_handlers(
            (generic("unary_unary", sync_handler("unary_unary", behave)),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        options = [*LOCAL, ("grpc.max_receive_message_length", 100)]
        channel = grpc.insecure_channel(f"127.0.0.1:{port}", options)
        ask: Any = channel.unary_unary("/t.T/Ask")
        with channel, pytest.raises(grpc.RpcError) as caught:
            ask(b"once", timeout=5)
        server.stop(0).wait()
    assert StatusError.of(caught.value).code is CODE.RESOURCE_EXHAUSTED
    assert not StatusError.of(caught.value).definite
    assert done == ["once"]
