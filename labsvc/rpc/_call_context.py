"""What a request carries from hop to hop, read from metadata and written to it.

The trace is OpenTelemetry's, in the form of W3C Trace Context, level 1; no SDK is needed for that.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from opentelemetry.context import Context
from opentelemetry.trace import (
    INVALID_SPAN_CONTEXT,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Iterable

REQUEST_ID = "x-request-id"
USER_ID = "x-user-id"

_W3C = TraceContextTextMapPropagator()
_TRACEPARENT = "traceparent"
_LONGEST = 512  # of a later version; that of today has 55 characters
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_random_bits = random.getrandbits  # as OpenTelemetry does: an id has to differ, it is no secret
_ID = re.compile(r"[!-~]{1,128}")  # fits a log line and a header, whoever sent it


@dataclass(frozen=True, slots=True)
class CallContext:
    """What a request carries from hop to hop.

    Attributes:
        span: this hop's place in the trace, as OpenTelemetry has it: ids as numbers, flags, state.
        request_id: names the request in every log, 1 to 128 characters of visible ASCII.
        user_id: who asks, in the same form; None if nobody said.

    Raises ValueError for an id that metadata cannot carry.

    """

    span: SpanContext = field(hash=False)  # its state cannot be hashed
    request_id: str
    user_id: str | None = None

    def __post_init__(self) -> None:
        for name in ("request_id", "user_id"):
            value = getattr(self, name)
            if value is not None and _id(value) is None:
                msg = f"{name} must be 1 to 128 visible ASCII characters, not {value!r}"
                raise ValueError(msg)

    @classmethod
    def new(cls, user_id: str | None = None) -> Self:
        """Return the context of a request that starts here."""
        return cls(_new_span(), _new_id(), user_id)

    @classmethod
    def received(cls, metadata: Iterable[tuple[str, str | bytes]]) -> Self:
        """Return the context that came with a call; what is missing or malformed is made anew.

        The trace goes on with a new span for the hop that received it, and stays sampled or not.
        """
        found = {
            key: value
            for key, value in metadata
            if isinstance(value, str) and not (key == _TRACEPARENT and len(value) > _LONGEST)
        }
        return cls(
            _new_span(get_current_span(_W3C.extract(found)).get_span_context()),
            _id(found.get(REQUEST_ID)) or _new_id(),
            _id(found.get(USER_ID)),
        )

    @property
    def trace_id(self) -> str:
        """The trace's id, 32 hex digits, as tools that show traces write it."""
        return format_trace_id(self.span.trace_id)

    def metadata(self) -> list[tuple[str, str]]:
        """Return the metadata that hands it on."""
        pairs = {REQUEST_ID: self.request_id}
        if self.user_id is not None:
            pairs[USER_ID] = self.user_id
        _W3C.inject(pairs, set_span_in_context(NonRecordingSpan(self.span), Context()))
        return list(pairs.items())


def _new_span(parent: SpanContext = INVALID_SPAN_CONTEXT) -> SpanContext:
    """Return a new span of the parent's trace; of a new trace if there is no valid parent."""
    span_id = _random_bits(64)
    if not parent.is_valid:
        return SpanContext(_random_bits(128), span_id, is_remote=False, trace_flags=_SAMPLED)
    flags = TraceFlags(parent.trace_flags & _SAMPLED)  # the others have no meaning in level 1
    return SpanContext(
        parent.trace_id,
        span_id,
        is_remote=False,
        trace_flags=flags,
        trace_state=parent.trace_state,
    )


def _new_id() -> str:
    return f"{_random_bits(64):016x}"


def _id(text: str | None) -> str | None:
    return text if text is not None and _ID.fullmatch(text) else None
