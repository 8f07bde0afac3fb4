"""One line for each call, with the ids that join it to others, and without a secret."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from opentelemetry.instrumentation.grpc import aio_server_interceptor, server_interceptor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_trace_id

from labsvc import until
from labsvc.rpc import context as call_context
from labsvc.rpc.context import CallContext
from labsvc.telemetry import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.lab import Lab

SECRET = "5ca1ab1e" * 4  # it stands in names of tests, which have to be the same in each process
LOGGER = logging.getLogger("labsvc.test.calls")


class Threads(health_pb2_grpc.HealthServicer):
    """Aborts with what it was asked for, if anything, and logs a line of its own."""

    workers = 2
    server = staticmethod(logs.server)
    context = staticmethod(call_context.server)
    traced = staticmethod(server_interceptor)

    def Check(self, request: Any, context: Any) -> Any:
        """Answer or abort."""
        if request.service:
            LOGGER.info("aborting")
            context.abort(grpc.StatusCode[request.service], SECRET)
        time.sleep(0.05)
        return health_pb2.HealthCheckResponse()


class Aio(health_pb2_grpc.HealthServicer):
    """The same on grpc.aio."""

    workers = None
    server = staticmethod(logs.aio_server)
    context = staticmethod(call_context.aio_server)
    traced = staticmethod(aio_server_interceptor)

    async def Check(self, request: Any, context: Any) -> Any:
        """Answer or abort."""
        if request.service:
            LOGGER.info("aborting")
            await context.abort(grpc.StatusCode[request.service], SECRET)
        await asyncio.sleep(0.05)
        return health_pb2.HealthCheckResponse()


class Lines(logging.Handler):
    """Keeps the lines that JsonLines makes."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logs.JsonLines())
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.texts.append(self.format(record))

    @property
    def all(self) -> list[dict[str, Any]]:
        """The lines, read again."""
        return [json.loads(text) for text in self.texts]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Attach a handler to the logger of these tests."""
    handler, logger = Lines(), LOGGER
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


def call(lab: Lab, kind: Any, service: str = "", *, before: Any = (), **more: Any) -> None:
    """Make one call to a server that logs it."""
    log = logs.CallLog(LOGGER, more.get("keys", ()))
    served = lab.serve_grpc(
        kind(),
        name="logged",
        workers=kind.workers,
        interceptors=[*before, kind.server(log), kind.context()],
    )
    with grpc.insecure_channel(served.target) as channel:
        check: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        try:
            check(request, timeout=5, metadata=more.get("metadata"))
        except grpc.RpcError:
            assert service


def test_the_line_of_a_call(shared_lab: Lab, kind: Any, lines: Lines) -> None:
    """It has the ids that came with the call, the method, the status and the time."""
    mine = CallContext.new("u-7")
    call(shared_lab, kind, metadata=mine.metadata())
    until(lambda: lines.all)
    (line,) = lines.all
    assert 45 < line.pop("ms") < 5000
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "INFO",
        "logger": "labsvc.test.calls",
        "event": "call",
        "request_id": mine.request_id,
        "trace_id": mine.trace_id,
        "user_id": "u-7",
        "method": "grpc.health.v1.Health/Check",
        "status": "OK",
    }


def test_the_span_has_the_last_word(shared_lab: Lab, kind: Any, lines: Lines) -> None:
    """With OpenTelemetry's interceptor before, the line has the trace id of its span."""
    provider, exported = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(exported))
    call(shared_lab, kind, before=[kind.traced(provider)])
    until(lambda: lines.all and exported.get_finished_spans())
    (span,) = exported.get_finished_spans()
    assert span.context is not None
    assert lines.all[0]["trace_id"] == format_trace_id(span.context.trace_id)


def test_lines_of_a_handler_have_the_ids(shared_lab: Lab, kind: Any, lines: Lines) -> None:
    """With `WithIds`, what a handler logs has the ids of its call, with or without a span."""
    lines.addFilter(logs.WithIds())
    mine, provider = CallContext.new("u-7"), TracerProvider(shutdown_on_exit=False)
    for before in ([], [kind.traced(provider)]):
        lines.texts.clear()
        call(shared_lab, kind, "NOT_FOUND", before=before, metadata=mine.metadata())
        until(lambda: len(lines.all) == 2)
        own, its_call = lines.all
        assert (own["event"], its_call["event"]) == ("aborting", "call")
        for name in ("trace_id", "request_id", "user_id"):
            assert own[name] == its_call[name]
        assert own["trace_id"] == mine.trace_id


