"""The live panel: what it shows, when it ends, and that it prints nothing."""

from __future__ import annotations

import threading
import time
from queue import Empty
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from jupyter_client.manager import start_new_kernel

from labsvc import Lab
from labsvc.panel import TEXT, Reading, html, read
from labsvc.shop.services import AioUserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab for each test."""
    with Lab() as running:
        yield running


def test_what_is_read(lab: Lab) -> None:
    """Calls, connections, queues and what a proxy does; each service is asked as it is."""
    users = lab.serve_grpc(AioUserService(Store.seeded()), name="users")
    network = lab.proxy(users, name="network")
    network.set(delay=0.001)
    lab.serve_queue(name="jobs", embedded=True).stop()
    with grpc.insecure_channel(network.target) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        stub.GetUser(user_pb2.GetUserRequest(user_id="u-1"), timeout=5)
        readings = {each.name: each for each in read({s.name: s for s in (users, network)})}
    assert readings["users"] == Reading("users", "gRPC", 0, 1, 1, "runs")
    assert readings["network"] == Reading("network", "proxy", None, None, 1, "delay=0.001")


def test_the_table() -> None:
    """Rates are over the time since the last reading; names are text, whatever they are."""
    now = Reading("<b>users & co", "gRPC", 3, 150, 2, "runs")
    table = html([now], [Reading("<b>users & co", "gRPC", 0, 50, 2, "runs")], seconds=0.5)
    assert "&lt;b&gt;users &amp; co" in table
    assert "<b>" not in table
    assert [cell in table for cell in (">3<", ">200<", ">2<", ">gRPC<")] == [True] * 4
    assert "nothing" in html([], [], seconds=1)
    assert ">-" not in html([now], [Reading("<b>users & co", "gRPC", 0, 500, 2, "runs")], seconds=1)


def test_without_a_notebook_it_is_a_sentence(lab: Lab) -> None:
    """No thread, no widget, no error."""
    panel: Any = lab.watch()
    assert repr(panel) == TEXT
    assert panel._repr_mimebundle_() == {"text/plain": TEXT}
    assert not [thread for thread in threading.enumerate() if thread.name == "labsvc-watch"]


PANEL = """
import threading
import grpc
from labsvc import Lab, until
from labsvc.shop.services import AioUserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

def watching():
    return sum(thread.name == "labsvc-watch" for thread in threading.enumerate())

def ask_until_the_end():
    with grpc.insecure_channel(users.target) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        while users.running:
            try:
                stub.GetUser(user_pb2.GetUserRequest(user_id="u-1"))
            except grpc.RpcError:
                return  # the lab stops

lab = Lab()
users = lab.serve_grpc(AioUserService(Store.seeded()), name="users")
asking = threading.Thread(target=ask_until_the_end, daemon=True)
asking.start()
lab.watch()
"""
AGAIN = "lab.watch(); until(lambda: watching() == 1); print(watching())"
END = "lab.stop(); until(lambda: watching() == 0); print(watching())"


def outputs(client: Any, code: str) -> list[dict[str, Any]]:
    """Run a cell, and return the content of what it put out."""
    put_out: list[dict[str, Any]] = []
    reply = client.execute_interactive(
        code,
        timeout=patience(60),
        output_hook=lambda message: (
            put_out.append(message["content"])
            if message["msg_type"] in ("execute_result", "stream", "display_data", "error")
            else None
        ),
    )
    assert reply["content"]["status"] == "ok", reply["content"]
    return put_out


def test_in_a_kernel() -> None:
    """It refreshes itself while nothing runs, prints nothing, and ends with what it watches."""
    manager, client = start_new_kernel()
    try:
        [result] = outputs(client, PANEL)
        assert result["data"]["text/plain"] == TEXT
        assert "application/vnd.jupyter.widget-view+json" in result["data"]
        assert set(result["data"]) == {"text/plain", "application/vnd.jupyter.widget-view+json"}
        updates = 0
        give_up_at = time.monotonic() + patience(20)
        while updates < 2:
            assert time.monotonic() < give_up_at
            try:
                message = client.get_iopub_msg(timeout=1)
            except Empty:
                continue
            assert message["msg_type"] != "stream", message
            updates += message["msg_type"] == "comm_msg"
        assert [each["text"] for each in outputs(client, AGAIN)] == ["1\n"]
        assert [each["text"] for each in outputs(client, END)] == ["0\n"]
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
