"""Tests that the contracts, their stubs and their history belong together."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from google.api import annotations_pb2  # type: ignore[import-untyped]
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from labsvc.rpc.breaking import breaking_changes

ROOT = Path(__file__).parents[1]
STUBS = Path("labsvc/shop/v1")


def git(*arguments: str) -> bytes:
    """Run git in the repository; skip the test if that is not possible."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed, so there is no earlier contract to compare with")
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no history here: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


def descriptors(protos: Path, out: Path) -> FileDescriptorSet:
    """Compile all contracts of a folder, comments included."""
    contracts = sorted(str(path.relative_to(protos)) for path in protos.rglob("*.proto"))
    code = protoc.main(
        [
            "protoc",
            f"-I{protos}",
            f"-I{files('grpc_tools') / '_proto'}",
            f"-I{Path(annotations_pb2.__file__).parents[2]}",
            "--include_imports",
            "--include_source_info",
            f"--descriptor_set_out={out}",
            *contracts,
        ]
    )
    assert code == 0
    return FileDescriptorSet.FromString(out.read_bytes())


def test_stubs_are_fresh(tmp_path: Path) -> None:
    """Generating the stubs again gives the committed bytes: no more and no fewer files."""
    command = [sys.executable, str(ROOT / "protos/generate.py"), "--out", str(tmp_path)]
    subprocess.run(command, check=True, timeout=100)
    fresh = {path.name: path.read_bytes() for path in (tmp_path / STUBS).iterdir()}
    kept = {path.name: path.read_bytes() for path in (ROOT / STUBS).glob("*_pb2*")}
    assert sorted(fresh) == sorted(kept), "run `make protos`, then commit what it wrote"
    stale = [name for name, content in fresh.items() if kept[name] != content]
    assert stale == [], "run `make protos`, then commit what it wrote"


def test_contracts_are_compatible_with_the_last_commit(tmp_path: Path) -> None:
    """Nothing that is built on the last committed contracts breaks."""
    now = descriptors(ROOT / "protos", tmp_path / "now.bin")
    commits = git("log", "-2", "--format=%H", "--", "protos/labsvc").decode().split()
    if commits and not git("diff", commits[0], "--", "protos/labsvc"):
        commits = commits[1:]  # the last commit is what we have: take the one that differs
    if not commits:
        pytest.skip("the contracts have no earlier version in this history")
    archive = git("archive", commits[0], "protos/labsvc")
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(tmp_path, filter="data")
    before = descriptors(tmp_path / "protos", tmp_path / "before.bin")
    assert breaking_changes(before, now) == []


def test_everything_in_the_contracts_is_explained(tmp_path: Path) -> None:
    """Every service, method, message, field, enum and value has a comment above it."""
    contracts = descriptors(ROOT / "protos", tmp_path / "now.bin")
    missing = [
        f"{file.name}: {name}"
        for file in contracts.file
        if file.name.startswith("labsvc/")
        for name, path in named_parts(file)
        if path not in explained(file)
    ]
    assert missing == []


Where = tuple[int, ...]


def explained(file: FileDescriptorProto) -> set[Where]:
    """Return the paths, as descriptor.proto numbers them, of what has a leading comment."""
    return {tuple(at.path) for at in file.source_code_info.location if at.leading_comments.strip()}


def named_parts(file: FileDescriptorProto) -> list[tuple[str, Where]]:
    """Return the names and paths of everything in a file that a reader may ask about."""
    parts: list[tuple[str, Where]] = []
    kinds: list[tuple[int, str, Any]] = [
        (FileDescriptorProto.MESSAGE_TYPE_FIELD_NUMBER, "field", file.message_type),
        (FileDescriptorProto.ENUM_TYPE_FIELD_NUMBER, "value", file.enum_type),
        (FileDescriptorProto.SERVICE_FIELD_NUMBER, "method", file.service),
    ]
    for number, members, of in kinds:
        for index, owner in enumerate(of):
            parts.append((owner.name, (number, index)))
            # `field`, `value` and `method` are all number 2 of their owner.
            parts += [
                (f"{owner.name}.{member.name}", (number, index, 2, at))
                for at, member in enumerate(getattr(owner, members))
            ]
    return parts
