"""The promises of the runtime, kept in real Jupyter kernels."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from jupyter_client.manager import KernelManager
from jupyter_core.utils import ensure_event_loop

from labsvc.engines import find_etcd, find_rclone
from tests.needs import need
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kernels are interrupted by SIGINT"),
    pytest.mark.xdist_group("kernel"),
]

ROOT = Path(__file__).parents[1]

PRELUDE = """
import asyncio, sys, labsvc, grpc
from labsvc import Lab, LabError
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest as Ask, HealthCheckResponse as Answer

class Shop(health_pb2_grpc.HealthServicer):
    async def Check(self, request, context):
        if request.service == "slow":
            await asyncio.sleep(60)
        if request.service == "raise":
            raise ValueError("a handler's mistake")
        if request.service == "die":
            sys.exit(3)
        return Answer(status=1)

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})

def call(service, what="", timeout=10):
    with grpc.insecure_channel(service.target) as channel:
        try:
            return health_pb2_grpc.HealthStub(channel).Check(Ask(service=what), timeout=timeout)
        except grpc.RpcError as error:
            return error.code().name

def answers(service):
    return call(service) == Answer(status=1)
"""


class Kernel:
    """A real ipykernel and a client that runs cells in it."""

    def __init__(self) -> None:
        self.sockets = TemporaryDirectory()  # over TCP another test may take the kernel's ports
        ip = f"{self.sockets.name}/kernel"
        self.manager = KernelManager(kernel_name="python3", transport="ipc", ip=ip)
        env = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
        self.manager.start_kernel(cwd=str(ROOT), env=env)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(60)
        self.run(PRELUDE)

    @property
    def pid(self) -> int:
        """The kernel's process id."""
        provisioner: Any = self.manager.provisioner
        return int(provisioner.pid)

    def run(self, code: str, timeout: float = 60) -> str:
        """Run a cell and return what a reader would see: output, then the error."""
        seen: list[str] = []

        def keep(message: dict[str, dict[str, str]]) -> None:
            content = message["content"]
            if "text" in content:
                seen.append(content["text"])
            if "ename" in content:
                seen.append(f"{content['ename']}: {content['evalue']}")

        self.client.execute_interactive(code, timeout=timeout, output_hook=keep)
        return "".join(seen).strip()

    def run_and_interrupt(self, code: str) -> tuple[str, float]:
        """Run a cell, press stop when it says "go"; return its output and seconds to the end."""
        seen: list[str] = []
        pressed: list[float] = []

        def keep(message: dict[str, dict[str, str]]) -> None:
            content = message["content"]
            seen.append(content.get("text", "") + content.get("ename", ""))
            if "go" in content.get("text", "") and not pressed:
                threading.Timer(0.3, press).start()

        def press() -> None:
            pressed.append(time.monotonic())
            os.killpg(os.getpgid(self.pid), signal.SIGINT)  # as Jupyter does

        self.client.execute_interactive(code, timeout=50, output_hook=keep)
        return "".join(seen), time.monotonic() - pressed[0]

    def end(self) -> None:
        """Kill the kernel."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.sockets.cleanup()


@pytest.fixture(scope="module", autouse=True)
def close_the_clients_loop() -> Iterator[None]:
    """Close the event loop that jupyter_client leaves open."""
    yield
    ensure_event_loop().close()


@pytest.fixture(scope="module")
def shared() -> Iterator[Kernel]:
    """Start one kernel for all tests that leave it in order."""
    kernel = Kernel()
    yield kernel
    kernel.end()


@pytest.fixture
def kernel(shared: Kernel) -> Kernel:
    """Give the shared kernel, with a new lab in it."""
    assert shared.run("lab = Lab(); shop = lab.serve_grpc(Shop(), name='shop')") == ""
    return shared


@pytest.fixture
def fresh() -> Iterator[Kernel]:
    """Start a kernel that the test may kill."""
    kernel = Kernel()
    yield kernel
    kernel.end()


def eventually(true: Callable[[], bool], seconds: float) -> bool:
    """Wait until a condition holds, `seconds` at most."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def listening(port: int) -> bool:
    """Say whether something accepts connections on a port."""
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def family(pid: int) -> list[psutil.Process]:
    """List the descendants of a process."""
    return psutil.Process(pid).children(recursive=True)


