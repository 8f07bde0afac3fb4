"""Spans as a reader wants them: of one trace, as a tree.

    trace = collector.trace("4bf92f35...")
    print(trace)
    trace.plot("One order")

A span is one piece of work with a start and an end; a trace is all spans with the same trace id,
each naming its parent (OpenTelemetry, "Traces"; the fields are those of OTLP's trace.proto).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans
    from opentelemetry.proto.trace.v1.trace_pb2 import Span as Message

    from labsvc.measure.plots import Plot

__all__ = ["Span", "Trace", "decode"]

KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_ERROR = 2  # STATUS_CODE_ERROR


@dataclass(frozen=True, slots=True)
class Span:
    """One span; times are in nanoseconds since 1970, ids in hex, `parent_id` "" for a root."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    start_ns: int
    end_ns: int
    error: bool
    message: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    links: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.end_ns - self.start_ns) / 1e9

    @property
    def title(self) -> str:
        """The name without the package of a gRPC service: "UserService/GetUser"."""
        head, slash, method = self.name.lstrip("/").rpartition("/")
        is_method = self.name.startswith("/") and slash and "/" not in head
        return f"{head.rpartition('.')[2]}/{method}" if is_method else self.name


@dataclass(frozen=True)
class Trace:
    """All spans of one trace that have arrived, by their start."""

    trace_id: str
    spans: tuple[Span, ...]

    @classmethod
    def of(cls, trace_id: str, spans: Iterable[Span]) -> Trace:
        """Put the spans in order, each once: an export that is repeated brings them again."""
        each = {span.span_id: span for span in spans}.values()
        return cls(trace_id, tuple(sorted(each, key=lambda span: (span.start_ns, -span.end_ns))))

    @property
    def seconds(self) -> float:
        """From the first start to the last end; 0.0 without spans."""
        if not self.spans:
            return 0.0
        start = min(span.start_ns for span in self.spans)
        return (max(span.end_ns for span in self.spans) - start) / 1e9

    @property
    def error(self) -> bool:
        """Whether a span of it has the status ERROR."""
        return any(span.error for span in self.spans)

    @property
    def services(self) -> list[str]:
        """The services that it has spans of, each once, the first one first."""
        return list(dict.fromkeys(span.service for span in self.spans))

    @property
    def complete(self) -> bool:
        """Whether it has one root, and the parent of every other span."""
        known = {span.span_id for span in self.spans}
        roots = [span for span in self.spans if span.parent_id not in known]
        return len(roots) == 1 and not roots[0].parent_id

    def tree(self) -> Iterator[tuple[int, Span]]:
        """Yield every span behind its parent, with its depth; one whose parent is missing has 0."""
        known = {span.span_id for span in self.spans}
        children: dict[str, list[Span]] = {}
        for span in self.spans:
            above = span.parent_id if span.parent_id in known else ""
            children.setdefault(above, []).append(span)
        waiting = [(0, span) for span in reversed(children.pop("", []))]
        while waiting:
            depth, span = waiting.pop()
            yield depth, span
            below = children.pop(span.span_id, [])
            waiting += [(depth + 1, child) for child in reversed(below)]

    def plot(self, title: str) -> Plot:
        """Draw it as a waterfall: a bar for each span, its children below it, time to the right."""
        from labsvc.telemetry.waterfall import plot

        return plot(self, title)

    def __str__(self) -> str:
        """List the spans as a tree, without times: the same call gives the same text."""
        lines = [
            f"{'  ' * depth}{span.service}: {span.title} [{span.kind}]{' ERROR' * span.error}"
            for depth, span in self.tree()
        ]
        return "\n".join(lines) or "no spans"


def decode(batches: Sequence[ResourceSpans]) -> list[Span]:
    """Return the spans of an OTLP export request."""
    spans = []
    for batch in batches:
        resource = {pair.key: _value(pair.value) for pair in batch.resource.attributes}
        service = str(resource.get("service.name", "unknown_service"))
        for scope in batch.scope_spans:
            spans += [_span(service, message) for message in scope.spans]
    return spans


def _span(service: str, message: Message) -> Span:
    known = 0 <= message.kind < len(KINDS)
    return Span(
        service=service,
        name=message.name,
        kind=KINDS[message.kind] if known else KINDS[0],
        trace_id=message.trace_id.hex(),
        span_id=message.span_id.hex(),
        parent_id=message.parent_span_id.hex(),
        start_ns=message.start_time_unix_nano,
        end_ns=message.end_time_unix_nano,
        error=message.status.code == _ERROR,
        message=message.status.message,
        attributes={pair.key: _value(pair.value) for pair in message.attributes},
        links=tuple(link.trace_id.hex() for link in message.links),
    )


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(one) for one in value.array_value.values]
    if kind == "kvlist_value":
        return {pair.key: _value(pair.value) for pair in value.kvlist_value.values}
    return getattr(value, kind) if kind else None
