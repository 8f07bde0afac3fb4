"""Tests of the services that carry films, on a real server and a real object store."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import grpc
import httpx2
import pytest

from labsvc.cells import outcome
from labsvc.engines import find_rclone
from labsvc.lab import Lab
from labsvc.shop.media import LinkService, MediaService, UploadService
from labsvc.shop.v1 import media_pb2, media_pb2_grpc
from tests import s3
from tests.needs import need

if TYPE_CHECKING:
    from collections.abc import Iterator

FILM = b"a film of two chunks"
SHA256 = hashlib.sha256(FILM).hexdigest()
TIMEOUT = 20
BUCKET = "films"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run a lab."""
    with Lab() as running:
        yield running


@pytest.fixture
def channel(lab: Lab) -> Iterator[grpc.Channel]:
    """Connect to media and uploads."""
    services = MediaService(), UploadService(lab.folder("films"))
    with grpc.insecure_channel(lab.serve_grpc(*services, workers=4).target) as opened:
        yield opened


def test_whole(channel: grpc.Channel) -> None:
    """A film comes back as it was put, by the digest that was answered."""
    stub = media_pb2_grpc.MediaServiceStub(channel)
    put = stub.PutFile(media_pb2.PutFileRequest(content=FILM), timeout=TIMEOUT)
    assert put.sha256 == SHA256
    ask = media_pb2.GetFileRequest(sha256=SHA256)
    assert stub.GetFile(ask, timeout=TIMEOUT).content == FILM
    nobody = media_pb2.GetFileRequest(sha256="nobody")
    assert outcome(stub.GetFile, nobody, timeout=TIMEOUT) == "NOT_FOUND"


def test_chunks_in_calls(channel: grpc.Channel) -> None:
    """Chunks in calls of their own become a film when the upload is finished, again and again."""
    stub = media_pb2_grpc.UploadServiceStub(channel)
    finish = media_pb2.FinishUploadRequest(sha256=SHA256)
    for start in (0, 10, 10):
        data = FILM[start : start + 10]
        chunk = media_pb2.PutChunkRequest(sha256=SHA256, offset=start, data=data)
        assert stub.PutChunk(chunk, timeout=TIMEOUT).stored == min(start + 10, len(FILM))
    assert stub.FinishUpload(finish, timeout=TIMEOUT).stored == len(FILM)
    assert stub.FinishUpload(finish, timeout=TIMEOUT).stored == len(FILM)
    asked = media_pb2.GetUploadRequest(sha256=SHA256)
    assert stub.GetUpload(asked, timeout=TIMEOUT).stored == len(FILM)


def test_one_stream_is_one_film(channel: grpc.Channel) -> None:
    """Chunks of two films in one stream are refused, and so is a stream without any."""
    stub = media_pb2_grpc.UploadServiceStub(channel)
    one = media_pb2.UploadRequest(sha256=SHA256, data=FILM[:5])
    other = media_pb2.UploadRequest(sha256="0" * 64, data=FILM[:5])
    for chunks in ([one, other], []):
        assert outcome(stub.Upload, iter(chunks), timeout=TIMEOUT) == "INVALID_ARGUMENT"


@pytest.fixture(scope="module")
def links(lab: Lab) -> Iterator[Any]:
    """Connect to links of a store with an empty bucket."""
    need(find_rclone)
    objects = lab.serve_objects()
    store = s3.client(objects.url, objects.access_key, objects.secret_key)
    store.create_bucket(Bucket=BUCKET)
    service = lab.serve_grpc(LinkService(store, BUCKET), workers=4, name="links")
    with grpc.insecure_channel(service.target) as opened:
        yield media_pb2_grpc.LinkServiceStub(opened)


def test_links(links: Any) -> None:
    """What is put to its URL and committed, twice, comes back from a URL of its own."""
    asked = media_pb2.LinkUploadRequest(size=len(FILM))
    link = links.LinkUpload(asked, timeout=TIMEOUT)
    done = media_pb2.CommitUploadRequest(upload_id=link.upload_id)
    assert outcome(links.CommitUpload, done, timeout=TIMEOUT) == "NOT_FOUND"
    assert httpx2.put(link.url, content=FILM).is_success
    for _ in range(2):
        file_id = links.CommitUpload(done, timeout=TIMEOUT).file_id
    assert httpx2.put(link.url, content=FILM[::-1]).is_success  # too late to change anything
    found = links.LinkFile(media_pb2.LinkFileRequest(file_id=file_id), timeout=TIMEOUT)
    assert httpx2.get(found.url).content == FILM


def test_links_of_nothing(links: Any) -> None:
    """There is no URL for an empty film, for more bytes than were asked for, or for no film."""
    nothing = media_pb2.LinkUploadRequest(size=0)
    assert outcome(links.LinkUpload, nothing, timeout=TIMEOUT) == "INVALID_ARGUMENT"
    link = links.LinkUpload(media_pb2.LinkUploadRequest(size=3), timeout=TIMEOUT)
    assert httpx2.put(link.url, content=b"four").status_code == 403
    nobody = media_pb2.LinkFileRequest(file_id=link.upload_id)
    assert outcome(links.LinkFile, nobody, timeout=TIMEOUT) == "NOT_FOUND"