def test_cell_run_twice(kernel: Kernel) -> None:
    """A serving cell run again replaces its service on the same port."""
    cell = "shop = lab.serve_grpc(Shop(), name='shop'); print(shop.target, answers(shop))"
    first = kernel.run(cell)
    assert first.endswith("True")
    assert kernel.run(cell) == first
    assert kernel.run("print(repr(lab).count('GrpcService'))") == "1"


def test_whole_notebook_run_twice(kernel: Kernel) -> None:
    """Run All twice in one kernel works, and leaves one lab and one thread."""
    cells = [
        "lab = Lab()",
        "shop = lab.serve_grpc(Shop()); web = lab.serve_http(app)",
        "print(answers(shop))",
    ]
    for _ in range(2):
        assert [kernel.run(cell) for cell in cells] == ["", "", "True"]
    count = "import threading; print([t.name for t in threading.enumerate()].count('labsvc-loop'))"
    assert kernel.run(count) == "1"


def test_cells_out_of_order(kernel: Kernel) -> None:
    """After the stop cell, an earlier cell says what to do, and works once that is done."""
    assert kernel.run("lab.stop(); lab.stop()") == ""
    error = kernel.run("shop = lab.serve_grpc(Shop(), name='shop')")
    assert "LabError" in error
    assert "lab = Lab()" in error
    kernel.run("lab = Lab()")
    assert kernel.run("shop = lab.serve_grpc(Shop(), name='shop'); print(answers(shop))") == "True"


def test_second_lab_stops_the_first(kernel: Kernel) -> None:
    """A second Lab() ends what the first one ran."""
    said = kernel.run(
        "old, lab = shop, Lab()\nprint(old.running, call(old), Lab.current() is lab, repr(lab))",
    )
    assert said == "False UNAVAILABLE True <Lab with nothing running>"


@pytest.mark.parametrize(
    "cell",
    [
        "print('go', flush=True); call(shop, 'slow', timeout=None)",
        "async def slow(): await asyncio.sleep(60)\nprint('go', flush=True); lab.loop.run(slow())",
    ],
    ids=["sync stub without timeout", "Loop.run"],
)
def test_stop_button_in_a_blocking_call(kernel: Kernel, cell: str) -> None:
    """The stop button ends a blocked cell, and the services go on."""
    said, seconds = kernel.run_and_interrupt(cell)
    assert "KeyboardInterrupt" in said
    assert seconds < 5
    assert kernel.run("print(answers(shop))") == "True"


@pytest.mark.parametrize(
    "cell",
    [
        "print('go', flush=True); await asyncio.sleep(60)",
        """
        async with grpc.aio.insecure_channel(shop.target) as channel:
            print('go', flush=True)
            await health_pb2_grpc.HealthStub(channel).Check(Ask(service='slow'))
        """,
    ],
    ids=["sleep", "aio stub"],
)
def test_stop_button_in_an_await(kernel: Kernel, cell: str) -> None:
    """The stop button ends a parked top-level await, and the kernel goes on."""
    said, seconds = kernel.run_and_interrupt(cell)
    assert "Error" in said or "Interrupt" in said
    assert seconds < 5
    assert kernel.run("await asyncio.sleep(0); print(answers(shop))") == "True"


def test_stop_button_after_the_lab_is_stopped(kernel: Kernel) -> None:
    """The kernel's wake-up descriptor is given back by lab.stop()."""
    look = "import signal; fd = signal.set_wakeup_fd(-1); signal.set_wakeup_fd(fd); print(fd)"
    assert kernel.run(look) != "-1"
    kernel.run("lab.stop()")
    assert kernel.run(look) == "-1"


