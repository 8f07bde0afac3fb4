"""What an HTTP client or service needs; all of it can be taken to work.

A client of other services
    client         a client with places, a deadline and trace headers: one for each service
    deadline       a bound for the whole exchange, which a dripping body does not outlive

One contract, two faces
    gateway        serves gRPC methods over HTTP, as their contract says
    routes         which method a path is for: the rules of google.api.http
    transcoding    a message from path, query and body, and JSON from a message
    headers        deadline and metadata, from headers
    statuses       which HTTP status a gRPC code has, and back
    call_problems  what an HTTP caller reads when a call fails
    asgi           a body that ends, a caller who leaves
    health         alive, and ready

Contracts at both ends
    problem        one form for every error, RFC 9457
    app_problems   every error of a FastAPI app in that form
    etag           an update that says what it is based on, so that it overwrites nobody's
    breaking       what a change to an OpenAPI document breaks

The package knows nothing of the lab and the shop: it imports `labsvc.rpc`, gRPC, protobuf, httpx2,
OpenTelemetry, Starlette and FastAPI. Used by notebooks 30, 31 and 33.
"""

from __future__ import annotations

__all__ = [
    "app_problems",
    "asgi",
    "breaking",
    "call_problems",
    "client",
    "deadline",
    "etag",
    "gateway",
    "headers",
    "health",
    "problem",
    "routes",
    "statuses",
    "transcoding",
]
