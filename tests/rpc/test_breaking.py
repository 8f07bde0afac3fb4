"""Tests of the compatibility check, on small contracts compiled by protoc."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

from labsvc.rpc.breaking import breaking_changes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Check = Callable[[str, str], list[str]]

BASE = """
message Note {
  string id = 1;
  int32 stars = 2;
  optional int32 size = 3;
  repeated string tags = 4;
  oneof place { string room = 5; string link = 6; }
  map<string, Kind> kinds = 7;
  Inner inner = 8;
  message Inner { int64 cents = 1; }
  enum Kind { KIND_UNSPECIFIED = 0; KIND_OPEN = 1; KIND_SHUT = 2; }
}
message Other { string id = 1; }
service Notes {
  rpc Get(Other) returns (Note);
  rpc Watch(Other) returns (stream Note);
}
"""


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Compile two contracts and compare them."""

    def compile_one(name: str, text: str) -> FileDescriptorSet:
        folder = tmp_path / name
        folder.mkdir()
        (folder / "note.proto").write_text(f'syntax = "proto3";\npackage p;\n{text}')
        out = folder / "set.bin"
        code = protoc.main(
            [
                "protoc",
                f"-I{folder}",
                f"-I{files('grpc_tools') / '_proto'}",
                "--include_imports",
                f"--descriptor_set_out={out}",
                "note.proto",
            ]
        )
        assert code == 0
        return FileDescriptorSet.FromString(out.read_bytes())

    return lambda old, new: breaking_changes(compile_one("old", old), compile_one("new", new))


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("int32 stars = 2;", "int32 stars = 9;", "p.Note.stars: renumbered from 2 to 9"),
        ("int32 stars = 2;", "int64 stars = 2;", "p.Note.stars: type changed from int32 to int64"),
        ("Inner inner = 8;", "Other inner = 8;", "type changed from p.Note.Inner to p.Other"),
        ("int32 stars = 2;", "", "p.Note.stars: removed without reserved"),
        ("int32 stars = 2;", "reserved 2;", "p.Note.stars: removed without reserved"),
        ("int32 stars = 2;", 'reserved "stars";', "p.Note.stars: removed without reserved"),
        ("int32 stars = 2;", "int32 points = 2;", "p.Note.stars: number 2 is now called points"),
        ("optional int32 size = 3;", "int32 size = 3;", "p.Note.size: label changed"),
        ("int32 stars = 2;", "optional int32 stars = 2;", "p.Note.stars: label changed"),
        ("repeated string tags = 4;", "string tags = 4;", "from repeated to optional"),
        (
            "stars = 2;",
            'stars = 2 [json_name="s"];',
            "p.Note.stars: JSON name changed from stars to s",
        ),
        ("string link = 6; }", "} string link = 6;", "p.Note.link: moved from oneof place to no"),
        ("oneof place", "oneof spot", "p.Note.room: moved from oneof place to oneof spot"),
        ("map<string, Kind>", "map<int32, Kind>", "p.Note.KindsEntry.key: type changed"),
        ("int64 cents = 1;", "int64 cents = 2;", "p.Note.Inner.cents: renumbered from 1 to 2"),
        ("KIND_SHUT = 2;", "", "p.Note.Kind.KIND_SHUT: enum value removed without reserved"),
        ("KIND_SHUT = 2;", "reserved 2;", "KIND_SHUT: enum value removed without reserved"),
        ("KIND_SHUT = 2;", 'reserved "KIND_SHUT";', "value removed without reserved"),
        ("KIND_SHUT = 2;", "KIND_SHUT = 3;", "p.Note.Kind.KIND_SHUT: renumbered from 2 to 3"),
        ("message Other", "message Another", "p.Other: message removed"),
        ("service Notes", "service Memos", "p.Notes: service removed"),
        ("rpc Get(Other)", "rpc Fetch(Other)", "p.Notes.Get: method removed"),
        ("Get(Other)", "Get(Note)", "p.Notes.Get: request type changed from p.Other to p.Note"),
        ("Get(Other) returns (Note)", "Get(Other) returns (Other)", "response type changed"),
        ("Get(Other)", "Get(stream Other)", "p.Notes.Get: request became a stream"),
        ("returns (stream Note)", "returns (Note)", "p.Notes.Watch: response is no longer a str"),
    ],
)
def test_breaking_change_is_named(check: Check, old: str, new: str, sentence: str) -> None:
    """Each way to break a contract gives a sentence that names the place."""
    assert old in BASE
    changed = BASE.replace(old, new)
    if old == "message Other":
        changed = changed.replace("(Other)", "(Another)")
    assert any(sentence in found for found in check(BASE, changed))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int32 stars = 2;", "int32 stars = 2; string more = 20;"),
        ("int32 stars = 2;", 'int32 stars = 2 [json_name="stars"];'),
        ("int32 stars = 2;", 'reserved 2; reserved "stars";'),
        ("int32 stars = 2;", 'reserved 2 to 2, 30; reserved "stars";'),
        ("KIND_SHUT = 2;", "KIND_SHUT = 2; KIND_LOST = 3;"),
        ("KIND_SHUT = 2;", 'reserved 2; reserved "KIND_SHUT";'),
        ("rpc Get(Other)", "rpc Add(Note) returns (Other); rpc Get(Other)"),
        ("message Other", "// Now explained.\nmessage Extra {}\nmessage Other"),
        ("string id = 1;\n  int32 stars = 2;", "int32 stars = 2;\n  string id = 1;"),
    ],
)
def test_compatible_change_passes(check: Check, old: str, new: str) -> None:
    """What is added, explained, moved in the file or properly reserved breaks nobody."""
    assert old in BASE
    assert check(BASE, BASE.replace(old, new)) == []


def test_removed_enum_is_named(check: Check) -> None:
    """An enum that is gone is one sentence."""
    enum = "enum Mood { MOOD_UNSPECIFIED = 0; }"
    assert check(BASE + enum, BASE) == ["p.Mood: enum removed; keep it"]


def test_one_change_gives_one_sentence(check: Check) -> None:
    """A swap of two fields names both, and nothing else."""
    old = "message M { string a = 1; string b = 2; }"
    new = "message M { string b = 1; string a = 2; }"
    assert check(old, new) == [
        "p.M.a: renumbered from 1 to 2; give it its number back",
        "p.M.b: renumbered from 2 to 1; give it its number back",
    ]
