"""Measure what the project promises, both sides in one run.

`make bench` prints a table and keeps it in data/bench.json; `make bench ARGS=notebooks` takes only
those rows anew. Variants that are compared take turns in one process. Nothing here is a test: times
belong to the machine they were taken on.
"""

from __future__ import annotations

import argparse
import json
import platform
import re
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastapi
import grpc
import httpx2
import psutil
import uvicorn
from jupyter_client.manager import start_new_kernel

from labsvc import Lab, closed_loop, compare
from labsvc.rpc import chain
from labsvc.rpc.balance import Balancer
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from tests.bench import (
    copy_rows,
    etcd_rows,
    http_rows,
    media_rows,
    queue_rows,
    saga_rows,
    telemetry_rows,
    timeline_rows,
)
from tests.bench.bench_row import Row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "data" / "bench.json"
CALLS = 3000
MEBIBYTE = 2**20
REPLY = user_pb2.GetUserResponse(user=user_pb2.User(user_id="u-1", name="n" * 16, email="e" * 24))


class Echo(user_pb2_grpc.UserServiceServicer):
    """The same message for every call: what is left is the cost of the way."""

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Answer at once."""
        return REPLY


def in_fresh_python(code: str, repeat: int) -> list[float]:
    """Run `code` in new interpreters and collect the number that each prints last."""
    command = [sys.executable, "-c", code]
    runs = [
        subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
        for _ in range(repeat)
    ]
    return [float(run.stdout.split()[-1]) for run in runs]


def import_cost() -> Iterator[Row]:
    """Compare `import grpc` with `import labsvc, grpc`, a new process for each try."""
    timed = (
        "import time; t = time.perf_counter(); import {}; print((time.perf_counter() - t) * 1e3)"
    )
    alone, both = [], []
    for _ in range(11):
        alone += in_fresh_python(timed.format("grpc"), 1)
        both += in_fresh_python(timed.format("labsvc, grpc"), 1)
    base, full = statistics.median(alone), statistics.median(both)
    detail = f"{base:.0f} ms alone, {full:.0f} ms with labsvc; medians of 11 processes each"
    yield Row("import labsvc, on top of import grpc", full - base, 60, "ms", detail)


LAB_START = """
import time
from labsvc import Lab
import fastapi, uvicorn, grpc, aio_pika
import labsvc.hosts.http, labsvc.hosts.queue, labsvc.amqp
from labsvc.shop.api import create_app
from labsvc.shop.orders import Orders
from labsvc.shop.services import AioUserService
from labsvc.shop.store import Store
store = Store.seeded()
app = create_app(Orders(store))
start = time.perf_counter()
lab = Lab()
lab.serve_grpc(AioUserService(store))
lab.serve_http(app)
lab.serve_queue()
took = time.perf_counter() - start
lab.stop()
print(took * 1e3)
"""


def lab_start() -> Iterator[Row]:
    """Start gRPC, HTTP and queue in new processes, imports done."""
    times = in_fresh_python(LAB_START, repeat=9)
    detail = f"median of {len(times)} processes, {min(times):.0f} to {max(times):.0f} ms"
    yield Row("Lab with gRPC, HTTP and queue ready", statistics.median(times), 250, "ms", detail)


def grpc_caller(target: str, *interceptors: Any) -> Callable[[], object]:
    """Return a function that makes one unary call over a channel of its own."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    channel = grpc.insecure_channel(target, options=options)
    stub = user_pb2_grpc.UserServiceStub(grpc.intercept_channel(channel, *interceptors))
    request = user_pb2.GetUserRequest(user_id="u-1")
    return lambda: stub.GetUser(request, timeout=5)


