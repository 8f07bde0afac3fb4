"""Orders from a queue: a publisher that waits for the answer, and the consumer that gives it.

A message holds the bytes of a PlaceOrderRequest. The answer goes to the queue in `reply_to` with
the same `correlation_id`; its `type` says which message its bytes are: a PlaceOrderResponse, or a
google.rpc.Status for a refusal. So a queue, gRPC and HTTP give the same order (notebook 00).
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import grpc
from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import AMQPError, ChannelInvalidStateError
from aiormq.abc import DeliveredMessage
from google.protobuf.message import DecodeError
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from labsvc.shop import messages
from labsvc.shop.errors import DeadlineExceeded, InvalidArgument, ShopError, Unavailable, from_code
from labsvc.shop.v1 import order_pb2

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue

    from labsvc.shop.orders import Orders

CONTENT_TYPE = "application/protobuf"

_ORDER = order_pb2.PlaceOrderResponse.DESCRIPTOR.full_name
_STATUS = Status.DESCRIPTOR.full_name
_CODES = {code.value[0]: code for code in grpc.StatusCode}


@dataclass(frozen=True)
class Consumer:
    """A running consumer."""

    queue: AbstractQueue
    tag: str

    async def cancel(self) -> None:
        """Take no more orders; those already delivered are still answered."""
        await self.queue.cancel(self.tag)


async def aio_serve_orders(
    channel: AbstractChannel, orders: Orders, *, queue: str = "orders", prefetch: int = 16
) -> Consumer:
    """Declare the durable queue and place the orders that arrive in it, `prefetch` at a time.

    A message that is no order is answered and rejected without requeue. A refused order is
    answered and acknowledged. If a service behind does not answer, the message is tried once
    more before the caller is told.
    """
    await channel.set_qos(prefetch_count=prefetch)
    declared = await channel.declare_queue(queue, durable=True)

    async def on_message(message: AbstractIncomingMessage) -> None:
        # Acknowledges at the end; a bug in between rejects the message instead of keeping it.
        async with message.process(ignore_processed=True):
            await _handle(channel, orders, message)

    return Consumer(declared, await declared.consume(on_message))


async def _handle(
    channel: AbstractChannel, orders: Orders, message: AbstractIncomingMessage
) -> None:
    try:
        order = await orders.place(messages.new_order_from(_request(message)))
    except ShopError as error:
        if not error.definite and not message.redelivered:
            await message.nack(requeue=True)
            return
        await _reply(channel, message, Status(code=error.code.value[0], message=str(error)))
        if isinstance(error, InvalidArgument) or not error.definite:
            await message.reject(requeue=False)
    else:
        response = order_pb2.PlaceOrderResponse(order=messages.order_message(order))
        await _reply(channel, message, response)


def _request(message: AbstractIncomingMessage) -> order_pb2.PlaceOrderRequest:
    if message.content_type != CONTENT_TYPE:
        msg = f"content_type must be {CONTENT_TYPE}, not {message.content_type}"
        raise InvalidArgument(msg)
    try:
        return order_pb2.PlaceOrderRequest.FromString(message.body)
    except DecodeError:
        msg = f"the body is no {order_pb2.PlaceOrderRequest.DESCRIPTOR.full_name}"
        raise InvalidArgument(msg) from None


async def _reply(
    channel: AbstractChannel,
    message: AbstractIncomingMessage,
    answer: order_pb2.PlaceOrderResponse | Status,
) -> None:
    if message.reply_to is None:
        return
    # Not mandatory: a caller that has left takes its queue along, and that is no error.
    await channel.default_exchange.publish(
        Message(
            answer.SerializeToString(),
            content_type=CONTENT_TYPE,
            type=answer.DESCRIPTOR.full_name,
            correlation_id=message.correlation_id,
        ),
        routing_key=message.reply_to,
        mandatory=False,
    )


async def aio_place_order(
    channel: AbstractChannel,
    request: order_pb2.PlaceOrderRequest,
    *,
    queue: str = "orders",
    timeout: float = 5.0,  # noqa: ASYNC109 - as a gRPC stub takes it
) -> order_pb2.PlaceOrderResponse:
    """Send one order to the queue and return the answer, as OrderService.PlaceOrder would.

    `timeout` is seconds for the whole exchange. The answers to one channel share one queue, which
    is declared at the first call.

    Raises ShopError as the shop does; Unavailable if the queue does not exist or the broker
    refuses; DeadlineExceeded if no answer came: the order may or may not be placed, so ask again
    with the same order_id.
    """
    try:
        async with asyncio.timeout(timeout):
            replies = _REPLIES.setdefault(channel, _Replies())
            answer = await replies.ask(channel, queue, request.SerializeToString())
    except (AMQPError, ChannelInvalidStateError, ConnectionError) as error:
        msg = f"the broker did not take the order ({error!r}); send the same order again"
        raise Unavailable(msg) from error
    except TimeoutError:
        msg = f"no answer in {timeout} s; send the same order again"
        raise DeadlineExceeded(msg) from None
    if answer.type == _ORDER:
        return order_pb2.PlaceOrderResponse.FromString(answer.body)
    status = Status.FromString(answer.body)
    raise from_code(_CODES[status.code], status.message)


class _Replies:
    """The queue for the answers to one channel, and who waits for which."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._queue = ""
        self._waiting: dict[str, asyncio.Future[AbstractIncomingMessage]] = {}

    async def _open(self, channel: AbstractChannel) -> None:
        async with self._lock:
            if not self._queue:
                # A name of our own stays the same when a robust connection comes back.
                name = f"replies-{uuid.uuid4()}"
                queue = await channel.declare_queue(name, exclusive=True, auto_delete=True)
                await queue.consume(self._arrived, no_ack=True)
                self._queue = name

    async def _arrived(self, message: AbstractIncomingMessage) -> None:
        waiting = self._waiting.get(message.correlation_id or "")
        if waiting is not None and not waiting.done():
            waiting.set_result(message)

    async def ask(
        self, channel: AbstractChannel, queue: str, body: bytes
    ) -> AbstractIncomingMessage:
        """Publish `body` to `queue` and return its answer."""
        await self._open(channel)
        correlation_id = str(uuid.uuid4())
        waiting: asyncio.Future[AbstractIncomingMessage] = asyncio.Future()
        self._waiting[correlation_id] = waiting
        try:
            result = await channel.default_exchange.publish(
                Message(
                    body,
                    content_type=CONTENT_TYPE,
                    type=order_pb2.PlaceOrderRequest.DESCRIPTOR.full_name,
                    correlation_id=correlation_id,
                    reply_to=self._queue,
                    delivery_mode=DeliveryMode.PERSISTENT,
                ),
                routing_key=queue,
            )
            if isinstance(result, DeliveredMessage):
                msg = f"no queue {queue}; start aio_serve_orders, then send the order again"
                raise Unavailable(msg)
            return await waiting
        finally:
            del self._waiting[correlation_id]


_REPLIES: WeakKeyDictionary[AbstractChannel, _Replies] = WeakKeyDictionary()
