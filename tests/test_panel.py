"""The live panel: what it shows, when it ends, and that it prints nothing."""

from __future__ import annotations

import threading
import time
from queue import Empty
from typing import TYPE_CHECKING, Any

import grpc
import pika
import pytest
from jupyter_client.manager import start_new_kernel

import labsvc.panel
from labsvc import Lab, LabError, until
from labsvc.lab_map import connections
from labsvc.panel import TEXT, Panel, Reading, html, read
from labsvc.shop.services import AioUserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
    jobs = lab.serve_queue(name="jobs", embedded=True)
    with pika.BlockingConnection(pika.URLParameters(jobs.url)) as connection:
        channel = connection.channel()
        channel.queue_declare("mails", durable=True)
        channel.confirm_delivery()
        channel.basic_publish("", "mails", b"hello")
    jobs.stop()
    with grpc.insecure_channel(network.target) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        stub.GetUser(user_pb2.GetUserRequest(user_id="u-1"), timeout=5)
        services = {service.name: service for service in (users, network, jobs)}
        readings = {each.name: each for each in read(services, connections())}
    assert readings["users"] == Reading("users", "gRPC", 0, 1, 1, "runs")
    assert readings["network"] == Reading("network", "proxy", None, None, 1, "runs; delay=0.001")
    assert readings["jobs"].now.startswith("stopped")


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


class Page:
    """Stands for a widget: keeps what it was to show, and can be gone."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.gone = False

    @property
    def value(self) -> str:
        """What it shows."""
        return self.shown[-1]

    @value.setter
    def value(self, table: str) -> None:
        self.shown.append(table)
        if self.gone:
            msg = "the page is gone"
            raise OSError(msg)


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> Page:
    """Give panels a page without a kernel."""
    page = Page()
    monkeypatch.setattr(labsvc.panel, "_widget", lambda: page)
    monkeypatch.setattr(labsvc.panel, "REFRESH_SECONDS", 0.01)
    return page


def watching() -> list[threading.Thread]:
    """Return the threads that refresh a panel."""
    return [thread for thread in threading.enumerate() if thread.name == "labsvc-watch"]


def eventually(what: Callable[[], bool]) -> None:
    """Wait until it is so."""
    until(what, patience(10))


def test_it_refreshes_itself_until_it_is_closed(lab: Lab, page: Page) -> None:
    """Or replaced; one thread does it. It shows what came after it was made."""
    panel = lab.watch()
    lab.serve_grpc(AioUserService(Store.seeded()), name="<i>users")
    eventually(lambda: "&lt;i&gt;users" in page.value)
    second = lab.watch()
    eventually(lambda: len(watching()) == 1)
    assert panel is not second
    second.close()
    eventually(lambda: not watching())


def test_a_stopped_lab_refreshes_nothing(page: Page) -> None:
    """It has ended the panel, and a new one shows how it is, once."""
    lab = Lab()
    lab.serve_grpc(AioUserService(Store.seeded()), name="users")
    lab.watch()
    lab.stop()
    eventually(lambda: not watching())
    lab.watch()
    assert ">stopped<" in page.value
    eventually(lambda: not watching())


def test_an_error_is_a_sentence_in_the_panel(page: Page, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is printed, and it goes on; also when the page is gone."""
    answers: list[str] = ["no <answer>"]

    def services() -> dict[str, Any]:
        if answers:
            raise LabError(answers[0])
        return {}

    panel = Panel(services)
    assert page.value == "<p>The panel could not be refreshed: no &lt;answer&gt;</p>"
    answers.clear()
    eventually(lambda: "nothing" in page.value)
    page.gone = True
    seen = len(page.shown)
    eventually(lambda: len(page.shown) > seen + 2)
    panel.close()
    eventually(lambda: not watching())
    assert capfd.readouterr() == ("", "")


def test_connections_are_counted_once_a_second(
    lab: Lab, page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often the rest is read: to count them takes longest."""
    counted: list[float] = []

    def count() -> dict[str, int]:
        counted.append(time.monotonic())
        return {}

    monkeypatch.setattr(labsvc.panel, "connections", count)
    lab.watch()
    eventually(lambda: len(counted) == 3)
    assert len(page.shown) > len(counted)
    assert counted[2] - counted[0] > 1.5  # two seconds, less what a busy machine delays


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