class EchoInThreads(user_pb2_grpc.UserServiceServicer):
    """The same for grpc.server."""

    def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Answer at once."""
        return REPLY


async def aio_echo(*interceptors: Any) -> tuple[grpc.aio.Server, str]:
    """Start the echo with these interceptors, and nothing else of ours around it."""
    server = grpc.aio.server(interceptors=list(interceptors))
    user_pb2_grpc.add_UserServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


def unary_grpc() -> Iterator[Row]:
    """Put the lab's server interceptors beside a bare grpc.aio echo of the same message."""
    with Lab() as lab:
        server, bare = lab.loop.run(aio_echo())
        hosted = lab.serve_grpc(Echo())
        variants = {"lab": grpc_caller(hosted.target), "bare": grpc_caller(bare)}
        measured = compare(variants, calls=CALLS, rounds=30)
        lab.loop.run(server.stop(None))
    yield ratio_row("unary call, all server interceptors over bare", measured, 1.25)


def chain_aio() -> Iterator[Row]:
    """Put the full client and server chain beside a bare call, on grpc.aio."""
    with Lab() as lab:
        server, bare = lab.loop.run(aio_echo())
        chained, target = lab.loop.run(aio_echo(*chain.aio_server(cap=5, total=100)))
        measured = compare(
            {"lab": grpc_caller(target, *chain.client(default=5)), "bare": grpc_caller(bare)},
            calls=2 * CALLS, rounds=60,
        )  # fmt: skip
        lab.loop.run(server.stop(None))
        lab.loop.run(chained.stop(None))
    yield ratio_row("full client and server chain over bare, aio", measured, 1.25)


def chain_threads() -> Iterator[Row]:
    """Put the full client and server chain beside a bare call, on grpc.server."""
    with ExitStack() as running:

        def serve(*interceptors: Any) -> str:
            pool = running.enter_context(ThreadPoolExecutor(4))
            server = grpc.server(pool, interceptors=list(interceptors))
            user_pb2_grpc.add_UserServiceServicer_to_server(EchoInThreads(), server)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            running.callback(lambda: server.stop(None).wait())
            return f"127.0.0.1:{port}"

        target = serve(*chain.server(cap=5, total=100))
        measured = compare(
            {"lab": grpc_caller(target, *chain.client(default=5)), "bare": grpc_caller(serve())},
            calls=2 * CALLS, rounds=60,
        )  # fmt: skip
    yield ratio_row("full client and server chain over bare, threads", measured, 1.25)


def echo_app() -> fastapi.FastAPI:
    """Return a FastAPI application with one route that answers at once."""
    app = fastapi.FastAPI()

    @app.get("/user")
    async def user() -> dict[str, str]:
        return {"user_id": "u-1", "name": "n" * 16, "email": "e" * 24}

    return app


async def bare_http() -> tuple[uvicorn.Server, Any, str]:
    """Start the echo on uvicorn without anything of ours around it."""
    import asyncio

    config = uvicorn.Config(echo_app(), host="127.0.0.1", port=0, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve())  # serve() would take the signals
    while not server.started:  # noqa: ASYNC110  uvicorn offers no event
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    return server, task, f"http://127.0.0.1:{port}"


def http_caller(url: str) -> Callable[[], object]:
    """Return a function that makes one request over a kept client."""
    client = httpx2.Client(base_url=url, trust_env=False)
    return lambda: client.get("/user")


def balanced_grpc() -> Iterator[Row]:
    """Put a balancer over one backend beside a channel to it."""
    with Lab() as lab, Balancer(grpc.insecure_channel) as balancer:
        server, bare = lab.loop.run(aio_echo())
        balancer.update([bare])
        get_user = user_pb2_grpc.UserServiceStub(balancer).GetUser
        request = user_pb2.GetUserRequest(user_id="u-1")
        variants = {"lab": lambda: get_user(request, timeout=5), "bare": grpc_caller(bare)}
        measured = compare(variants, calls=2 * CALLS, rounds=60)
        lab.loop.run(server.stop(None))
    yield ratio_row("unary call, balancer over a bare stub", measured, 1.1)


def unary_http() -> Iterator[Row]:
    """Put an application that the lab hosts beside the same one on bare uvicorn."""
    with Lab() as lab:
        server, task, bare = lab.loop.run(bare_http())
        hosted = lab.serve_http(echo_app())
        variants = {"lab": http_caller(hosted.url), "bare": http_caller(bare)}
        measured = compare(variants, calls=CALLS, rounds=30)
        server.should_exit = True
        lab.loop.run(_join(task))
    yield ratio_row("the same over HTTP, hosted over bare", measured, 1.15)


