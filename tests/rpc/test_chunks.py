"""Tests of uploads in chunks, on real servers and over a line that breaks."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import os
import random
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.lab import Lab
from labsvc.rpc import chunks, recovery
from labsvc.rpc.chunk_store import ChunkStore
from labsvc.rpc.chunks import CHUNK_BYTES, Chunk, aio_send, send
from labsvc.rpc.errors import StatusError
from labsvc.shop.v1 import media_pb2, media_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TIMEOUT = 20
MOST = 2**24
SIZES = [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES]
OPTIONS = [("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100)]


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait a little only."""
    monkeypatch.setattr(chunks, "PAUSE_SECONDS", 0.005)


@pytest.fixture
def store(tmp_path: Path) -> ChunkStore:
    """Return an empty store."""
    folder = tmp_path / "store"
    folder.mkdir()
    return ChunkStore(folder, most=MOST)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab."""
    with Lab() as running:
        yield running


class Uploads(media_pb2_grpc.UploadServiceServicer):
    """Stores what comes, and counts the bytes of chunks."""

    def __init__(self, store: ChunkStore) -> None:
        self.store = store
        self.came = 0

    @recovery.answers()
    def GetUpload(self, request: Any, context: Any) -> media_pb2.GetUploadResponse:
        """Tell how much there is."""
        return media_pb2.GetUploadResponse(stored=self.store.stored(request.sha256))

    @recovery.answers()
    def Upload(self, requests: Any, context: Any) -> media_pb2.UploadResponse:
        """Take a stream of chunks."""
        for request in requests:
            self.came += len(request.data)
            self.store.append(request.sha256, request.offset, request.data)
        return media_pb2.UploadResponse(stored=self.store.finish(request.sha256))


def file_of(folder: Path, size: int) -> Path:
    """Write a file of random bytes."""
    path = folder / "film"
    path.write_bytes(os.urandom(size))
    return path


def message(chunk: Chunk) -> media_pb2.UploadRequest:
    """Return a chunk as a message."""
    return media_pb2.UploadRequest(sha256=chunk.sha256, offset=chunk.offset, data=chunk.data)


class Line:
    """A receiver in this process: its calls fail as the test says."""

    def __init__(self, store: ChunkStore, fails: Callable[[int], grpc.StatusCode | None]) -> None:
        self.store = store
        self.fails = fails
        self.chunks = 0
        self.bytes = 0

    def stored(self, sha256: str) -> int:
        """Tell how much there is."""
        return self.store.stored(sha256)

    def upload(self, parts: Iterator[Chunk]) -> int:
        """Take chunks until one fails, after its bytes were stored."""
        for part in parts:
            self.chunks += 1
            self.bytes += len(part.data)
            self.store.append(part.sha256, part.offset, part.data)
            if code := self.fails(self.chunks):
                raise Failure(code)
        return self.store.finish(part.sha256)


class Failure(grpc.RpcError):
    """What a call raises."""

    def __init__(self, code: grpc.StatusCode) -> None:
        super().__init__(code.name)
        self._code = code

    def code(self) -> grpc.StatusCode:
        """Return the code."""
        return self._code


def never(_: int) -> None:
    """Let every chunk through."""


@pytest.mark.parametrize("size", SIZES)
def test_a_file_arrives(store: ChunkStore, tmp_path: Path, size: int) -> None:
    """Whatever its size, it arrives byte for byte, and is known by its digest."""
    path = file_of(tmp_path, size)
    line = Line(store, never)
    sha256 = send(path, line.stored, line.upload)
    assert sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert store.path(sha256).read_bytes() == path.read_bytes()
    assert store.stored(sha256) == size


@pytest.mark.parametrize("cut", range(1, 5))
def test_a_broken_upload_goes_on(store: ChunkStore, tmp_path: Path, cut: int) -> None:
    """Wherever it breaks, no byte that was stored is sent again."""
    path = file_of(tmp_path, 3 * CHUNK_BYTES + 7)
    line = Line(store, lambda n: grpc.StatusCode.UNAVAILABLE if n == cut else None)
    sha256 = send(path, line.stored, line.upload)
    assert store.path(sha256).read_bytes() == path.read_bytes()
    assert line.bytes == 3 * CHUNK_BYTES + 7


def test_tries_that_bring_it_further_are_not_counted(store: ChunkStore, tmp_path: Path) -> None:
    """It may break more often than it is tried, as long as it comes further."""
    path = file_of(tmp_path, 9 * CHUNK_BYTES)
    line = Line(store, lambda n: grpc.StatusCode.DEADLINE_EXCEEDED if n < 9 else None)
    sha256 = send(path, line.stored, line.upload, tries=2)
    assert store.path(sha256).read_bytes() == path.read_bytes()


def test_tries_that_bring_nothing_end(store: ChunkStore, tmp_path: Path) -> None:
    """The last error leaves after so many tries in a row without any progress."""
    path = file_of(tmp_path, CHUNK_BYTES)
    line = Line(store, never)
    asked: list[str] = []

    def upload(_: Iterator[Chunk]) -> None:
        asked.append("upload")
        raise Failure(grpc.StatusCode.UNAVAILABLE)

    with pytest.raises(Failure, match="UNAVAILABLE"):
        send(path, line.stored, upload, tries=3)
    assert len(asked) == 3


@pytest.mark.parametrize("code", ["DATA_LOSS", "INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"])
def test_what_does_not_pass_is_not_tried_again(
    store: ChunkStore, tmp_path: Path, code: str
) -> None:
    """An error that the same bytes meet again leaves at once."""
    path = file_of(tmp_path, CHUNK_BYTES)
    line = Line(store, lambda _: grpc.StatusCode[code])
    with pytest.raises(Failure, match=code):
        send(path, line.stored, line.upload)
    assert line.chunks == 1


def test_a_receiver_that_has_less_is_asked_again(store: ChunkStore, tmp_path: Path) -> None:
    """OUT_OF_RANGE leads back to what the receiver has now."""
    path = file_of(tmp_path, 2 * CHUNK_BYTES)
    answers = itertools.chain([CHUNK_BYTES], itertools.repeat(0))  # then it lost everything
    line = Line(store, never)

    def upload(parts: Iterator[Chunk]) -> int:
        try:
            return line.upload(parts)
        except StatusError as error:
            raise Failure(error.code) from error

    sha256 = send(path, lambda _: next(answers), upload)
    assert store.path(sha256).read_bytes() == path.read_bytes()


def test_pauses_grow(monkeypatch: pytest.MonkeyPatch, store: ChunkStore, tmp_path: Path) -> None:
    """Each pause may be twice as long as the one before, up to a bound."""
    waited: list[float] = []
    monkeypatch.setattr(random, "uniform", lambda _, most: most)
    monkeypatch.setattr("time.sleep", waited.append)
    monkeypatch.setattr(chunks, "LONGEST_PAUSE_SECONDS", 0.03)

    def away(_: str) -> int:
        raise Failure(grpc.StatusCode.UNAVAILABLE)

    with pytest.raises(Failure):
        send(file_of(tmp_path, 1), away, Line(store, never).upload)
    assert waited == [0.01, 0.02, 0.03, 0.03]


def over_a_bad_line(lab: Lab, store: ChunkStore, size: int) -> tuple[Uploads, Any, str]:
    """Return a service, the proxy before it and an address; a connection carries half a file."""
    servicer = Uploads(store)
    wire = lab.proxy(lab.serve_grpc(servicer, name="uploads", workers=8), name="wire")
    wire.set(cut_after_bytes=size // 2)
    return servicer, wire, wire.target


def test_resumed_over_grpc(lab: Lab, store: ChunkStore, tmp_path: Path) -> None:
    """Over connections that carry half of it each, a file arrives in some tries."""
    path = file_of(tmp_path, 64 * CHUNK_BYTES)
    servicer, wire, target = over_a_bad_line(lab, store, 64 * CHUNK_BYTES)
    with grpc.insecure_channel(target, OPTIONS) as channel:
        stub = media_pb2_grpc.UploadServiceStub(channel)

        def stored(sha256: str) -> int:
            request = media_pb2.GetUploadRequest(sha256=sha256)
            return stub.GetUpload(request, timeout=TIMEOUT).stored

        def upload(parts: Iterator[Chunk]) -> object:
            return stub.Upload(map(message, parts), timeout=TIMEOUT)

        sha256 = send(path, stored, upload, tries=20)
    assert store.path(sha256).read_bytes() == path.read_bytes()
    assert wire.stats.resets >= 2
    assert servicer.came <= 70 * CHUNK_BYTES


def test_resumed_over_grpc_aio(lab: Lab, store: ChunkStore, tmp_path: Path) -> None:
    """The same with grpc.aio."""
    path = file_of(tmp_path, 64 * CHUNK_BYTES)
    servicer, _, target = over_a_bad_line(lab, store, 64 * CHUNK_BYTES)

    async def main() -> str:
        async with grpc.aio.insecure_channel(target, OPTIONS) as channel:
            stub: Any = media_pb2_grpc.UploadServiceStub(channel)

            async def stored(sha256: str) -> int:
                request = media_pb2.GetUploadRequest(sha256=sha256)
                return int((await stub.GetUpload(request, timeout=TIMEOUT)).stored)

            async def upload(parts: Iterator[Chunk]) -> object:
                return await stub.Upload(map(message, parts), timeout=TIMEOUT)

            return await aio_send(path, stored, upload, tries=20)

    sha256 = asyncio.run(main())
    assert store.path(sha256).read_bytes() == path.read_bytes()
    assert servicer.came <= 70 * CHUNK_BYTES


def test_aio_says_internal_of_a_stream_that_broke(store: ChunkStore, tmp_path: Path) -> None:
    """The code that grpc.aio has for it leads back to what is stored, there and there only."""
    path = file_of(tmp_path, 2 * CHUNK_BYTES)
    line = Line(store, lambda n: grpc.StatusCode.INTERNAL if n == 1 else None)

    async def stored(sha256: str) -> int:
        return line.stored(sha256)

    async def upload(parts: Iterator[Chunk]) -> int:
        return line.upload(parts)

    sha256 = asyncio.run(aio_send(path, stored, upload))
    assert store.path(sha256).read_bytes() == path.read_bytes()
    with pytest.raises(Failure, match="INTERNAL"):
        send(path, line.stored, Line(store, lambda _: grpc.StatusCode.INTERNAL).upload)


def test_aio_send_gives_up(store: ChunkStore, tmp_path: Path) -> None:
    """It ends as `send` does."""

    async def away(_: str) -> int:
        raise Failure(grpc.StatusCode.UNAVAILABLE)

    async def upload(_: Iterator[Chunk]) -> None:
        return None

    with pytest.raises(Failure):
        asyncio.run(aio_send(file_of(tmp_path, 1), away, upload, tries=2))
