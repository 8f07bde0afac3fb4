"""Every public name, as a notebook uses it. A type checker reads this file; nothing runs it."""

from __future__ import annotations

import logging
from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING, Any, assert_type

import grpc
import grpc.aio
from fastapi import FastAPI, Request, Response

import labsvc
from labsvc import (
    Lab,
    LabError,
    aio_closed_loop,
    aio_compare,
    aio_open_loop,
    aio_outcome,
    aio_until,
    check,
    closed_loop,
    compare,
    delivery,
    discovery,
    faults,
    measure,
    open_loop,
    outcome,
    progress,
    until,
)
from labsvc.checks import Verdict, run_check
from labsvc.h2_pings import Pings, send_pings
from labsvc.hosts.grpc import GrpcService
from labsvc.hosts.http import HttpService, HttpStats
from labsvc.hosts.proxy import Proxy
from labsvc.hosts.rows import RowsService
from labsvc.measure import Plot
from labsvc.proxy import Middlebox, ProxyStats
from labsvc.rpc import (
    balance,
    breaker,
    breaking,
    chain,
    chunk_store,
    chunks,
    concurrency,
    context,
    contract,
    deadline,
    decode,
    drain,
    errors,
    hedge,
    idempotency,
    observe,
    recovery,
    retry,
    retry_budget,
    stream,
    tls,
)
from labsvc.shop.api import create_app
from labsvc.shop.events import aio_place_order, aio_serve_orders
from labsvc.shop.hops import Hop, Hops, serve_hops
from labsvc.shop.orders import Orders
from labsvc.shop.services import (
    AioInventoryService,
    AioOrderService,
    AioUserService,
    UserService,
)
from labsvc.shop.store import Store
from labsvc.shop.v1 import order_pb2, user_pb2, user_pb2_grpc
from labsvc.timeline import Timeline, commits, note, side_by_side
from labsvc.timeline.record import Kind
from labsvc.web import app_problems, etag, problem
from labsvc.web.breaking import breaking_changes

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Mapping

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
    from google.protobuf.descriptor_pb2 import FileDescriptorSet
    from grpc_health.v1 import health  # type: ignore[import-untyped]
    from pydantic import BaseModel

    from labsvc.rpc._guard import Call

ASK = user_pb2.GetUserRequest(user_id="u-1")


def hosting() -> None:
    """Start each kind of service, and stop it."""
    store = Store.seeded()
    orders = Orders(store)
    with Lab() as lab:
        users = lab.serve_grpc(
            AioUserService(store),
            AioInventoryService(store),
            AioOrderService(orders),
            name="users",
            interceptors=chain.aio_server(cap=5, total=8, methods={"/a.B/C": 2}),
            options=[("grpc.max_concurrent_streams", 10)],
        )
        assert_type(users, GrpcService)
        assert_type(users.stats, observe.CallStats)
        lab.serve_grpc(UserService(store), name="threads", workers=8, interceptors=[])
        web = lab.serve_http(create_app(orders))
        assert_type(web, HttpService)
        assert_type(web.stats, HttpStats)
        lab.serve_http(FastAPI(), name="other")
        queue = lab.serve_queue()
        etcd = lab.serve_etcd(nodes=3)
        etcd.kill(0)
        etcd.revive(0)
        objects, rows, cache = lab.serve_objects(), lab.serve_rows(), lab.serve_cache()
        if isinstance(rows, RowsService):
            assert_type(lab.serve_replica(rows), RowsService)
        urls: list[str] = [web.url, queue.url, etcd.target, objects.url, *etcd.targets]
        urls += [rows.dsn, cache.url]
        folder = lab.folder("orders")
        assert_type(folder, Path)
        for service in (users, web, queue, etcd, objects, rows, cache):
            service.stop(grace=1)
            service.start()
            until(lambda running=service: running.running, timeout=5)  # type: ignore[misc]
            urls += service.log
        lab.remove("users")
        assert_type(Lab.current(), Lab | None)
    lab.stop()
    raise LabError(labsvc.__version__)


