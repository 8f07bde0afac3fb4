"""One order across HTTP, gRPC and a queue is one trace, with OpenTelemetry's instrumentations."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import aio_pika
import grpc
import httpx2
import pytest
from fastapi import FastAPI
from opentelemetry.instrumentation.aio_pika import AioPikaInstrumentor
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

from labsvc import Lab, until
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from labsvc.telemetry import Tracing
from labsvc.telemetry.http_client import AioTracedTransport, TracedTransport
from tests.patience import patience
from tests.telemetry import watched

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from labsvc.hosts.collector import CollectorService
    from labsvc.telemetry import Trace

ASK = user_pb2.GetUserRequest(user_id="u-1")
REPLY = user_pb2.GetUserResponse()


class Tracings(dict[str, Tracing]):
    """A `Tracing` for each service, made when it is first asked for."""

    def __init__(self, collector: CollectorService) -> None:
        super().__init__()
        self._collector = collector

    def __missing__(self, service: str) -> Tracing:
        """Make the one of a service."""
        made = self[service] = Tracing(service, self._collector.endpoint)
        return made


@pytest.fixture
def collector(lab: Lab) -> CollectorService:
    """Serve a collector."""
    return lab.serve_collector()


@pytest.fixture
def of(collector: CollectorService) -> Iterator[Tracings]:
    """Give each service its tracing, and end them all."""
    made = Tracings(collector)
    yield made
    for each in made.values():
        each.close()
        assert each.lost == 0


@pytest.fixture
def traced_queue(of: Tracings) -> Iterator[None]:
    """Instrument aio-pika, which is done for a whole process."""
    AioPikaInstrumentor().instrument(tracer_provider=of["queue"].provider)
    yield
    AioPikaInstrumentor().uninstrument()


def only_trace(of: Tracings, collector: CollectorService, spans: int) -> Trace:
    """Return the one trace, when all its spans have ended and arrived."""
    until(lambda: sum(each.ended for each in list(of.values())) == spans, timeout=patience(10))
    for each in of.values():
        each.flush()
    [found] = collector.traces()
    return found


class Stock(user_pb2_grpc.UserServiceServicer):
    """The end of the way; both kinds of servers run one."""

    def GetUser(self, request: Any, context: Any) -> Any:
        """Answer at once."""
        return REPLY


class AioStock(user_pb2_grpc.UserServiceServicer):
    """The same on the lab's loop."""

    async def GetUser(self, request: Any, context: Any) -> Any:
        """Answer at once."""
        return REPLY


class Hop(user_pb2_grpc.UserServiceServicer):
    """Asks the next service, in a thread."""

    def __init__(self, stub: user_pb2_grpc.UserServiceStub) -> None:
        self._stub = stub

    def GetUser(self, request: Any, context: Any) -> Any:
        """Ask on."""
        return self._stub.GetUser(request, timeout=20)


class AioHop(user_pb2_grpc.UserServiceServicer):
    """Does something, on the lab's loop."""

    def __init__(self, work: Callable[[], Awaitable[object]]) -> None:
        self._work = work

    async def GetUser(self, request: Any, context: Any) -> Any:
        """Do it."""
        await self._work()
        return REPLY


def traced_stub(of: Tracings, service: str, channel: grpc.Channel) -> user_pb2_grpc.UserServiceStub:
    """Return the stub that a service has of another one."""
    return user_pb2_grpc.UserServiceStub(watched.channel(of[service], channel))


def serve(lab: Lab, of: Tracings, name: str, servicer: object, **settings: Any) -> str:
    """Serve with the interceptor of this kind of server; return where."""
    make = watched.server if "workers" in settings else watched.aio_server
    return lab.serve_grpc(servicer, name=name, interceptors=make(of[name]), **settings).target


def test_three_services_in_threads(lab: Lab, of: Tracings, collector: CollectorService) -> None:
    """A call that is asked on and on: each side of each hop is a span, below the one before."""
    with ExitStack() as channels:

        def connect(service: str, target: str) -> user_pb2_grpc.UserServiceStub:
            channel = channels.enter_context(grpc.insecure_channel(target))
            return traced_stub(of, service, channel)

        stock = serve(lab, of, "stock", Stock(), workers=2)
        orders = serve(lab, of, "orders", Hop(connect("orders", stock)), workers=2)
        connect("web", orders).GetUser(ASK, timeout=20)
        found = only_trace(of, collector, 4)
    assert str(found).splitlines() == [
        "web: UserService/GetUser [client]",
        "  orders: UserService/GetUser [server]",
        "    orders: UserService/GetUser [client]",
        "      stock: UserService/GetUser [server]",
    ]
    assert found.complete
    assert found.services == ["web", "orders", "stock"]


def web_app(of: Tracings, name: str) -> FastAPI:
    """Return an application whose requests are spans."""
    app = FastAPI()
    provider = of[name].provider
    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=provider, exclude_spans=["send", "receive"]
    )
    return app


