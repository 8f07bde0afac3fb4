"""One log line for each call of a gRPC server, as JSON, with the ids that join it to others.

    handler = logging.StreamHandler()
    handler.setFormatter(logs.JsonLines())
    handler.addFilter(logs.WithIds())               # for the lines that handlers write
    logging.getLogger("calls").addHandler(handler)
    grpc.server(pool, interceptors=[logs.server(logs.CallLog(logging.getLogger("calls")))])

    {"time": "...", "level": "INFO", "logger": "calls", "event": "call", "request_id": "r-1",
     "trace_id": "4bf9...", "user_id": "u-1", "method": "shop.Users/Get", "status": "OK", "ms": 1.2}

A secret stays out because nobody lets it in: a line has the fields of a list and no others, and of
metadata only the keys of another list. Who lists what to hide has to know every name under which a
secret will ever travel (OWASP, *Logging Cheat Sheet*, "Data to exclude"). Free text can hold
anything; what looks like a credential in it is covered up, which is a net below the list and no
more. Line breaks are escaped by JSON, so a caller cannot forge a line.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import TYPE_CHECKING, Any

from labsvc.rpc import _server
from labsvc.telemetry.calls import Watching, ids

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    import grpc
    import grpc.aio

    from labsvc.telemetry.calls import EndedCall

__all__ = [
    "FIELDS",
    "CallLog",
    "JsonLines",
    "WithIds",
    "aio_server",
    "allowed",
    "covered",
    "server",
]

FIELDS = ("request_id", "trace_id", "user_id", "method", "status", "ms", "metadata")
"""What a line shows of a record's own attributes, beside time, level, logger, event and error."""

SERVERS_FAULT = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)
"""Codes that are the server's fault, by OpenTelemetry's semantic conventions for gRPC."""

# What follows Bearer or Basic, a JSON Web Token, and what is called a secret by its name.
_CREDENTIAL = re.compile(
    r"\b(?:bearer|basic)\s+\S+"
    r"|\beyJ[\w-]+\.[\w-]+\.[\w-]*"
    r"|[\w-]*(?:token|secret|password|api[_-]?key)[\w-]*[\"']?\s*[=:]\s*\S+",
    re.IGNORECASE,
)
_COVER = "[hidden]"


class CallLog:
    """Writes the line of each call that has ended.

    A status that is the server's fault is a WARNING, any other INFO. The text of a status is left
    out: it may repeat what a caller has sent.

    Args:
        logger: where the lines go.
        keys: keys of metadata that a line may show, such as "x-region"; none by default.

    """

    def __init__(self, logger: logging.Logger, keys: Collection[str] = ()) -> None:
        self._logger = logger
        self._keys = frozenset(keys)

    def ended(self, call: EndedCall) -> None:
        """Write its line."""
        level = logging.WARNING if call.code in SERVERS_FAULT else logging.INFO
        fields: dict[str, Any] = {
            "request_id": call.ids.request_id,
            "trace_id": call.ids.trace_id,
            "user_id": call.ids.user_id,
            "method": call.method,
            "status": call.code,
            "ms": round(1000 * call.seconds, 3),
        }
        if shown := allowed(call.metadata, self._keys):
            fields["metadata"] = shown
        self._logger.log(level, "call", extra=fields)


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON, with the fields of a list and no others.

    Args:
        fields: attributes of a record, as `extra=` or a filter such as `LogFilter` sets them; one
            that a record lacks is left out.

    """

    def __init__(self, fields: Iterable[str] = FIELDS) -> None:
        super().__init__()
        self._fields = tuple(fields)

    def format(self, record: logging.LogRecord) -> str:
        """Return the line. Times are UTC; a traceback is one field, `error`."""
        at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{at}.{int(record.msecs):03}Z",
            "level": record.levelname,
            "logger": record.name,
            "event": covered(record.getMessage()),
        }
        known = record.__dict__
        line.update({field: known[field] for field in self._fields if field in known})
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = covered(self.formatException(record.exc_info))
        return json.dumps(line, default=str)


class WithIds(logging.Filter):
    """Gives `trace_id`, `request_id` and `user_id` of the call to each record that lacks them.

    Put it on the handler of a log. It is `labsvc.rpc.context.LogFilter` that knows of spans too.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields and let the record pass."""
        now = ids()
        for name in ("trace_id", "request_id", "user_id"):
            if not hasattr(record, name):
                setattr(record, name, getattr(now, name))
        return True


def allowed(metadata: Iterable[tuple[str, str | bytes]], keys: Collection[str]) -> dict[str, str]:
    """Return the pairs whose keys are listed; a value of bytes is never shown."""
    return {key: value for key, value in metadata if key in keys and isinstance(value, str)}


def covered(text: str) -> str:
    """Return the text with `[hidden]` for what looks like a credential; much else may be one."""
    return _CREDENTIAL.sub(_COVER, text)


def server(log: CallLog) -> grpc.ServerInterceptor:
    """Return the interceptor for grpc.server. Put it before all that may answer a call."""
    return _server.server(Watching(log.ended))


def aio_server(log: CallLog) -> grpc.aio.ServerInterceptor:
    """Return the interceptor for grpc.aio.server; see `server`."""
    return _server.aio_server(Watching(log.ended))