async def _join(task: Any) -> None:
    await task


def ratio_row(what: str, measured: Any, goal: float) -> Row:
    """Return the row of a comparison of "lab" with "bare"."""
    ratio = measured.ratio("lab", "bare")
    q = measured.quantiles
    detail = (
        f"p50 {q['lab'].p50 * 1e6:.0f} us against {q['bare'].p50 * 1e6:.0f} us,"
        f" 95 % interval {ratio.low:.2f} to {ratio.high:.2f}, {q['lab'].count} calls each"
    )
    return Row(what, ratio.value, goal, "x", detail)


def measuring() -> Iterator[Row]:
    """Time an empty function with and without the recorder around it."""

    def noop() -> None:
        return None

    calls = 100_000

    def bare() -> float:
        start = time.perf_counter()
        for _ in range(calls):
            noop()
        return time.perf_counter() - start

    def recorded() -> float:
        start = time.perf_counter()
        closed_loop(noop, calls=calls, warmup=0)
        return time.perf_counter() - start

    costs = [(recorded() - bare()) / calls * 1e6 for _ in range(7)]
    detail = f"median of 7 runs of {calls} calls, histogram included"
    yield Row("measuring itself, per call", statistics.median(costs), 2, "us", detail)


def proxy_latency() -> Iterator[Row]:
    """Put a call through the proxy beside a direct one."""
    with Lab() as lab:
        hosted = lab.serve_grpc(Echo())
        variants = {
            "proxied": grpc_caller(lab.proxy(hosted).target),
            "direct": grpc_caller(hosted.target),
        }
        q = compare(variants, calls=CALLS, rounds=30).quantiles
    added = (q["proxied"].p50 - q["direct"].p50) * 1e3
    detail = f"p50 {q['proxied'].p50 * 1e3:.2f} ms against {q['direct'].p50 * 1e3:.2f} ms direct"
    yield Row("proxy, p50 added to a unary call", added, 0.2, "ms", detail)


SINK = """
import socket, time
with socket.create_server(("127.0.0.1", 0)) as listener:
    print(listener.getsockname()[1], flush=True)
    peer, _ = listener.accept()
    buffer, total, start = bytearray(2**20), 0, time.perf_counter()
    while n := peer.recv_into(buffer):
        total += n
    print(total / (time.perf_counter() - start) / 1e6)
"""
SOURCE = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))) as wire:
    block = bytes(2**20)
    for _ in range(int(sys.argv[2])):
        wire.sendall(block)