def test_loop_thread_dies(kernel: Kernel) -> None:
    """A handler that calls sys.exit ends the loop: errors at once, and a new lab works."""
    before = time.monotonic()
    assert kernel.run("print(call(shop, 'die', timeout=None))") == "UNAVAILABLE"
    error = kernel.run("lab.serve_http(app)")
    assert "LoopDeadError" in error
    assert "lab = Lab()" in error
    assert kernel.run("print(call(shop))") == "UNAVAILABLE"
    assert kernel.run("lab.stop(); print(Lab.current())") == "None"
    assert time.monotonic() - before < 30
    assert kernel.run("lab = Lab(); shop = lab.serve_grpc(Shop()); print(answers(shop))") == "True"


def test_services_print_nothing(kernel: Kernel) -> None:
    """A failing handler leaves its traceback in the log, and no line in a cell."""
    assert kernel.run("print(call(shop, 'raise'))") == "UNKNOWN"
    assert kernel.run("await asyncio.sleep(0.2)") == ""
    found = "print(any('handler' in line for line in shop.log), shop.stats.codes)"
    assert kernel.run(found) == "True {'UNKNOWN': 1}"


def test_async_and_sync_stubs_together(kernel: Kernel) -> None:
    """Channels on the kernel's loop and servers on the lab's loop do not disturb each other."""
    cell = (
        "async with grpc.aio.insecure_channel(shop.target) as channel:\n"
        "    stub = health_pb2_grpc.HealthStub(channel)\n"
        "    replies = [await stub.Check(Ask(), timeout=10) for _ in range(50)]\n"
        "print(len(replies), answers(shop))"
    )
    assert kernel.run(cell) == "50 True"
    assert kernel.run("print(shop.stats.calls)") == "51"


def test_two_kernels_at_once(kernel: Kernel, fresh: Kernel) -> None:
    """Two kernels get different ports, and one survives the other's death."""
    fresh.run("lab = Lab(); shop = lab.serve_grpc(Shop(), name='shop')")
    mine, theirs = kernel.run("print(shop.target)"), fresh.run("print(shop.target)")
    assert mine != theirs
    assert fresh.run("print(answers(shop))") == "True"
    fresh.manager.shutdown_kernel(now=True)
    assert kernel.run("print(answers(shop))") == "True"


def test_restart(fresh: Kernel) -> None:
    """A restarted kernel has left its ports, and serves again."""
    port = int(fresh.run("lab = Lab(); s = lab.serve_grpc(Shop()); print(s.target[10:])"))
    assert listening(port)
    fresh.manager.restart_kernel(now=False)
    fresh.client.wait_for_ready(60)
    assert eventually(lambda: not listening(port), patience(3))
    fresh.run(PRELUDE)
    assert fresh.run("lab = Lab(); s = lab.serve_grpc(Shop()); print(answers(s))") == "True"


def test_sigkill_leaves_nothing(fresh: Kernel) -> None:
    """Three seconds after SIGKILL no process, port or temporary folder is left."""
    need(find_etcd, find_rclone)
    cell = (
        "lab = Lab()\n"
        "hosts = [lab.serve_grpc(Shop()), lab.serve_http(app), lab.serve_etcd(nodes=3),"
        " lab.serve_objects()]\n"
        "print(lab._folder.path, *(h.target[10:] for h in hosts))"
    )
    folder, *ports = fresh.run(cell).split()
    assert Path(folder).is_dir()
    assert all(listening(int(port)) for port in ports)
    children = family(fresh.pid)
    assert {"etcd", "rclone"} <= {child.name() for child in children}
    os.kill(fresh.pid, signal.SIGKILL)

    def nothing_is_left() -> bool:
        return not (
            any(child.is_running() for child in children)
            or any(listening(int(port)) for port in ports)
            or Path(folder).exists()
        )

    assert eventually(nothing_is_left, patience(3))
