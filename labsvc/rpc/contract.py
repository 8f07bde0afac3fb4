"""A contract from its text, without a file that is left over: messages, stub and servicer.

Notebook 11 and its exercises compare versions of one contract, which must not meet in the default
pool of protobuf: it knows each full name once. So every text gets a pool of its own, and running a
cell twice is safe. A program has its stubs generated instead, as protos/generate.py does.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from google.protobuf.descriptor import Descriptor, ServiceDescriptor

NAME = "contract.proto"


class ContractError(ValueError):
    """protoc refuses the text, or protobuf what protoc made of it.

    The message is theirs, such as `4:26: Expected "returns".`.
    """


@dataclass(frozen=True)
class Contract:
    """One compiled text; `compile_contract` makes it.

    `files` is what `labsvc.rpc.breaking.breaking_changes` compares. Names are those of the text,
    without its package.
    """

    files: FileDescriptorSet
    pool: DescriptorPool
    package: str

    def message(self, name: str) -> Any:
        """Return the class of a message.

        Raises:
            KeyError: the text has no such message.

        """
        return _class(self.pool.FindMessageTypeByName(self._full(name)))

    def stub(self, service: str, channel: grpc.Channel) -> Any:
        """Return a client with one callable for each method, all of them unary.

        Raises:
            KeyError: the text has no such service.

        """
        found = self.pool.FindServiceByName(self._full(service))
        return SimpleNamespace(
            **{
                method.name: channel.unary_unary(
                    f"/{found.full_name}/{method.name}",
                    request_serializer=_class(method.input_type).SerializeToString,
                    response_deserializer=_class(method.output_type).FromString,
                )
                for method in found.methods
            }
        )

    def servicer(self, service: str, **handlers: Callable[[Any, Any], Any]) -> Servicer:
        """Return what `Lab.serve_grpc` serves: plain functions of (request, context) by method.

        Raises:
            KeyError: the text has no such service, or the service no such method.

        """
        return Servicer(self.pool.FindServiceByName(self._full(service)), handlers)

    def _full(self, name: str) -> str:
        return f"{self.package}.{name}" if self.package else name


class Servicer:
    """Handlers of one service, all of them unary; `Contract.servicer` makes it."""

    def __init__(
        self, service: ServiceDescriptor, handlers: Mapping[str, Callable[[Any, Any], Any]]
    ) -> None:
        self.service = service.full_name
        self.handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                handler,
                request_deserializer=_class(service.methods_by_name[name].input_type).FromString,
                response_serializer=_class(
                    service.methods_by_name[name].output_type
                ).SerializeToString,
            )
            for name, handler in handlers.items()
        }


def add_Servicer_to_server(servicer: Servicer, server: Any) -> None:
    """Register the handlers, as the function of this name in generated code does."""
    handler = grpc.method_handlers_generic_handler(servicer.service, servicer.handlers)
    server.add_generic_rpc_handlers((handler,))


def compile_contract(text: str) -> Contract:
    """Compile the whole text of a .proto file, from its `syntax` line on.

    It may import google/protobuf/*.proto and nothing else.

    Raises:
        ContractError: the text is refused.

    """
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, NAME).write_text(text, encoding="utf-8")
        # In a process of its own: protoc writes its complaints to stderr from C++.
        command = [sys.executable, "-m", "grpc_tools.protoc", "-I.", "--include_imports"]
        command += ["--descriptor_set_out=set", NAME]
        done = subprocess.run(  # noqa: S603  # our own interpreter, no shell
            command, cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise ContractError(_complaints(done.stderr))
        files = FileDescriptorSet.FromString(Path(folder, "set").read_bytes())
    pool = DescriptorPool()
    try:
        for file in files.file:
            pool.AddSerializedFile(file.SerializeToString())
    except TypeError as error:  # such as two fields with one JSON name, which protoc lets through
        raise ContractError(str(error)) from error
    return Contract(files, pool, files.file[-1].package)


def _complaints(stderr: str) -> str:
    """Return what protoc says about the text, without the log of its own parser."""
    lines = [line for line in stderr.splitlines() if line.startswith(f"{NAME}:")]
    errors = [line for line in lines if ": warning: " not in line]
    return "\n".join(line.removeprefix(f"{NAME}:").strip() for line in errors) or stderr.strip()


def _class(descriptor: Descriptor) -> Any:
    return message_factory.GetMessageClass(descriptor)
