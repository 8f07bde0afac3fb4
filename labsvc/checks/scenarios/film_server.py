"""Stage of notebook 54's exercise: a server that takes films in chunks, and fails as told."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.shop.v1 import media_pb2, media_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    Script = Callable[["FilmServer", "Call"], None]
    """Told of each call before or after its effect; raises what is to be answered instead."""


class Refusal(Exception):  # noqa: N818  # it is an answer, not an error
    """What a script answers with."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__(code.name)
        self.code = code


@dataclass(frozen=True)
class Call:
    """A call that came: its method, its number among those, and the bytes of its chunk."""

    method: str
    number: int
    data: int = 0


class Film:
    """The bytes of a film, and their digest."""

    def __init__(self, size: int) -> None:
        self.content = random.randbytes(size)
        self.sha256 = hashlib.sha256(self.content).hexdigest()


class FilmServer(media_pb2_grpc.UploadServiceServicer):
    """UploadService in memory, with a film of which it may have a part already.

    `again` counts the bytes that came though they were stored.
    """

    def __init__(self, film: Film, *, stored: int = 0) -> None:
        self.film = film
        self.before: Script | None = None  # the effect of a call
        self.after: Script | None = None
        self.start_anew(stored)

    def start_anew(self, stored: int = 0) -> None:
        """Forget all calls, and what came with them; have so many bytes of the film."""
        self.part = self.film.content[:stored]
        self.is_finished = False
        self.calls: list[Call] = []
        self.again = 0
        self._counts: Counter[str] = Counter()

    def of(self, method: str) -> list[Call]:
        """Return the calls of a method."""
        return [call for call in self.calls if call.method == method]

    async def GetUpload(
        self, request: media_pb2.GetUploadRequest, context: Any
    ) -> media_pb2.GetUploadResponse:
        """Tell how much is stored."""
        return media_pb2.GetUploadResponse(stored=await self._answer(request, context))

    async def PutChunk(
        self, request: media_pb2.PutChunkRequest, context: Any
    ) -> media_pb2.PutChunkResponse:
        """Store what is new of a chunk."""

        def effect() -> None:
            stored, end = len(self.part), request.offset + len(request.data)
            if request.offset > stored:
                raise Refusal(grpc.StatusCode.OUT_OF_RANGE)
            if not self.is_finished:
                self.part += request.data[stored - request.offset :]
            self.again += max(0, min(stored, end) - request.offset)

        return media_pb2.PutChunkResponse(stored=await self._answer(request, context, effect))

    async def FinishUpload(
        self, request: media_pb2.FinishUploadRequest, context: Any
    ) -> media_pb2.FinishUploadResponse:
        """Compare the film with its digest."""

        def effect() -> None:
            if not self.is_finished and hashlib.sha256(self.part).hexdigest() != request.sha256:
                self.part = b""
                raise Refusal(grpc.StatusCode.DATA_LOSS)
            self.is_finished = True

        return media_pb2.FinishUploadResponse(stored=await self._answer(request, context, effect))

    async def Upload(self, requests: Any, context: Any) -> media_pb2.UploadResponse:
        """Refuse: the exercise has no streams."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "send each chunk with PutChunk")
        return media_pb2.UploadResponse()

    async def _answer(
        self, request: Any, context: Any, effect: Callable[[], object] = lambda: None
    ) -> int:
        """Note a call, let it have its effect, and return how much is stored then."""
        method = type(request).__name__.removesuffix("Request")
        self._counts[method] += 1
        call = Call(method, self._counts[method], len(getattr(request, "data", b"")))
        self.calls.append(call)
        try:
            self._must_be_the_film(request.sha256)
            if self.before is not None:
                self.before(self, call)
            effect()
            if self.after is not None:
                self.after(self, call)
        except Refusal as refusal:
            await context.abort(refusal.code, "the check answers so")
        return len(self.part)

    def _must_be_the_film(self, sha256: str) -> None:
        if sha256 != self.film.sha256:
            raise Refusal(grpc.StatusCode.INVALID_ARGUMENT)
