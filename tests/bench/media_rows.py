"""What large files promise: through a presigned URL, nearly at the rate of the bare S3 client."""

from __future__ import annotations

import os
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import httpx2

from labsvc import Lab
from labsvc.measure import peak_growth
from labsvc.shop.media import LinkService
from labsvc.shop.v1 import media_pb2, media_pb2_grpc
from tests import s3
from tests.bench.bench_row import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIZE = 64_000_000
BUCKET = "films"
TRIES = 9
MEGABYTE = 1_000_000


def serve(*store: str) -> Iterator[str]:
    """Serve URLs; what boto3 loads for its first calls belongs to the start."""
    server = grpc.server(ThreadPoolExecutor(4))
    media_pb2_grpc.add_LinkServiceServicer_to_server(LinkService(s3.client(*store), BUCKET), server)
    target = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    with grpc.insecure_channel(target) as channel:
        by_url(media_pb2_grpc.LinkServiceStub(channel), b"x")
    yield target


def by_url(stub: Any, content: Any) -> None:
    """Put a film to a URL that the service has signed, and commit it."""
    size = len(content) if isinstance(content, bytes) else os.fstat(content.fileno()).st_size
    upload_id = put(stub, content, size)
    stub.CommitUpload(media_pb2.CommitUploadRequest(upload_id=upload_id), timeout=60)


def put(stub: Any, content: Any, size: int) -> str:
    """Put a film to a URL that the service has signed; return the id of the upload."""
    link = stub.LinkUpload(media_pb2.LinkUploadRequest(size=size), timeout=30)
    httpx2.put(link.url, content=content, timeout=60).raise_for_status()
    return str(link.upload_id)


def seconds(upload: Callable[[Any], object], path: Path) -> float:
    """Time one upload of a file."""
    with path.open("rb") as file:
        start = time.perf_counter()
        upload(file)
        return time.perf_counter() - start


def presigned() -> Iterator[Row]:
    """Put a film by URL, and with the bare client of the store, in turn."""
    with Lab() as lab:
        path = lab.folder("film") / "film"
        path.write_bytes(os.urandom(SIZE))
        objects = lab.serve_objects()
        store = objects.url, objects.access_key, objects.secret_key
        bare_client = s3.client(*store)
        bare_client.create_bucket(Bucket=BUCKET)
        with peak_growth(serve, *store) as service, grpc.insecure_channel(service.value) as channel:
            stub = media_pb2_grpc.LinkServiceStub(channel)

            def put_by_url(file: Any) -> None:
                put(stub, file, SIZE)

            def put_bare(file: Any) -> None:
                bare_client.put_object(Bucket=BUCKET, Key="bare", Body=file)

            ways = {"url": put_by_url, "bare": put_bare}
            times: dict[str, list[float]] = {way: [] for way in ways}
            for turn in range(TRIES + 1):
                for way, upload in ways.items():
                    took = seconds(upload, path)
                    if turn:  # the first is a warm-up
                        times[way].append(took)
            with path.open("rb") as file:
                by_url(stub, file)
    ratio = statistics.median(
        bare / url for bare, url in zip(times["bare"], times["url"], strict=True)
    )
    rates = {way: SIZE / MEGABYTE / statistics.median(took) for way, took in times.items()}
    detail = (
        f"{rates['url']:.0f} MB/s by URL, asking for it included,"
        f" {rates['bare']:.0f} MB/s with boto3; median of {TRIES} turns"
    )
    yield Row("64 MB by a presigned URL, rate over boto3", ratio, 0.8, "x", detail, at_least=True)
    grown = service.bytes / MEGABYTE
    detail = f"peak of its process over {TRIES + 2} films; the film is 64 MB"
    yield Row("the service's memory meanwhile", grown, 5, "MB", detail)


PARTS = [presigned]