def seeing(lab: Lab, database: sqlite3.Connection) -> None:
    """See what happened, who talks to whom, and how busy it is."""
    with lab.timeline(most=1000) as seen, seen.caller("a patient client"):
        seen.note("the stall begins")
        note("charged")
    assert_type(seen, Timeline)
    assert_type(str(seen), str)
    assert_type(seen.plot("What happened"), Plot)
    assert_type(seen.count("left", party="orders", detail="OK"), int)
    assert_type([event.kind for event in seen.events], list[Kind])
    assert_type(seen.dropped, int)
    assert_type(seen.edges(), set[tuple[str, str]])
    assert_type(side_by_side({"before": seen, "after": seen}, "A fix"), Plot)
    database.set_trace_callback(commits)
    assert_type(lab.map(), Plot)
    lab.watch().close()


def hurting(lab: Lab, service: GrpcService) -> None:
    """Put a proxy before a service, and hurt what passes."""
    wire = lab.proxy(service, name="wire")
    assert_type(wire, Proxy)
    assert_type(wire.stats, ProxyStats)
    assert_type(wire.stats.bytes_up, int)
    wire.set(delay=0.05, bandwidth=5_000_000, cut_after_bytes=None)
    wire.set(blackhole_after_idle=0.3)
    with wire.fault("idle-cut", dose=0.3) as now, wire.fault("refuse"):
        assert_type(now, faults.Faults)
    wire.clear()
    wire.cut()
    wire.freeze()
    wire.reset_stats()
    lab.proxy("127.0.0.1:9").stop()
    assert_type(faults.catalogue(), str)
    assert_type(faults.find("slow-link").settings(0.1), faults.Settings)
    Middlebox("127.0.0.1", 9, deque(), "box")


def relay(hop: Hop, request: user_pb2.GetUserRequest, call: Any) -> user_pb2.GetUserResponse:
    """Ask the next service."""
    following: user_pb2.GetUserResponse = hop.next.GetUser(request, timeout=1)
    return following


def hopping(lab: Lab) -> None:
    """Send a request through four services."""
    hops = serve_hops(lab, relay, server=[deadline.server(cap=5)], client=[context.client()])
    assert_type(hops, Hops)
    assert_type(hops.calls(), dict[str, int])
    hops.stub.GetUser(ASK, timeout=1)
    hops.wires["users"].cut()
    hops.stop()


def asking(stub: user_pb2_grpc.UserServiceStub, target: str) -> None:
    """Call and read how it ended."""
    assert_type(outcome(stub.GetUser, ASK, timeout=1), str)
    assert_type(send_pings(target, count=5, gap=0.01), Pings)


async def aio_asking(stub: Any) -> None:
    """Await and read how it ended."""
    assert_type(await aio_outcome(stub.GetUser(ASK, timeout=1)), str)
    await aio_until(lambda: stub is not None, timeout=1)


def measuring(stub: user_pb2_grpc.UserServiceStub) -> None:
    """Load a service, compare two ways to call it, and draw both."""

    def call() -> object:
        return stub.GetUser(ASK, timeout=1)

    closed = closed_loop(call, calls=100, workers=4)
    opened = open_loop(call, rate=100, seconds=1)
    assert_type(closed, measure.Load)
    assert_type(opened.errors, dict[str, int])
    assert_type(opened.latency.over(0.1), int)
    assert_type(opened.plot("stalled"), measure.Plot)
    assert_type(measure.plot_loads({"closed": closed, "open": opened}), measure.Plot)
    measure.plot_loads({"closed": closed}).save(Path("closed.png"))
    comparison = compare({"new": call, "kept": call}, calls=50, rounds=5)
    assert_type(comparison, measure.Comparison)
    assert_type(comparison.quantiles["new"], measure.Quantiles)
    assert_type(comparison.ratio("new", "kept", 0.99), measure.Ratio)
    judged = comparison.faster("kept", than="new", by=1.5)
    assert_type(judged, measure.Judgement)
    assert_type(judged.holds, bool | None)
    with measure.peak_growth(call) as grown:
        assert_type(grown, measure.PeakGrowth)
        assert_type(grown.bytes, int)
    histogram = measure.Histogram([1, 2, 3])
    assert_type(histogram.merge(histogram).quantiles(0.5, 0.99), list[float])
    measure.closed_loop(call, calls=1)
    measure.open_loop(call, rate=1, seconds=1)
    measure.compare({"a": call, "b": call})


