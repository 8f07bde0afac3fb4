"""What carries films: in one message, in chunks, or by URLs of an object store. For grpc.server.

    lab.serve_grpc(MediaService(), UploadService(folder), LinkService(s3, bucket), workers=8)

The contract is media.proto. The work with chunks is that of `labsvc.rpc.chunk_store`.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any

from labsvc.rpc import recovery
from labsvc.rpc.chunk_store import ChunkStore
from labsvc.shop.errors import InvalidArgument, NotFound, translate
from labsvc.shop.v1 import media_pb2, media_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST = 2**30
"""Bytes that a film may have."""

URL_SECONDS = 60
"""How long a URL lives: for the start of a request, which may take longer."""

_answers_errors = recovery.answers(translate)


class MediaService(media_pb2_grpc.MediaServiceServicer):
    """MediaService, with the films in memory, by the SHA-256 of their contents."""

    def __init__(self) -> None:
        self.films: dict[str, bytes] = {}

    @_answers_errors
    def PutFile(self, request: media_pb2.PutFileRequest, _: Any) -> media_pb2.PutFileResponse:
        """Store a film."""
        sha256 = hashlib.sha256(request.content).hexdigest()
        self.films[sha256] = request.content
        return media_pb2.PutFileResponse(sha256=sha256)

    @_answers_errors
    def GetFile(self, request: media_pb2.GetFileRequest, _: Any) -> media_pb2.GetFileResponse:
        """Return a film."""
        content = self.films.get(request.sha256)
        if content is None:
            msg = "there is no such film"
            raise NotFound(msg)
        return media_pb2.GetFileResponse(content=content)


class UploadService(media_pb2_grpc.UploadServiceServicer):
    """UploadService for a server with a thread pool: its disk would hold up an event loop."""

    def __init__(self, folder: Path) -> None:
        self.films = ChunkStore(folder, most=MOST)

    @_answers_errors
    def GetUpload(self, request: media_pb2.GetUploadRequest, _: Any) -> media_pb2.GetUploadResponse:
        """Tell how much is stored."""
        return media_pb2.GetUploadResponse(stored=self.films.stored(request.sha256))

    @_answers_errors
    def Upload(
        self, requests: Iterator[media_pb2.UploadRequest], _: Any
    ) -> media_pb2.UploadResponse:
        """Store the chunks of a stream, and then the file."""
        sha256 = ""
        for chunk in requests:
            sha256 = sha256 or chunk.sha256
            if chunk.sha256 != sha256:
                msg = "the chunks of one stream belong to one file"
                raise InvalidArgument(msg)
            self.films.append(sha256, chunk.offset, chunk.data)
        return media_pb2.UploadResponse(stored=self.films.finish(sha256))

    @_answers_errors
    def PutChunk(self, request: media_pb2.PutChunkRequest, _: Any) -> media_pb2.PutChunkResponse:
        """Store one chunk."""
        stored = self.films.append(request.sha256, request.offset, request.data)
        return media_pb2.PutChunkResponse(stored=stored)

    @_answers_errors
    def FinishUpload(
        self, request: media_pb2.FinishUploadRequest, _: Any
    ) -> media_pb2.FinishUploadResponse:
        """Store the file."""
        return media_pb2.FinishUploadResponse(stored=self.films.finish(request.sha256))


class LinkService(media_pb2_grpc.LinkServiceServicer):
    """LinkService: signs URLs, and touches no film.

    What is put lies under pending/ until it is committed, and under kept/ from then on. So whatever
    is old and still pending belongs to nobody, and can be deleted.

    Args:
        s3: a boto3 client of the store.
        bucket: where the films are.

    """

    def __init__(self, s3: Any, bucket: str) -> None:
        self._s3 = s3
        self._bucket = bucket

    @_answers_errors
    def LinkUpload(
        self, request: media_pb2.LinkUploadRequest, _: Any
    ) -> media_pb2.LinkUploadResponse:
        """Return a URL for one film of this size, and for no other."""
        if request.size < 1:
            msg = "size must be 1 byte or more"
            raise InvalidArgument(msg)
        upload_id = uuid.uuid4().hex
        url = self._url("put_object", f"pending/{upload_id}", ContentLength=request.size)
        return media_pb2.LinkUploadResponse(upload_id=upload_id, url=url)

    @_answers_errors
    def CommitUpload(
        self, request: media_pb2.CommitUploadRequest, _: Any
    ) -> media_pb2.CommitUploadResponse:
        """Move a film from pending/ to kept/, where its URL does not reach it any more."""
        pending = {"Bucket": self._bucket, "Key": f"pending/{request.upload_id}"}
        kept = f"kept/{request.upload_id}"
        try:
            self._s3.copy_object(Bucket=self._bucket, Key=kept, CopySource=pending)
        except self._s3.exceptions.NoSuchKey:
            self._must_be_there(kept)  # then this is a commit that comes again
        else:
            self._s3.delete_object(**pending)
        return media_pb2.CommitUploadResponse(file_id=request.upload_id)

    @_answers_errors
    def LinkFile(self, request: media_pb2.LinkFileRequest, _: Any) -> media_pb2.LinkFileResponse:
        """Return a URL to get a film from."""
        key = f"kept/{request.file_id}"
        self._must_be_there(key)
        return media_pb2.LinkFileResponse(url=self._url("get_object", key))

    def _url(self, action: str, key: str, **params: Any) -> str:
        named = {"Bucket": self._bucket, "Key": key, **params}
        url: str = self._s3.generate_presigned_url(action, named, URL_SECONDS)
        return url

    def _must_be_there(self, key: str) -> None:
        found = self._s3.list_objects_v2(Bucket=self._bucket, Prefix=key, MaxKeys=1)
        if [each["Key"] for each in found.get("Contents", [])] != [key]:
            msg = "there is no such film"
            raise NotFound(msg)
