"""A trace to read: its order, its tree, and what a span has of what was sent."""

from __future__ import annotations

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import (
    AnyValue,
    ArrayValue,
    KeyValue,
    KeyValueList,
)
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

from labsvc.telemetry.spans import Trace, decode
from tests.telemetry.otlp import message, request, span, trace


def shape(found: Trace) -> list[tuple[int, str]]:
    """Return the tree as depths and ids."""
    return [(depth, each.span_id) for depth, each in found.tree()]


def test_children_come_behind_their_parent_by_their_start() -> None:
    """The tree goes down before it goes on, whatever the order in which spans came."""
    found = trace(
        span("d", "a", at=(6, 8)),
        span("c", "b", at=(2, 4)),
        span("b", "a", at=(1, 5)),
        span("a", at=(0, 9)),
    )
    assert shape(found) == [(0, "a"), (1, "b"), (2, "c"), (1, "d")]
    assert found.complete


def test_of_two_with_one_start_the_longer_comes_first() -> None:
    """A parent is not behind a child that began in the same moment."""
    found = trace(span("b", "a", at=(0, 1)), span("a", at=(0, 2)))
    assert [each.span_id for each in found.spans] == ["a", "b"]


def test_a_missing_parent_is_seen() -> None:
    """What is below it stands at the edge with its own children, and the trace is not complete."""
    found = trace(span("a", at=(0, 9)), span("c", "b", at=(2, 4)), span("d", "c", at=(3, 4)))
    assert shape(found) == [(0, "a"), (0, "c"), (1, "d")]
    assert not found.complete
    assert not trace(span("c", "b")).complete


def test_two_roots_are_not_one_trace() -> None:
    """Each has its tree, in the order of their starts."""
    found = trace(span("b", at=(5, 6)), span("a", at=(0, 9)), span("c", "b", at=(5, 6)))
    assert shape(found) == [(0, "a"), (0, "b"), (1, "c")]
    assert not found.complete


def test_a_span_that_came_twice_is_there_once() -> None:
    """An export that is repeated, for want of an answer, does not make a second root."""
    found = trace(span("a"), span("b", "a"), span("a"), span("b", "a"))
    assert shape(found) == [(0, "a"), (1, "b")]
    assert found.complete


def test_a_trace_without_spans() -> None:
    """It says so, and is nothing in every respect."""
    found = trace()
    assert str(found) == "no spans"
    assert found.seconds == 0.0
    assert (found.complete, found.error, found.services, shape(found)) == (False, False, [], [])


def test_a_tree_as_deep_as_any() -> None:
    """A chain of 5,000 spans does not end in a RecursionError."""
    found = trace(*(span(str(n), str(n - 1) if n else "", at=(n, n)) for n in range(5000)))
    assert [depth for depth, _ in found.tree()] == list(range(5000))
    assert found.complete


def test_the_text_has_no_times() -> None:
    """The same call gives the same text: service, title, kind, and what failed."""
    found = trace(
        span("a", name="POST /orders", kind="server", service="web", at=(0, 9)),
        span(
            "b",
            "a",
            name="/labsvc.shop.v1.UserService/GetUser",
            kind="client",
            service="web",
            at=(1, 5),
        ),
        span("c", "b", kind="server", name="stock", service="stock", error=True, at=(2, 4)),
    )
    assert str(found).splitlines() == [
        "web: POST /orders [server]",
        "  web: UserService/GetUser [client]",
        "    stock: stock [server] ERROR",
    ]
    assert found.error
    assert found.services == ["web", "stock"]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("/labsvc.shop.v1.UserService/GetUser", "UserService/GetUser"),
        ("/UserService/GetUser", "UserService/GetUser"),
        ("labsvc.shop.v1.UserService/GetUser", "labsvc.shop.v1.UserService/GetUser"),
        ("GET /orders/1.5/lines", "GET /orders/1.5/lines"),
        ("/orders/1.5/lines", "/orders/1.5/lines"),
        ("/", "/"),
        ("", ""),
    ],
)
def test_titles(name: str, title: str) -> None:
    """The package of a gRPC service is left out, and nothing of any other name."""
    assert span("a", name=name).title == title


def test_a_trace_lasts_from_its_first_start_to_its_last_end() -> None:
    """A child that outlives its root counts."""
    found = trace(span("a", at=(10, 20)), span("b", "a", at=(15, 40)))
    assert found.seconds == pytest.approx(0.03)
    assert found.spans[0].seconds == pytest.approx(0.01)


def test_attributes_of_every_kind() -> None:
    """Numbers, text, bytes, lists and maps within each other, and nothing at all."""
    listed = AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue()]))
    values = {
        "text": AnyValue(string_value="tea"),
        "true": AnyValue(bool_value=True),
        "false": AnyValue(bool_value=False),
        "whole": AnyValue(int_value=-(2**63)),
        "real": AnyValue(double_value=0.5),
        "bytes": AnyValue(bytes_value=b"\0\xff"),
        "list": listed,
        "map": AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="list", value=listed)])),
        "empty list": AnyValue(array_value=ArrayValue()),
        "empty map": AnyValue(kvlist_value=KeyValueList()),
        "nothing": AnyValue(),
    }
    sent = message(1, attributes=[KeyValue(key=key, value=value) for key, value in values.items()])
    [found] = decode(request(sent).resource_spans)
    assert found.attributes == {
        "text": "tea",
        "true": True,
        "false": False,
        "whole": -(2**63),
        "real": 0.5,
        "bytes": b"\0\xff",
        "list": [1, None],
        "map": {"list": [1, None]},
        "empty list": [],
        "empty map": {},
        "nothing": None,
    }


def test_what_a_span_has_of_its_message() -> None:
    """Ids become hex, the kind a word, links the ids of their traces."""
    sent = message(
        2,
        trace=255,
        parent_span_id=b"\x01" * 8,
        kind=Message.SPAN_KIND_CONSUMER,
        start_time_unix_nano=5,
        end_time_unix_nano=9,
        status=Status(code=Status.STATUS_CODE_ERROR, message="no tea"),
        links=[Message.Link(trace_id=b"\x02" * 16, span_id=b"\x03" * 8)],
    )
    [found] = decode(request(sent, service="mails").resource_spans)
    assert (found.service, found.kind, found.name) == ("mails", "consumer", "work 2")
    assert (found.trace_id, found.span_id) == ("ff".zfill(32), "2".zfill(16))
    assert (found.parent_id, found.links) == ("01" * 8, ("02" * 16,))
    assert (found.start_ns, found.end_ns) == (5, 9)
    assert (found.error, found.message) == (True, "no tea")


def test_a_message_with_little_in_it() -> None:
    """A service without a name and a kind that nobody knows have words all the same."""
    sent = message(1)
    sent.kind = 99  # type: ignore[assignment]  # of a later version of the protocol
    bare = ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[sent])])]
    )
    [found] = decode(bare.resource_spans)
    assert (found.service, found.kind) == ("unknown_service", "unspecified")
    assert (found.error, found.parent_id, found.attributes, found.links) == (False, "", {}, ())