def test_ids_of_a_record_stay() -> None:
    """A record that has an id keeps it; outside of a call there is none."""
    record = logging.getLogger("x").makeRecord("x", 20, "f", 1, "m", (), None)
    record.trace_id = "t-1"
    assert logs.WithIds().filter(record)
    line = json.loads(logs.JsonLines().format(record))
    assert (line["trace_id"], line["request_id"], line["user_id"]) == ("t-1", "-", "-")


@pytest.mark.parametrize(
    ("code", "level"), [("INTERNAL", "WARNING"), ("UNAVAILABLE", "WARNING"), ("NOT_FOUND", "INFO")]
)
def test_failures_are_lines_too(
    shared_lab: Lab, kind: Any, lines: Lines, code: str, level: str
) -> None:
    """A call that was aborted has its line, without the text that was meant for the caller."""
    call(shared_lab, kind, code)
    until(lambda: len(lines.all) == 2)
    line = lines.all[1]
    assert (line["status"], line["level"]) == (code, level)
    assert SECRET not in lines.texts[1]


def test_metadata_by_an_allow_list(shared_lab: Lab, kind: Any, lines: Lines) -> None:
    """A line shows the keys that are listed and no others, and never bytes."""
    sent = [
        ("x-region", "eu"),
        ("authorization", f"Bearer {SECRET}"),
        ("x-session", SECRET),
        ("x-blob-bin", SECRET.encode()),
    ]
    call(shared_lab, kind, metadata=sent, keys=["x-region", "x-blob-bin"])
    until(lambda: lines.all)
    assert lines.all[0]["metadata"] == {"x-region": "eu"}
    assert SECRET not in lines.texts[0]


def formatted(message: str, *args: Any, **extra: Any) -> str:
    """Return the line of a record."""
    record = logging.getLogger("x").makeRecord("x", 20, "f", 1, message, args, None, extra=extra)
    return logs.JsonLines().format(record)


def test_fields_by_an_allow_list() -> None:
    """An attribute of a record that is not listed is not shown, whatever its name."""
    line = formatted("saved", status="OK", session=SECRET, authorization=SECRET)
    assert json.loads(line)["status"] == "OK"
    assert SECRET not in line


def test_one_record_is_one_line() -> None:
    """A line break in a text cannot forge a line."""
    line = formatted('%s"}', 'no\n{"event": "call", "status": "OK"')
    assert "\n" not in line
    assert set(json.loads(line)) == {"time", "level", "logger", "event"}


@pytest.mark.parametrize(
    "text",
    [
        f"sent Authorization: Bearer {SECRET}",
        f"basic {SECRET} was refused",
        f"GET /films?token={SECRET}",
        f'{{"api_key": "{SECRET}"}}',
        f"PASSWORD = {SECRET}",
        f"eyJhbGciOi.{SECRET}.{SECRET}",
    ],
)
def test_what_looks_like_a_credential_is_covered(text: str) -> None:
    """Free text passes a net."""
    assert SECRET not in formatted(text)
    assert "[hidden]" in formatted(text)


def test_other_text_stays() -> None:
    """The net has holes on purpose: it leaves what people need."""
    assert json.loads(formatted("order o-1 of u-1 was refused"))["event"] == (
        "order o-1 of u-1 was refused"
    )


def test_a_traceback_is_one_field() -> None:
    """It stays on its line, and passes the net too."""
    try:
        raise ValueError(f"token={SECRET}")  # noqa: TRY301
    except ValueError as error:
        kind_of_it = (type(error), error, error.__traceback__)
    record = logging.getLogger("x").makeRecord("x", 40, "f", 1, "failed", (), kind_of_it)
    line = logs.JsonLines().format(record)
    assert "ValueError" in json.loads(line)["error"]
    assert SECRET not in line
    assert "\n" not in line