async def aio_measuring(stub: Any) -> None:
    """Do the same with coroutines."""

    async def call() -> object:
        return await stub.GetUser(ASK, timeout=1)

    assert_type(await aio_closed_loop(call, calls=100, workers=4), measure.Load)
    assert_type(await aio_open_loop(call, rate=100, seconds=1), measure.Load)
    assert_type(await aio_compare({"a": call, "b": call}), measure.Comparison)
    await measure.aio_closed_loop(call, calls=1)
    await measure.aio_open_loop(call, rate=1, seconds=1)
    await measure.aio_compare({"a": call, "b": call})


def checking() -> None:
    """Check an exercise, and ask what is solved."""
    assert_type(check("22-deadlines", relay), None)
    assert_type(progress(), None)
    assert_type(progress("22"), None)
    assert_type(run_check("22-deadlines", relay), Verdict)
    labsvc.checks.check("22-deadlines", relay)
    labsvc.checks.progress()
    assert_type(labsvc.hint("22-deadlines"), None)
    assert_type(labsvc.solution("22-deadlines"), None)
    assert_type(labsvc.replay("22-deadlines"), None)


def translate(error: BaseException) -> errors.StatusError | None:
    """Say what an exception of one's own means."""
    if isinstance(error, KeyError):
        return errors.StatusError(grpc.StatusCode.NOT_FOUND, "no such user", reason="NO_USER")
    return None


def guarding() -> list[grpc.ServerInterceptor]:
    """Make every interceptor of a server with threads."""
    limits = {"/labsvc.shop.v1.UserService/GetUser": 4}
    return [
        *chain.server(cap=5, needs=0.1, total=8, methods=limits, translate=translate),
        observe.server(observe.Tally(deque()), hidden=["/a.B/C"]),
        context.server(),
        recovery.server(translate),
        decode.server(),
        deadline.server(cap=5, needs=0.1),
        concurrency.server(total=8, methods=limits),
        idempotency.server(most=100),
    ]


def watched_by(call: Call, watcher: observe.Watcher) -> observe.WatchedContext:
    """Put an own watcher on the calls of an own layer."""
    watcher.begin("/a.B/C")
    watcher.end("/a.B/C", "OK")
    return observe.watch(call, watcher, "/a.B/C")


class Answering(user_pb2_grpc.UserServiceServicer):
    """Answer one's own errors on any server."""

    @recovery.answers(translate)
    async def GetUser(self, request: user_pb2.GetUserRequest, _: Any) -> user_pb2.GetUserResponse:
        """Fail as the caller may know."""
        raise KeyError(request.user_id)


def undecodable(request: object) -> bytes:
    """Look at what an interceptor behind decode may be handed."""
    return request.raw if isinstance(request, decode.Undecodable) else b""


def aio_guarding() -> list[grpc.aio.ServerInterceptor]:
    """Make every interceptor of a grpc.aio server."""
    limits = {"/labsvc.shop.v1.UserService/GetUser": 4}
    return [
        *chain.aio_server(cap=5, needs=0.1, total=8, methods=limits, translate=translate),
        observe.aio_server(observe.Tally(deque())),
        context.aio_server(),
        recovery.aio_server(translate),
        decode.aio_server(),
        deadline.aio_server(cap=5, needs=0.1),
        concurrency.aio_server(methods=limits),
        idempotency.aio_server(),
    ]