"""


def bulk(mebibytes: int, through: Lab | None) -> float:
    """Send from one process to another, through a proxy if there is a lab; return MB/s."""
    sink = subprocess.Popen([sys.executable, "-c", SINK], stdout=subprocess.PIPE, text=True)
    assert sink.stdout is not None
    port = int(sink.stdout.readline())
    if through is not None:
        port = int(through.proxy(f"127.0.0.1:{port}").target.rpartition(":")[2])
    subprocess.run([sys.executable, "-c", SOURCE, str(port), str(mebibytes)], check=True)
    return float(sink.communicate()[0])


def proxy_throughput() -> Iterator[Row]:
    """Push bytes through the proxy, and past it."""
    with Lab() as lab:
        proxied, direct = [], []
        for _ in range(5):
            proxied.append(bulk(512, lab))
            direct.append(bulk(512, None))
    detail = f"median of 5 runs of 512 MiB; direct {statistics.median(direct):.0f} MB/s"
    value = statistics.median(proxied)
    yield Row("proxy, bulk throughput", value, 300, "MB/s", detail, at_least=True)


BASE = "import grpc, matplotlib.figure"
THREE = """
from labsvc import Lab
import grpc, matplotlib.figure
from labsvc.shop.api import create_app
from labsvc.shop.orders import Orders
from labsvc.shop.services import AioOrderService
from labsvc.shop.store import Store
lab, store = Lab(), Store.seeded()
lab.serve_grpc(AioOrderService(Orders(store)))
lab.serve_http(create_app(Orders(store)))
lab.serve_queue()
"""


def kernel_memory() -> Iterator[Row]:
    """Weigh a kernel with the three services up against one with the same big imports."""

    def weigh(code: str) -> float:
        manager, client = start_new_kernel()
        try:
            reply = client.execute_interactive(code, timeout=60, silent=True)
            assert reply["content"]["status"] == "ok", reply["content"]
            provisioner: Any = manager.provisioner
            return psutil.Process(provisioner.process.pid).memory_info().rss / MEBIBYTE
        finally:
            client.stop_channels()
            manager.shutdown_kernel(now=True)

    base, three = [], []
    for _ in range(3):
        base.append(weigh(BASE))
        three.append(weigh(THREE))
    with_services, without = statistics.median(three), statistics.median(base)
    detail = f"{with_services:.0f} MiB against {without:.0f} MiB, medians of 3 kernels each"
    yield Row(
        "kernel memory, three services over imports", with_services - without, 60, "MiB", detail
    )


def notebooks() -> Iterator[Row]:
    """Run each notebook under nbval, kernel start included."""
    for path in sorted((ROOT / "notebooks").rglob("*.ipynb")):
        if ".ipynb_checkpoints" in path.parts:
            continue
        command = [sys.executable, "-m", "pytest", "-q", "--nbval", str(path)]
        command += ["--nbval-sanitize-with", "tests/nbval.cfg", "--nbval-current-env"]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        took = time.perf_counter() - start
        tally = re.findall(r"\d+ (?:passed|failed)", done.stdout)
        name = str(path.relative_to(ROOT / "notebooks"))
        yield Row(f"nbval {name}", took, 20, "s", ", ".join(tally))


def whole_test_run() -> Iterator[Row]:
    """Run every check, as CI does."""
    start = time.perf_counter()
    done = subprocess.run(["make", "test"], cwd=ROOT, capture_output=True, text=True, check=False)
    took = time.perf_counter() - start
    verdict = "passed" if done.returncode == 0 else "FAILED"
    if done.returncode:
        print(done.stdout[-5000:], file=sys.stderr)
    yield Row("make test", took, 360, "s", f"{verdict}; lint, unit, engines, notebooks, browser")


PARTS: list[Callable[[], Iterator[Row]]] = [
    import_cost,
    lab_start,
    unary_grpc,
    chain_aio,
    chain_threads,
    balanced_grpc,
    unary_http,
    measuring,
    proxy_latency,
    proxy_throughput,
    *http_rows.PARTS,
    *queue_rows.PARTS,
    *etcd_rows.PARTS,
    *saga_rows.PARTS,
    *media_rows.PARTS,
    timeline_rows.timeline,
    telemetry_rows.telemetry,
    copy_rows.course_copy,
    kernel_memory,
    notebooks,
    whole_test_run,
]


def main() -> int:
    """Run every part, or those that are named, and keep their rows in the place of older ones."""
    names = {part.__name__: part for part in PARTS}
    parser = argparse.ArgumentParser(description="Measure what the package costs.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(names)}")
    chosen = parser.parse_args().parts
    rows = {}
    if chosen and RESULTS.exists():
        rows = {row["what"]: row for row in json.loads(RESULTS.read_text("utf-8"))["rows"]}
    for name in chosen or names:
        for row in names[name]():
            rows[row.what] = asdict(row) | {"met": row.met}
            mark = "met   " if row.met else "MISSED"
            bound = "at least" if row.at_least else "at most"
            print(
                f"{mark} {row.what:48} {row.value:8.2f} {row.unit:5} "
                f"({bound} {row.goal:g}) {row.detail}",
                flush=True,
            )
    kept = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {psutil.cpu_count()} cores",
        "rows": [*rows.values()],
    }
    RESULTS.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    return 0 if all(row["met"] for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
