"""The interceptors of this package in the order in which they work.

A server's, from the outside in; put what counts calls before them:

    1. recovery     answers what any of those behind it raises, so it comes first
    2. context      trace id, user and request id for every log line and every call from here on
    3. deadline     refuses what comes too late, before it takes a place
    4. concurrency  refuses what is too much, before any work is done
    5. idempotency  answers a key that it knows; behind the limit, for a handler may follow
    6. decode       refuses what is no message; nearest to the handler, so that all above see it

A client's: context, then deadline. Both run once for each call. The retries of a service config lie
below them, in the core: each try carries the same metadata, and all tries share the deadline.

Claim C52; notebook 25 shows what another order does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.rpc import concurrency, context, deadline, decode, idempotency, recovery

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import grpc
    import grpc.aio

    from labsvc.rpc.errors import StatusError

    Translate = Callable[[Exception], StatusError | None]


def server(
    *,
    cap: float,
    needs: float = 0.0,
    total: int | None = None,
    methods: Mapping[str, int] | None = None,
    translate: Translate | None = None,
) -> list[grpc.ServerInterceptor]:
    """Return the interceptors for grpc.server, the outermost first.

    Args:
        cap: seconds that a call gets at most; see `deadline.server`.
        needs: seconds that a handler needs; see `deadline.server`.
        total: how many calls may run at once; see `concurrency.aio_server`.
        methods: the same for single methods, by full name.
        translate: the application's exceptions as statuses; see `recovery.aio_server`.

    """
    return [
        recovery.server(translate),
        context.server(),
        deadline.server(cap=cap, needs=needs),
        concurrency.server(total=total, methods=methods or {}),
        idempotency.server(),
        decode.server(),
    ]


def aio_server(
    *,
    cap: float,
    needs: float = 0.0,
    total: int | None = None,
    methods: Mapping[str, int] | None = None,
    translate: Translate | None = None,
) -> list[grpc.aio.ServerInterceptor]:
    """Return the interceptors for grpc.aio.server; the arguments are those of `server`."""
    return [
        recovery.aio_server(translate),
        context.aio_server(),
        deadline.aio_server(cap=cap, needs=needs),
        concurrency.aio_server(total=total, methods=methods or {}),
        idempotency.aio_server(),
        decode.aio_server(),
    ]


def client(*, default: float, margin: float = 0.0) -> list[grpc.UnaryUnaryClientInterceptor]:
    """Return the interceptors for grpc.intercept_channel; see `deadline.client`."""
    return [context.client().joined(deadline.client(default=default, margin=margin))]


def aio_client(*, default: float, margin: float = 0.0) -> list[grpc.aio.ClientInterceptor]:
    """Return the interceptors for a grpc.aio channel; see `deadline.client`."""
    return [*context.aio_client(), *deadline.aio_client(default=default, margin=margin)]
