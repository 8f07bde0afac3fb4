from __future__ import annotations

import socket
import threading

import pytest
from grpc_health.v1.health import HealthServicer  # type: ignore[import-untyped]

from labsvc.h2_pings import send_pings
from labsvc.lab import Lab

PERMIT = ("grpc.keepalive_permit_without_calls", 1)
QUICK = ("grpc.http2.min_ping_interval_without_data_ms", 10)
MISSPELT = ("grpc.http2.min_recv_ping_interval_without_data_ms", 10)


@pytest.mark.parametrize(
    ("options", "goaway"),
    [
        ([], "too_many_pings"),
        ([QUICK], "too_many_pings"),
        ([MISSPELT, PERMIT], "too_many_pings"),
        ([QUICK, PERMIT], None),
    ],
    ids=["default", "quick alone", "misspelt", "quick and permitted"],
)
def test_server_options(options: list[tuple[str, int]], goaway: str | None) -> None:
    """A server bears eager pings on an idle connection only with both keys set."""
    with Lab() as lab:
        service = lab.serve_grpc(HealthServicer(), name="pinged", workers=1, options=options)
        pings = send_pings(service.target, count=10, gap=0.05)
    assert pings.goaway == goaway
    assert (pings.answered == 10) == (goaway is None)


def test_closed_without_a_word() -> None:
    """A peer that hangs up without GOAWAY is reported as such."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def hang_up() -> None:
            peer, _ = listener.accept()
            peer.recv(65536)
            peer.shutdown(socket.SHUT_WR)
            while peer.recv(65536):
                pass
            peer.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        port = listener.getsockname()[1]
        assert send_pings(f"127.0.0.1:{port}", count=1, gap=0.01).goaway == "closed without GOAWAY"
        thread.join()
