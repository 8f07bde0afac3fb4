"""Notebook 54's exercise: how much of a film is in memory at one moment, however it is read."""

from __future__ import annotations

import random
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import grpc

from labsvc.checks.asking import channel
from labsvc.checks.scenarios.film_server import Film
from labsvc.checks.scenarios.film_stage import Pace, attempted, film_file
from labsvc.checks.verdict import first_broken
from labsvc.shop.v1 import media_pb2, media_pb2_grpc

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.checks.verdict import Verdict
    from labsvc.sweep import Run

SIZE = 2**17  # bytes of a chunk
FILM_SIZE = 64 * SIZE
MOST = FILM_SIZE // 2  # four times the block that the text allows


def holds_little(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Upload a large film while nothing goes wrong, and weigh what Python holds meanwhile.

    Not all memory is Python's: messages are gRPC's. So the second half of the file is another when
    the first chunk comes. Whoever sends the old one has read it before.
    """
    film = Film(FILM_SIZE)
    file = film_file(room, film)
    server = _Changing(film, Path(file.name))  # type: ignore[abstract]  # it needs no streams
    service = room.serve_grpc(server, name="films", workers=2)
    pace = Pace(room.enter(channel(service.target)))
    with _Weighed() as weighed:
        # Whoever looks at the digest again finds another one, and may say so.
        attempted(answer, pace, file, SIZE, Exception)
    return first_broken(
        (
            weighed.bytes > MOST or server.is_old,
            "most of a film was in memory at one moment",
            (
                "Read it twice: once for its SHA-256, in blocks, and once chunk by chunk, each when"
                " the one before was stored."
            ),
        ),
        film=FILM_SIZE,
        in_memory=weighed.bytes,
    )


class _Changing(media_pb2_grpc.UploadServiceServicer):
    """UploadService that keeps nothing, and changes the second half of the file it gets."""

    def __init__(self, film: Film, path: Path) -> None:
        self.is_old = False
        self._new = random.randbytes(len(film.content) // 2)
        self._half = len(film.content) - len(self._new)
        self._path = path
        self._stored = 0

    def GetUpload(self, request: media_pb2.GetUploadRequest, _: Any) -> media_pb2.GetUploadResponse:
        """Tell how much has come."""
        return media_pb2.GetUploadResponse(stored=self._stored)

    def PutChunk(
        self, request: media_pb2.PutChunkRequest, context: Any
    ) -> media_pb2.PutChunkResponse:
        """Take a chunk, and see whether it was read before the file was changed."""
        if request.offset > self._stored:
            context.abort(grpc.StatusCode.OUT_OF_RANGE, "a hole")
        if not self._stored:
            with self._path.open("r+b") as file:
                file.seek(self._half)
                file.write(self._new)
        start, end = request.offset - self._half, request.offset + len(request.data)
        if start >= 0:
            self.is_old |= request.data != self._new[start : start + len(request.data)]
        self._stored = max(self._stored, end)
        return media_pb2.PutChunkResponse(stored=self._stored)

    def FinishUpload(
        self, request: media_pb2.FinishUploadRequest, _: Any
    ) -> media_pb2.FinishUploadResponse:
        """Take it for finished, whatever it is by now."""
        return media_pb2.FinishUploadResponse(stored=self._stored)


class _Weighed:
    """The largest growth of Python's memory in a block, in bytes."""

    def __init__(self) -> None:
        self.bytes = 0
        self._before = 0
        self._starts = False

    def __enter__(self) -> Self:
        self._starts = not tracemalloc.is_tracing()
        if self._starts:
            tracemalloc.start()
        tracemalloc.reset_peak()
        self._before, _ = tracemalloc.get_traced_memory()
        return self

    def __exit__(self, *_: object) -> None:
        self.bytes = tracemalloc.get_traced_memory()[1] - self._before
        if self._starts:
            tracemalloc.stop()
