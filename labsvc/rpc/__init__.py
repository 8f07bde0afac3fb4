"""What a gRPC service needs beside its handlers, a module per subject; all can be taken to work.

Calls that end well
    deadline       a deadline for every call, passed on, and no work that is too late
    errors         StatusError: a code, a text, details; which codes are definite
    recovery       what a handler raises becomes a status, and nothing leaks
    context        trace, request and user go along, into the logs too
    decode         a request that is no message is INVALID_ARGUMENT

Calls that are made again
    retry          the service config for gRPC's own retries, typed and checked
    retry_budget   a bound on extra tries
    hedge          a second call before the first is late
    breaker        no calls to what does not answer
    idempotency    a key, so that what is sent twice happens once

Servers under load
    concurrency    so many calls at once, and the next one refused at once
    stream         a stream at its reader's pace; handlers that end with their call
    chunks         a large file in chunks, which goes on where it broke
    chunk_store    where the chunks arrive, and become a file
    drain          stop a server without failing a call
    observe        count what a server answered
    balance        one channel over many backends that come and go

Who talks to whom
    tls            why TLS failed, certificates renewed while calls run, the caller's name

Contracts
    contract       a contract from its text, without a file
    breaking       what a change of a contract breaks

`chain` puts the interceptors of this package in their order. Each is made by a function named for
its side: `server` for grpc.server, `aio_server` for grpc.aio, `client` and `aio_client` likewise.
Behind them stand `_guard` (around a handler), `_server` and `_client` (interceptors),
`_call_context` (what `context` carries), `_complaints` (what is wrong with a service config) and
`_moving` (calls that `balance` takes to another backend).

The package knows nothing of the lab and the shop: it imports gRPC, protobuf and OpenTelemetry.
"""

from __future__ import annotations

__all__ = [
    "balance",
    "breaker",
    "breaking",
    "chain",
    "chunk_store",
    "chunks",
    "concurrency",
    "context",
    "contract",
    "deadline",
    "decode",
    "drain",
    "errors",
    "hedge",
    "idempotency",
    "observe",
    "recovery",
    "retry",
    "retry_budget",
    "stream",
    "tls",
]
