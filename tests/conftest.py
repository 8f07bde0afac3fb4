"""What every test starts from: no proxy, no learner's data."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

import labsvc  # noqa: F401  # sets gRPC's environment before a test imports grpc

if TYPE_CHECKING:
    from pathlib import Path

# A test run in the background of a shell inherits an ignored SIGINT, and so would all it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROXIES = ("http_proxy", "https_proxy", "all_proxy", "grpc_proxy", "no_proxy", "no_grpc_proxy")
ENGINES = ("LAB_AMQP_URL", "ETCD_ENDPOINTS", "LAB_S3_ENDPOINT")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Strip proxy and engine variables, and keep progress in a temporary folder."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ENGINES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LABSVC_DATA_DIR", str(tmp_path / "labsvc-data"))
