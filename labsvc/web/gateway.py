"""Serve gRPC methods over HTTP, as their contract says (claims C58 and C60, notebook 33).

    async with grpc.aio.insecure_channel(target) as channel:
        services = order_pb2.DESCRIPTOR.services_by_name.values()
        app = Gateway(channel, services)

`app` is an ASGI application, to be served at the root or mounted under a prefix. Methods without a
rule cannot be asked. A call ends when its caller leaves, or when the time of its caller is up:
`labsvc.web.headers` has the names. A stream comes as a line of JSON for each message,

    {"result": {...}}

and, if it fails after the first, a last line `{"error": {...}}` with a problem document: the status
line is long gone then.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from google.protobuf.message_factory import GetMessageClass
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import Response

from labsvc.rpc.errors import StatusError
from labsvc.web import transcoding
from labsvc.web.asgi import Sent, body_of, nothing, path_of, unless_left
from labsvc.web.call_problems import document_of, response_of
from labsvc.web.headers import TIMEOUT, headers_of, metadata_of, timeout_of
from labsvc.web.problem import ProblemError
from labsvc.web.routes import Route, Routes
from labsvc.web.transcoding import BadInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
    from starlette.types import Receive, Scope, Send

_STREAM = {
    "content-type": "application/x-ndjson",
    "x-accel-buffering": "no",  # or nginx keeps the lines until its buffer is full
}

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())

_CODE = grpc.StatusCode
_not_http = Starlette()  # answers the lifespan, and refuses WebSockets


class Gateway:
    """An ASGI application in front of gRPC services.

    `channel` stays the caller's, made on the loop that serves. `timeout` is the most seconds that a
    caller's body and a call may take; a stream has the time that its caller gives it.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        services: Iterable[ServiceDescriptor],
        *,
        timeout: float = 10.0,
    ) -> None:
        self._routes = Routes(services)
        self._timeout = timeout
        self._methods = {
            route.method.full_name: _method(channel, route.method) for route in self._routes
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await _not_http(scope, receive, send)
            return
        sent = Sent(send)
        try:
            route, values = self._find(scope)
            request = await self._request(route, values, scope, receive)
            await unless_left(receive, self._answer(route, request, scope, sent))
        except BadInputError as error:
            text = str(error)
            fields = {error.field: text} if error.field else {}
            bad = StatusError(_CODE.INVALID_ARGUMENT, text, fields=fields)
            await response_of(bad)(scope, receive, sent)
        except ProblemError as error:
            await error.response()(scope, receive, sent)
        except grpc.RpcError as error:
            await response_of(StatusError.of(error))(scope, receive, sent)
        except Exception as error:
            if sent.started:
                raise
            log.exception("the gateway failed at %s", scope["path"])
            failed = StatusError(_CODE.INTERNAL, str(error))
            await response_of(failed)(scope, receive, sent)

    def _find(self, scope: Scope) -> tuple[Route, dict[str, str]]:
        try:
            found = self._routes.at(path_of(scope))
        except ValueError as error:
            msg = "the path is no UTF-8"
            raise BadInputError(msg, "path") from error
        if scope["method"] in found:
            return found[scope["method"]]
        if found:
            text = f"this path takes {', '.join(found)}"
            allow = {"allow": ", ".join(found)}
            raise ProblemError(405, text, code="UNIMPLEMENTED", headers=allow)
        raise ProblemError(404, "there is no such path", code="UNIMPLEMENTED")

    async def _request(
        self, route: Route, values: dict[str, str], scope: Scope, receive: Receive
    ) -> Any:
        body = b""
        if route.body:
            kind = Headers(scope=scope).get("content-type", "application/json")
            if kind.partition(";")[0].strip().lower() != "application/json":
                text = "send the body as application/json"
                raise ProblemError(415, text, code="INVALID_ARGUMENT")
            try:
                body = await asyncio.wait_for(body_of(receive), self._timeout)
            except TimeoutError as error:
                text = "the body did not come in time"
                close = {"connection": "close"}
                raise ProblemError(408, text, code="DEADLINE_EXCEEDED", headers=close) from error
        return transcoding.read(route, values, scope["query_string"], body)

    async def _answer(self, route: Route, request: Any, scope: Scope, send: Send) -> None:
        limit = timeout_of(Headers(scope=scope).get(TIMEOUT))
        if limit == 0:
            raise ProblemError(504, "no time is left", code="DEADLINE_EXCEEDED")
        streams = route.method.server_streaming
        if not streams:
            limit = min(self._timeout, limit or self._timeout)
        call = self._methods[route.method.full_name](
            request, timeout=limit, metadata=metadata_of(scope["headers"])
        )
        try:
            if streams:
                await _send_lines(call, route, send)
            else:
                answer = transcoding.write(await call, route.response_body)
                headers = headers_of(await call.initial_metadata())
                await Response(answer, 200, headers, "application/json")(scope, nothing, send)
        finally:
            call.cancel()


async def _send_lines(call: Any, route: Route, send: Send) -> None:
    message = await call.read()  # an error before the first message is an ordinary answer
    headers = _STREAM | headers_of(await call.initial_metadata())
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": raw})
    try:
        while message is not grpc.aio.EOF:
            line = b'{"result":%s}\n' % transcoding.write(message, route.response_body)
            await send({"type": "http.response.body", "body": line, "more_body": True})
            message = await call.read()
    except grpc.RpcError as error:
        line = json.dumps({"error": document_of(StatusError.of(error))}).encode() + b"\n"
        await send({"type": "http.response.body", "body": line, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _method(channel: grpc.aio.Channel, method: MethodDescriptor) -> Any:
    make = channel.unary_stream if method.server_streaming else channel.unary_unary
    service = method.containing_service
    return make(
        f"/{service.full_name}/{method.name}",
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