class Coupons:
    """Takes orders from a queue, on the lab's loop, by a callback or by a loop of its own."""

    def __init__(self, of: Tracings, url: str, *, callback: bool) -> None:
        self._of = of
        self._url = url
        self._callback = callback
        self.exchange: aio_pika.abc.AbstractExchange
        self._connection: aio_pika.abc.AbstractConnection
        self._loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and begin to take messages."""
        self._connection = await aio_pika.connect(self._url, timeout=20)
        channel = await self._connection.channel()
        self.exchange = channel.default_exchange
        queue = await channel.declare_queue("coupons")
        if self._callback:
            await queue.consume(self._work)
        else:
            self._loop = asyncio.create_task(self._run(queue))

    async def publish(self) -> None:
        """Tell of an order."""
        await self.exchange.publish(aio_pika.Message(b"placed"), routing_key="coupons")

    async def stop(self) -> None:
        """Take no more."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await self._connection.close()

    async def _run(self, queue: aio_pika.abc.AbstractQueue) -> None:
        async with queue.iterator() as messages:
            async for message in messages:
                await self._work(message)

    async def _work(self, message: aio_pika.abc.AbstractIncomingMessage) -> None:
        async with message.process():
            with self._of["coupons"].tracer.start_as_current_span("make coupon"):
                await asyncio.sleep(0)


@pytest.mark.usefixtures("traced_queue")
def test_http_grpc_and_a_queue(lab: Lab, of: Tracings, collector: CollectorService) -> None:
    """An order goes through six services by three protocols, and is one tree, in order."""
    coupons = Coupons(of, lab.serve_queue(embedded=True).url, callback=True)
    lab.loop.run(coupons.start())
    prices_app, web = web_app(of, "prices"), web_app(of, "web")
    stock = serve(lab, of, "stock", AioStock())

    @prices_app.get("/prices")
    async def prices() -> int:
        return 1

    priced = lab.serve_http(prices_app, name="prices")

    async def place_order() -> None:
        traced = watched.aio_client(of["orders"])
        async with grpc.aio.insecure_channel(stock, interceptors=traced) as channel:
            await user_pb2_grpc.UserServiceStub(channel).GetUser(ASK, timeout=20)
        await coupons.publish()

    orders = serve(lab, of, "orders", AioHop(place_order))

    @web.post("/orders/{user}")
    async def order(user: str) -> None:
        transport = AioTracedTransport(httpx2.AsyncHTTPTransport(), of["web"].provider)
        async with httpx2.AsyncClient(transport=transport, timeout=20) as http:
            await http.get(f"{priced.url}/prices")
        traced = watched.aio_client(of["web"])
        async with grpc.aio.insecure_channel(orders, interceptors=traced) as channel:
            await user_pb2_grpc.UserServiceStub(channel).GetUser(ASK, timeout=20)

    served = lab.serve_http(web, name="web")
    transport = TracedTransport(httpx2.HTTPTransport(), of["shop"].provider)
    with httpx2.Client(transport=transport, timeout=20) as http:
        http.post(f"{served.url}/orders/u-1").raise_for_status()
    found = only_trace(of, collector, 11)
    lab.loop.run(coupons.stop())
    assert str(found).splitlines() == [
        "shop: POST [client]",
        "  web: POST /orders/{user} [server]",
        "    web: GET [client]",
        "      prices: GET /prices [server]",
        "    web: UserService/GetUser [client]",
        "      orders: UserService/GetUser [server]",
        "        orders: UserService/GetUser [client]",
        "          stock: UserService/GetUser [server]",
        "        queue: ,coupons send [producer]",
        "          queue: coupons receive [consumer]",
        "            coupons: make coupon [internal]",
    ]
    assert found.complete
    assert found.services == ["shop", "web", "prices", "orders", "stock", "queue", "coupons"]


@pytest.mark.usefixtures("traced_queue")
@pytest.mark.parametrize("callback", [True, False], ids=["callback", "iterator"])
def test_work_in_a_loop_over_a_queue_is_outside(
    lab: Lab, of: Tracings, collector: CollectorService, *, callback: bool
) -> None:
    """The instrumentation's span is around a callback; a loop's work begins a trace of its own."""
    coupons = Coupons(of, lab.serve_queue(embedded=True).url, callback=callback)
    lab.loop.run(coupons.start())
    lab.loop.run(coupons.publish())
    until(lambda: sum(each.ended for each in list(of.values())) == 3, timeout=patience(10))
    for each in of.values():
        each.flush()
    lab.loop.run(coupons.stop())
    publish, receive, work = sorted(
        (span for trace in collector.traces() for span in trace.spans),
        key=lambda span: ["producer", "consumer", "internal"].index(span.kind),
    )
    assert receive.parent_id == publish.span_id
    assert work.parent_id == (receive.span_id if callback else "")
    assert (work.trace_id == publish.trace_id) is callback


def test_a_failure_below_is_seen_at_each_hop(
    lab: Lab, of: Tracings, collector: CollectorService
) -> None:
    """What a service refuses is an error of each span that it made fail."""

    class Refuses(Stock):
        def GetUser(self, request: Any, context: Any) -> Any:
            context.abort(grpc.StatusCode.INTERNAL, "no such shelf")

    target = serve(lab, of, "stock", Refuses(), workers=2)
    with grpc.insecure_channel(target) as channel, pytest.raises(grpc.RpcError, match="no such"):
        traced_stub(of, "web", channel).GetUser(ASK, timeout=20)
    found = only_trace(of, collector, 2)
    assert str(found).splitlines() == [
        "web: UserService/GetUser [client] ERROR",
        "  stock: UserService/GetUser [server] ERROR",
    ]
    assert found.error
