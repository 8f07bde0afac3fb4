"""A contract with a field of each kind, and a service that gives back what it was asked."""

from __future__ import annotations

import asyncio
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from google.api import annotations_pb2  # type: ignore[import-untyped]
from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    timestamp_pb2,  # noqa: F401  # in the pool before the contract that imports it
    wrappers_pb2,  # noqa: F401  # likewise
)
from google.protobuf.message_factory import GetMessageClass
from grpc_tools import protoc

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.descriptor import ServiceDescriptor

HEAD = """
syntax = "proto3";
import "google/api/annotations.proto";
import "google/protobuf/timestamp.proto";
import "google/protobuf/wrappers.proto";
"""

THINGS = """
package labsvc.tests.web;
enum Colour { COLOUR_UNSPECIFIED = 0; COLOUR_RED = 1; }
message Inner { string name = 1; int32 size = 2; Inner inner = 3; }
message Thing {
  string id = 1;
  int64 big = 2;
  uint32 small = 3;
  double ratio = 4;
  bool ready = 5;
  bytes raw = 6;
  Colour colour = 7;
  repeated string tags = 8;
  Inner inner = 9;
  google.protobuf.Timestamp at = 10;
  google.protobuf.BoolValue maybe = 11;
  map<string, int32> counts = 12;
  optional int32 size = 13;
  string other_name = 14 [json_name = "called"];
}
service Things {
  rpc Get(Thing) returns (Thing) { option (google.api.http) = {get: "/v1/things/{id}"}; }
  rpc Put(Thing) returns (Thing) { option (google.api.http) = {put: "/v1/things/{id}" body: "*"}; }
  rpc Patch(Thing) returns (Thing) {
    option (google.api.http) = {
      patch: "/v1/things/{id}/inner" body: "inner" response_body: "inner"
      additional_bindings {custom {kind: "TRACE-IT" path: "/v1/traced/{inner.name}"} body: "*"}
    };
  }
  rpc Delete(Thing) returns (Thing) {
    option (google.api.http) = {delete: "/v1/{id=shelves/*/things/**}"};
  }
  rpc Touch(Thing) returns (Thing) { option (google.api.http) = {post: "/v1/things/{id}:touch"}; }
  rpc Watch(Thing) returns (stream Thing) {
    option (google.api.http) = {get: "/v1/things/{id}:watch"};
  }
  rpc Hidden(Thing) returns (Thing);
}
"""


def compiled(text: str, name: str) -> ServiceDescriptor:
    """Compile a contract into the default pool, and return its first service."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, name).write_text(HEAD + text, encoding="utf-8")
        code = protoc.main(
            [
                "protoc",
                f"-I{folder}",
                f"-I{files('grpc_tools') / '_proto'}",
                f"-I{Path(annotations_pb2.__file__).parents[2]}",
                f"--descriptor_set_out={folder}/set",
                name,
            ]
        )
        assert code == 0
        made = descriptor_pb2.FileDescriptorSet.FromString(Path(folder, "set").read_bytes())
    pool = descriptor_pool.Default()
    pool.AddSerializedFile(made.file[0].SerializeToString())
    file: Any = pool.FindFileByName(name)
    service: ServiceDescriptor = next(iter(file.services_by_name.values()))
    return service


SERVICE = compiled(THINGS, "labsvc_tests_web_things.proto")
Thing: Any = GetMessageClass(SERVICE.methods_by_name["Get"].input_type)


class Things:
    """Answers each call with its request, unless the id says something else.

    `seen` are the metadata and the time left of the calls, `peers` where they came from; `ended`
    counts those that were cancelled while they waited. "wait" does so after its initial metadata,
    "silent" before it has said anything.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[dict[str, str], float | None]] = []
        self.peers: list[str] = []
        self.waiting = 0
        self.ended = 0

    async def unary(self, request: Any, context: Any) -> Any:
        """Give back."""
        self._note(context)
        if request.id != "silent":
            await context.send_initial_metadata((("x-request-id", "r-1"), ("x-inner", "secret")))
        context.set_trailing_metadata((("x-last", "word"), ("last_word", "x")))
        await self._ends(request, context)
        return request

    async def stream(self, request: Any, context: Any) -> Any:
        """Give back as often as `small` says, then do what the id says."""
        self._note(context)
        for number in range(request.small):
            yield Thing(id=request.id, big=number)
        await self._ends(request, context)

    def _note(self, context: Any) -> None:
        self.seen.append((dict(context.invocation_metadata()), context.time_remaining()))
        self.peers.append(context.peer())

    async def _ends(self, request: Any, context: Any) -> None:
        if request.id in grpc.StatusCode.__members__:
            await context.abort(grpc.StatusCode[request.id], "secret" if request.ready else "why")
        if request.id in {"wait", "silent"}:
            self.waiting += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.ended += 1

    def register(self, server: grpc.aio.Server) -> None:
        """Add the handlers to a server."""
        codec: dict[str, Callable[[Any], Any]] = {
            "request_deserializer": Thing.FromString,
            "response_serializer": Thing.SerializeToString,
        }
        handlers = {
            method.name: grpc.unary_stream_rpc_method_handler(self.stream, **codec)
            if method.server_streaming
            else grpc.unary_unary_rpc_method_handler(self.unary, **codec)
            for method in SERVICE.methods
        }
        generic = grpc.method_handlers_generic_handler(SERVICE.full_name, handlers)
        server.add_generic_rpc_handlers((generic,))