def calling(channel: grpc.Channel) -> None:
    """Call with the interceptors of a client."""
    channel = grpc.intercept_channel(
        channel, *chain.client(default=1, margin=0.01), deadline.client(default=1), context.client()
    )
    stub = user_pb2_grpc.UserServiceStub(channel)
    stub.GetUser(ASK, timeout=1, metadata=(idempotency.new_key(),))
    with context.use(context.CallContext.new("u-1")) as here:
        assert_type(here.metadata(), list[tuple[str, str]])
        assert_type(here.trace_id, str)
    assert_type(context.current(), context.CallContext | None)
    assert_type(context.carry(outcome)(stub.GetUser, ASK), str)
    with context.ContextExecutor(4) as pool:
        assert_type(pool.submit(outcome, stub.GetUser, ASK), Future[str])
    logging.getLogger().addFilter(context.LogFilter())
    left = deadline.Deadline.after(1.5)
    assert_type(left.timeout(at_most=0.3, margin=0.01), float)
    assert_type(deadline.current(), deadline.Deadline | None)
    guard = breaker.CircuitBreaker(failures=5, pause=1)
    try:
        with guard.guard():
            stub.GetUser(ASK, timeout=left.remaining())
    except breaker.CircuitOpenError as error:
        assert_type(error.code(), grpc.StatusCode)
    except grpc.RpcError as error:
        assert_type(errors.StatusError.of(error).definite, bool)
    with balance.Balancer(grpc.insecure_channel, policy="least_loaded") as balancer:
        balancer.update(["127.0.0.1:50051"])
        assert_type(balancer.connected, list[str])
        try:
            user_pb2_grpc.UserServiceStub(balancer).GetUser(ASK, timeout=1)
        except balance.NoBackendError as error:
            assert_type(error.code(), grpc.StatusCode)
        except grpc.RpcError as error:
            assert_type(errors.never_sent(error, "127.0.0.1:50051"), bool)
    budget = retry_budget.RetryBudget(ratio=0.1, reserve=5)
    budget.earn()
    assert_type(budget.spend(), bool)
    hedge.hedge(lambda: stub.GetUser.future(ASK), delay=0.05, attempts=2, budget=budget)
    config = retry.service_config(
        {"labsvc.shop.v1.UserService/GetUser": retry.RetryPolicy(max_attempts=3)},
        retry.RetryThrottling(max_tokens=10),
    )
    assert_type(config, str)
    assert_type(retry.complaints(config), list[str])


async def aio_calling(target: str) -> None:
    """Call on a loop with the interceptors of a client."""
    interceptors = [
        *chain.aio_client(default=1, margin=0.01),
        *deadline.aio_client(default=1),
        *context.aio_client(),
    ]
    async with grpc.aio.insecure_channel(target, interceptors=interceptors) as channel:
        say: Any = channel.unary_unary("/a.B/C")

        async def call() -> int:
            await say(b"")
            return 1

        assert_type(await hedge.aio_hedge(call, delay=0.05), int)


def streaming(stub: Any, caller: grpc.ServicerContext) -> None:
    """Keep a sender to the pace of its reader, on threads."""

    def start(request: bytes) -> Generator[str, None, None]:
        yield request.decode()

    assert_type(stream.paced([b"a"], start, len), "Generator[str, None, None]")
    for message in stream.read_paced(stub.StreamOrders, str, window=5, timeout=1):
        assert_type(message, Any)
    assert_type(stream.caller_gone(caller).is_set(), bool)
    deadline.cancel_with(caller, stub.GetUser.future(ASK))


def large_files(stub: Any, folder: Path) -> None:
    """Send a file in chunks, and store them."""
    store = chunk_store.ChunkStore(folder, most=2**30)

    def upload(parts: Iterator[chunks.Chunk]) -> int:
        for part in parts:
            assert_type(store.append(part.sha256, part.offset, part.data), int)
        return store.finish(part.sha256)

    assert_type(chunks.send(folder / "film", store.stored, upload, tries=3), str)
    assert_type(chunks.digest(folder / "film"), str)
    assert_type(store.path(chunks.digest(folder / "film")), Path)
    assert_type(store.sweep(3600), int)


async def aio_large_files(folder: Path) -> None:
    """Do so with coroutines."""

    async def stored(sha256: str) -> int:
        return len(sha256)

    async def upload(parts: Iterator[chunks.Chunk]) -> None:
        assert_type(next(parts).data, bytes)

    assert_type(await chunks.aio_send(folder / "film", stored, upload), str)


async def aio_streaming(stub: Any) -> None:
    """Do so with coroutines."""

    async def requests() -> AsyncGenerator[bytes, None]:
        yield b"a"

    async def start(request: bytes) -> AsyncGenerator[str, None]:
        yield request.decode()

    assert_type(stream.aio_paced(requests(), start, len), "AsyncGenerator[str, None]")
    async for message in stream.aio_read_paced(stub.StreamOrders, str, window=5):
        assert_type(message, Any)
    async with stream.aio_companion(aio_asking(stub)) as task:
        task.cancel()


def evolving(
    old: FileDescriptorSet, new: FileDescriptorSet, channel: grpc.Channel, server: grpc.Server
) -> None:
    """Compile a contract in a cell, and ask what breaks."""
    assert_type(breaking.breaking_changes(old, new), list[str])
    try:
        made = contract.compile_contract("syntax = 'proto3';")
    except contract.ContractError:
        return
    assert_type(made, contract.Contract)
    request = made.message("Order")(id=1)
    made.stub("Orders", channel).Place(request)
    servicer = made.servicer("Orders", Place=lambda order, _: order)
    assert_type(servicer, contract.Servicer)
    contract.add_Servicer_to_server(servicer, server)


