"""Tests of contracts that are compiled from a text, over real servers."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from labsvc.lab import Lab
from labsvc.rpc.breaking import breaking_changes
from labsvc.rpc.contract import ContractError, compile_contract

NOTES = """syntax = "proto3";
package notes;
import "google/protobuf/timestamp.proto";
message Note { string text = 1; google.protobuf.Timestamp at = 2; }
message Found { int32 count = 1; }
service Notes { rpc Find(Note) returns (Found); rpc Drop(Note) returns (Found); }
"""


def test_one_name_in_two_versions() -> None:
    """Two texts with the same names live side by side, and read each other's bytes."""
    old = compile_contract(NOTES)
    new = compile_contract(NOTES.replace("Timestamp at = 2;", "Timestamp at = 2; int32 stars = 3;"))
    sent = new.message("Note")(text="tea", stars=5, at={"seconds": 7})
    seen = old.message("Note").FromString(sent.SerializeToString())
    assert (seen.text, seen.at.seconds) == ("tea", 7)
    assert not hasattr(seen, "stars")
    assert breaking_changes(old.files, new.files) == []


def test_names_without_a_package() -> None:
    """A text without a package is found by its bare names."""
    contract = compile_contract('syntax = "proto3"; message Note { string text = 1; }')
    assert contract.message("Note")(text="tea").text == "tea"


@pytest.mark.parametrize("workers", [None, 2])
def test_served_and_called(workers: int | None) -> None:
    """A stub reaches the handlers of both kinds of server; a method left out says so."""
    notes = compile_contract(NOTES)
    found = notes.message("Found")

    def find(request: Any, context: grpc.ServicerContext) -> Any:
        return found(count=len(request.text))

    with Lab() as lab:
        service = lab.serve_grpc(notes.servicer("Notes", Find=find), workers=workers)
        with grpc.insecure_channel(service.target) as channel:
            stub = notes.stub("Notes", channel)
            assert stub.Find(notes.message("Note")(text="tea"), timeout=5).count == 3
            with pytest.raises(grpc.RpcError) as caught:
                stub.Drop(notes.message("Note")(), timeout=5)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert service.stats.methods["Notes/Find"] == 1


def test_unknown_names() -> None:
    """A name that the text does not have is a KeyError."""
    notes = compile_contract(NOTES)
    with pytest.raises(KeyError, match=r"notes\.Other"):
        notes.message("Other")
    with pytest.raises(KeyError, match=r"notes\.Others"):
        notes.servicer("Others")
    with pytest.raises(KeyError, match="Keep"):
        notes.servicer("Notes", Keep=print)


def test_refused_text() -> None:
    """What protoc says comes with line and column, and without the path of the file."""
    with pytest.raises(ContractError, match=r'^6:\d+: Expected "returns"\.'):
        compile_contract(NOTES.replace("Find(Note) returns (Found)", "Find(Note)"))
    with pytest.raises(ContractError, match=r'^4:\d+: "Other" is not defined\.$'):
        compile_contract('syntax = "proto3";\npackage p;\nmessage A {\n  Other other = 1;\n}\n')
    unused = 'syntax = "proto3";\nimport "google/protobuf/any.proto";\nmessage A { B b = 1; }\n'
    with pytest.raises(ContractError, match=r'^3:\d+: "B" is not defined\.$'):
        compile_contract(unused)


def test_refused_without_the_log_of_the_parser() -> None:
    """A text that is no contract is refused in one line, although the parser logs more."""
    with pytest.raises(ContractError, match=r"^1:1: Expected top-level statement [^\n]+$"):
        compile_contract("hello")


def test_refused_by_protobuf() -> None:
    """What protoc lets through and protobuf refuses is refused with its words."""
    fields = 'string a = 1 [json_name = "x"]; string b = 2 [json_name = "a"];'
    with pytest.raises(ContractError, match="duplicate json_name"):
        compile_contract(f'syntax = "proto3"; message A {{ {fields} }}')
