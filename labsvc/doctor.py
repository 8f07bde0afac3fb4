"""Examine the machine: whether the lab can run here, and what to repair if not.

`labsvc doctor` prints what `examine` finds.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import socket
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from labsvc.engines import Engine, find_etcd, find_postgres, find_rclone, parse_version
from labsvc.errors import EngineError
from labsvc.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from packaging.requirements import Requirement

OLDEST_PYTHON = (3, 11)
PACKAGE = Path(__file__).parent
PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy")
ENGINE_VARIABLES = (
    "LAB_AMQP_URL",
    "ETCD_ENDPOINTS",
    "LAB_S3_ENDPOINT",
    "LAB_POSTGRES_DSN",
    "LAB_REDIS_URL",
    "LAB_KAFKA_BOOTSTRAP",
)
RESERVED_ETCD = ((3, 5, 0), (3, 5, 2))  # from, to: upstream warns of lost data under load

REINSTALL = "run `make lab`, or `pip install --upgrade labsvc`"


@dataclass(frozen=True)
class Finding:
    """One thing examined.

    `ok` is True when it is fine, False when the lab cannot work until it is repaired,
    None when it is worth knowing. `repair` is empty when there is nothing to do.
    """

    name: str
    ok: bool | None
    detail: str
    repair: str = ""


def examine() -> list[Finding]:
    """Examine Python, packages, stubs, ports, proxies, folders and engines. It changes nothing."""
    return [finding for check in CHECKS for finding in check()]


def _python() -> Iterator[Finding]:
    fine = sys.version_info >= OLDEST_PYTHON
    wanted = ".".join(map(str, OLDEST_PYTHON))
    repair = "" if fine else f"install Python {wanted} or later, then run `make lab` with it"
    yield Finding("Python", fine, f"{platform.python_version()} at {sys.executable}", repair)


def _packages() -> Iterator[Finding]:
    try:
        wrong = [problem for need in _needs() if (problem := _problem(need))]
    except ImportError as error:  # what reads the requirements is itself a package
        wrong = [f"{error.name} is missing"]
    if wrong:
        yield Finding("packages", ok=False, detail="; ".join(wrong), repair=REINSTALL)
    else:
        yield Finding("packages", ok=True, detail="all there, in versions that fit")


def _needs() -> list[Requirement]:
    from packaging.requirements import Requirement

    try:
        listed = importlib.metadata.requires("labsvc") or []
    except importlib.metadata.PackageNotFoundError:  # used from a checkout, not installed
        listed = _needs_of_the_checkout()
    needs = [Requirement(line) for line in listed]
    return [need for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]


def _needs_of_the_checkout() -> list[str]:
    import tomllib

    file = PACKAGE.parent / "pyproject.toml"
    if not file.exists():
        return []
    needs: list[str] = tomllib.loads(file.read_text(encoding="utf-8"))["project"]["dependencies"]
    return needs


def _problem(need: Requirement) -> str:
    try:
        version = importlib.metadata.version(need.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{need.name} is missing"
    if not need.specifier.contains(version, prereleases=True):
        return f"{need.name} is {version}, needed is {need.specifier}"
    return ""


def _stubs() -> Iterator[Finding]:
    """Compare the versions that the generated stubs were made for with those installed."""
    marks = (
        ("grpcio", "*_pb2_grpc.py", r"GRPC_GENERATED_VERSION = '([\d.]+)'"),
        ("protobuf", "*_pb2.py", r"# Protobuf Python Version: ([\d.]+)"),
    )
    for package, pattern, mark in marks:
        made_for = _newest(pattern, mark)
        if made_for is None:
            continue
        try:
            installed = parse_version(importlib.metadata.version(package))
        except importlib.metadata.PackageNotFoundError:
            continue  # the packages' own finding says so
        fine = installed >= made_for
        detail = f"generated for {package} {_dotted(made_for)}, installed is {_dotted(installed)}"
        repair = "" if fine else f"{REINSTALL}; or generate the stubs anew with `make protos`"
        yield Finding(f"stubs and {package}", fine, detail, repair)


def _newest(pattern: str, mark: str) -> tuple[int, ...] | None:
    texts = (path.read_text(encoding="utf-8") for path in PACKAGE.rglob(pattern))
    found = [parse_version(match[1]) for text in texts if (match := re.search(mark, text))]
    return max(found, default=None)


def _ports() -> Iterator[Finding]:
    repair = "let this user's programs listen on and connect to 127.0.0.1 in the firewall"
    try:
        with socket.create_server((HOST, 0)) as server:
            server.settimeout(2)
            address = server.getsockname()
            with socket.create_connection(address, timeout=2), server.accept()[0]:
                yield Finding("ports", ok=True, detail="127.0.0.1 takes a free port and answers")
    except OSError as error:
        yield Finding(
            "ports", ok=False, detail=f"127.0.0.1 does not answer: {error}", repair=repair
        )


def _proxies() -> Iterator[Finding]:
    names = [
        name for name in PROXY_VARIABLES if os.environ.get(name) or os.environ.get(name.upper())
    ]
    exempt = f"{os.environ.get('no_proxy', '')},{os.environ.get('NO_PROXY', '')}".split(",")
    if not names:
        yield Finding("proxy variables", ok=True, detail="none set")
    elif HOST in exempt or "*" in exempt:
        yield Finding(
            "proxy variables", ok=True, detail=f"{', '.join(names)} set, 127.0.0.1 is exempt"
        )
    else:
        detail = f"{', '.join(names)} would catch calls to 127.0.0.1; a Lab exempts it by itself"
        repair = f"for programs outside a Lab, add {HOST} to no_proxy and NO_PROXY"
        yield Finding("proxy variables", ok=None, detail=detail, repair=repair)


def _folders() -> Iterator[Finding]:
    folders = (
        ("temporary folder", _temporary_folder, "set TMPDIR to a folder you may write"),
        ("progress folder", _progress_folder, "set LABSVC_DATA_DIR to a folder you may write"),
    )
    for name, find, repair in folders:
        try:
            folder = find()
        except ImportError:
            continue  # the packages' own finding says so
        except OSError as error:
            yield Finding(name, ok=False, detail=str(error), repair=repair)
            continue
        there = next(path for path in (folder, *folder.parents) if path.exists())
        fine = there.is_dir() and os.access(there, os.W_OK)
        detail = f"{folder} can be written" if fine else f"{folder} cannot be written"
        yield Finding(name, fine, detail, "" if fine else repair)


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir())


def _progress_folder() -> Path:
    override = os.environ.get("LABSVC_DATA_DIR")
    if override:
        return Path(override)
    import platformdirs

    return platformdirs.user_data_path("labsvc")


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _engines() -> Iterator[Finding]:
    searches: tuple[tuple[str, Callable[[], Engine]], ...] = (
        ("etcd", find_etcd),
        ("rclone", find_rclone),
        ("PostgreSQL", find_postgres),
    )
    for name, find in searches:
        try:
            engine = find()
        except EngineError as error:
            what, _, repair = str(error).partition("; ")
            yield Finding(name, None, what, repair)
            continue
        detail = f"{_dotted(engine.version) or 'unknown version'} at {engine.path}"
        if name == "etcd" and RESERVED_ETCD[0] <= engine.version <= RESERVED_ETCD[1]:
            detail += "; good for the course, but 3.5.0 to 3.5.2 may lose data under heavy load"
            yield Finding(
                name,
                ok=None,
                detail=detail,
                repair="for other work put etcd 3.5.3 or later on PATH",
            )
        else:
            yield Finding(name, ok=True, detail=detail)
    for variable in ENGINE_VARIABLES:
        if os.environ.get(variable):
            detail = f"{variable} is set: the engine it names is used, none is started"
            yield Finding(
                variable, ok=None, detail=detail, repair=f"unset {variable} to use the embedded one"
            )


CHECKS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _python,
    _packages,
    _stubs,
    _ports,
    _proxies,
    _folders,
    _engines,
)