def draining(server: grpc.Server, state: health.HealthServicer) -> None:
    """Leave in good order."""
    drain.drain(server, state, notice=0.5, grace=5)


async def aio_draining(server: grpc.aio.Server, state: health.aio.HealthServicer) -> None:
    """Leave in good order, on a loop."""
    await drain.aio_drain(server, state, notice=0.5, grace=5)


def encrypting(
    pair: tuple[bytes, bytes], error: grpc.RpcError, context: grpc.ServicerContext
) -> None:
    """Renew a certificate, read a failure, and know who calls."""
    assert_type(tls.reloading(lambda: pair, clients=b"PEM"), grpc.ServerCredentials)
    assert_type(tls.reason(error), tls.Reason | None)
    assert_type(tls.peer_names(context), tuple[str, ...])


def finding(target: str) -> None:
    """Register a service, follow its members, and call one of them."""
    assert_type(discovery.endpoints({"ETCD_ENDPOINTS": target}), list[str])
    with (
        discovery.Cluster([target]) as etcd,
        discovery.Registration(etcd, "/services/users/10.0.0.7:50051", ttl=2) as mine,
        balance.Balancer(grpc.insecure_channel, policy="least_loaded") as users,
        discovery.Watch(etcd, "/services/users/", users.update, grace=2) as watch,
    ):
        assert_type(mine.wait(1) and watch.wait(1), bool)
        assert_type(watch.used, list[str])
        user_pb2_grpc.UserServiceStub(users).GetUser(ASK, timeout=1)


async def delivering(channel: AbstractChannel, db: sqlite3.Connection) -> None:
    """Consume once, put aside what fails, send what was committed."""

    def issue(db: sqlite3.Connection, message: AbstractIncomingMessage) -> None:
        db.execute("INSERT INTO coupons VALUES (?)", (message.body.decode(),))

    effect: delivery.Effect = issue
    queue, dead = await delivery.aio_declare_with_dead_letters(channel, "orders", deliveries=3)
    assert_type(dead.name, str)
    await queue.consume(delivery.AioIdempotent(db, effect, consumer="coupons"))
    assert_type(delivery.deaths(await dead.get()), list[delivery.Death])
    outbox = delivery.AioOutbox(db)
    assert_type(outbox.add(b"o-1", routing_key="order.placed"), str)
    assert_type(await outbox.relay(channel.default_exchange, publish_timeout=1), int)
    consumer = await aio_serve_orders(channel, Orders(Store.seeded()), prefetch=16)
    answer = await aio_place_order(channel, order_pb2.PlaceOrderRequest(), timeout=5)
    assert_type(answer, order_pb2.PlaceOrderResponse)
    await consumer.cancel()


def sagas(db: sqlite3.Connection, call: Callable[[str, Mapping[str, Any]], object]) -> None:
    """One step over several services, and the other side of its calls."""
    saga = delivery.Saga(db, [delivery.Step("reserve", call, call)], pauses=(0.1,))
    assert_type(saga.run("o-1", {"sku": "book-1"}), delivery.Result)
    assert_type(saga.recover()[0].reason, str)
    assert_type(saga.unfinished(), list[delivery.Result])
    barrier = delivery.Barrier(db)
    barrier.act("o-1", "reserve", lambda db: db.total_changes)
    barrier.undo("o-1", "reserve", lambda db: db.total_changes)
    refused: list[type[Exception]] = [delivery.Refused, delivery.TooLate]
    refused.clear()


def http_contracts(app: FastAPI, request: Request, state: BaseModel) -> None:
    """One form for errors, updates that say what they are based on, changed documents."""
    app_problems.answer_with_problems(app)
    assert_type(problem.problem_response(problem.problem(409, "late", code="LATE")), Response)
    error: Exception = problem.ProblemError(409, "too late", headers={"retry-after": "1"})
    assert_type(etag.etag_of(state), str)
    etag.must_match(request, state)
    assert_type(breaking_changes(app.openapi(), app.openapi()), list[str])
    raise error
