"""A gRPC service with all four kinds of methods, on bytes, written without generated code."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Stub:
    """What a generated stub would be."""

    def __init__(self, channel: Any) -> None:
        self.Unary = channel.unary_unary("/test.Echo/Unary")
        self.Spread = channel.unary_stream("/test.Echo/Spread")
        self.Collect = channel.stream_unary("/test.Echo/Collect")
        self.Both = channel.stream_stream("/test.Echo/Both")


class EchoServicer:
    """What a generated servicer would be."""

    Unary: Any
    Spread: Any
    Collect: Any
    Both: Any


def add_EchoServicer_to_server(servicer: EchoServicer, server: Any) -> None:
    """Register it, as generated code does."""
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(servicer.Unary),
        "Spread": grpc.unary_stream_rpc_method_handler(servicer.Spread),
        "Collect": grpc.stream_unary_rpc_method_handler(servicer.Collect),
        "Both": grpc.stream_stream_rpc_method_handler(servicer.Both),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))


class AioEcho(EchoServicer):
    """The echo on coroutines; some words make it fail or wait."""

    async def Unary(self, request: bytes, context: Any) -> bytes:
        """Send the request back."""
        match request:
            case b"abort":
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
            case b"set":
                context.set_code(grpc.StatusCode.OUT_OF_RANGE)
            case b"raise":
                raise ValueError
            case b"wait":
                await asyncio.sleep(60)
        return request

    async def Spread(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        """Send the letters one by one."""
        for letter in request:
            yield bytes([letter])

    async def Collect(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        """Put the letters together."""
        return b"".join([letter async for letter in requests])

    async def Both(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        """Send each letter back."""
        async for letter in requests:
            yield letter


class Echo(EchoServicer):
    """The echo in threads."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.waiting: grpc.ServicerContext | None = None

    def Unary(self, request: bytes, context: Any) -> bytes:
        """Send the request back."""
        match request:
            case b"abort":
                context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
            case b"set":
                context.set_code(grpc.StatusCode.OUT_OF_RANGE)
            case b"raise":
                raise ValueError
            case b"wait":
                self.waiting = context
                self.go_on.wait(60)
        return request

    def Spread(self, request: bytes, context: Any) -> Iterator[bytes]:
        """Send the letters one by one."""
        for letter in request:
            yield bytes([letter])

    def Collect(self, requests: Iterator[bytes], context: Any) -> bytes:
        """Put the letters together."""
        return b"".join(requests)

    def Both(self, requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """Send each letter back."""
        yield from requests
