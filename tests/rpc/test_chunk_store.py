"""Tests of the place where chunks arrive."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from typing import TYPE_CHECKING

import pytest

from labsvc.rpc import chunk_store
from labsvc.rpc.chunk_store import ChunkStore
from labsvc.rpc.errors import StatusError

if TYPE_CHECKING:
    from pathlib import Path

FILM = b"0123456789"
SHA256 = hashlib.sha256(FILM).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ChunkStore:
    """Return an empty store."""
    return ChunkStore(tmp_path, most=100)


def test_a_part_outlives_its_store(store: ChunkStore, tmp_path: Path) -> None:
    """Another store on the folder goes on where the first has stopped."""
    assert store.append(SHA256, 0, FILM[:4]) == 4
    again = ChunkStore(tmp_path, most=100)
    assert again.stored(SHA256) == 4
    assert again.append(SHA256, 4, FILM[4:]) == 10
    assert again.finish(SHA256) == 10
    assert again.path(SHA256).read_bytes() == FILM


def test_what_is_there_is_passed_over(store: ChunkStore) -> None:
    """A chunk that came already, or in part, adds what is new of it."""
    store.append(SHA256, 0, FILM[:6])
    assert store.append(SHA256, 0, FILM[:3]) == 6
    assert store.append(SHA256, 4, FILM[4:8]) == 8
    assert store.append(SHA256, 8, FILM[8:]) == 10
    store.finish(SHA256)
    assert store.append(SHA256, 0, FILM) == 10
    assert store.finish(SHA256) == 10
    assert store.path(SHA256).read_bytes() == FILM


def test_a_hole_is_refused(store: ChunkStore) -> None:
    """A chunk that starts after what has come is not taken."""
    store.append(SHA256, 0, FILM[:4])
    with pytest.raises(StatusError, match="OUT_OF_RANGE: the chunk starts at 5, and 4 bytes"):
        store.append(SHA256, 5, FILM[5:])
    assert store.stored(SHA256) == 4


def test_another_file_than_promised_is_dropped(store: ChunkStore) -> None:
    """What has not the digest that it was announced with is no file, and does not stay."""
    store.append(SHA256, 0, FILM[:4])
    store.append(SHA256, 4, b"changed")
    with pytest.raises(StatusError, match="DATA_LOSS"):
        store.finish(SHA256)
    assert store.stored(SHA256) == 0
    assert not store.path(SHA256).exists()


def test_an_empty_file(store: ChunkStore) -> None:
    """It has no chunk with bytes, and is a file all the same."""
    empty = hashlib.sha256(b"").hexdigest()
    assert store.finish(empty) == 0
    assert store.path(empty).read_bytes() == b""


@pytest.mark.parametrize("name", ["", "../../etc/passwd", SHA256.upper(), SHA256 + "\n", "g" * 64])
def test_no_name_becomes_a_path(store: ChunkStore, name: str) -> None:
    """What is no digest is refused before a file is touched."""
    for use in (store.stored, store.finish, store.path, lambda n: store.append(n, 0, b"x")):
        with pytest.raises(StatusError, match="INVALID_ARGUMENT"):
            use(name)


@pytest.mark.parametrize(("offset", "size"), [(0, 101), (-1, 1)])
def test_a_file_has_bounds(store: ChunkStore, offset: int, size: int) -> None:
    """It does not begin before 0, and has so many bytes at most."""
    with pytest.raises(StatusError, match="INVALID_ARGUMENT"):
        store.append(SHA256, offset, bytes(size))
    assert store.append(SHA256, 0, bytes(100)) == 100


def test_two_calls_for_one_file(store: ChunkStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunks of a call that was given up and of the one after it come out as one file."""
    size_of = chunk_store._size

    def slow_size(path: Path) -> int:
        size = size_of(path)
        time.sleep(0.001)  # the other call gets its turn between the look and the write
        return size

    monkeypatch.setattr(chunk_store, "_size", slow_size)
    film = os.urandom(100)
    sha256 = hashlib.sha256(film).hexdigest()
    start = threading.Barrier(2)

    def upload() -> None:
        start.wait()
        for offset in range(0, 100, 2):
            store.append(sha256, offset, film[offset : offset + 2])

    calls = [threading.Thread(target=upload) for _ in range(2)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    store.finish(sha256)
    assert store.path(sha256).read_bytes() == film


def test_sweep_deletes_old_parts_only(store: ChunkStore, tmp_path: Path) -> None:
    """Parts to which nothing was added for a while go; files and young parts stay."""
    store.append(SHA256, 0, FILM)
    store.finish(SHA256)
    old, young = (hashlib.sha256(name).hexdigest() for name in (b"old", b"young"))
    for part in (old, young):
        store.append(part, 0, b"x")
    hour_ago = time.time() - 3600
    for path in (tmp_path / f"{old}.part", store.path(SHA256)):
        os.utime(path, (hour_ago, hour_ago))
    assert store.sweep(1800) == 1
    assert [store.stored(each) for each in (old, young, SHA256)] == [0, 1, 10]
