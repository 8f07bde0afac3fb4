"""The stop button during a check, in a real kernel."""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.test_kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="kernels are interrupted by SIGINT"),
    pytest.mark.xdist_group("kernel"),
]

SENTENCE = "the check was stopped; nothing was recorded"

SPINS = """
def p99(latencies):
    print("go", flush=True)
    while True:
        pass

check("01-percentile", p99)
"""
SERVED = """
def get_user(context, stub, request):
    print("go", flush=True)
    while True:
        try:
            pass
        except Exception:
            pass

check("22-pass-on", get_user)
"""
RELAYS = """
import aio_pika

async def send_outbox(db, url, queue_name):
    async with await aio_pika.connect(url):
        print("go", flush=True)
        await asyncio.sleep(100)

check("51-outbox", send_outbox)
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """Start a kernel for the tests of this module, in which nothing is solved."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABSVC_DATA_DIR", str(tmp_path_factory.mktemp("data")))
        kernel = Kernel()
    kernel.run("from labsvc import check, progress; import threading, time")
    yield kernel
    kernel.end()


@pytest.mark.parametrize("cell", [SPINS, SERVED, RELAYS])
def test_stop_button_ends_a_check_in_one_line(kernel: Kernel, cell: str) -> None:
    """One sentence is shown, no frame of ours or of a library, and the answer is ended."""
    printed: list[str] = []
    shown: list[str] = []

    def press() -> None:
        os.killpg(os.getpgid(kernel.pid), signal.SIGINT)  # as Jupyter does

    def keep(message: dict[str, dict[str, str]]) -> None:
        content = message["content"]
        printed.append(content.get("text", ""))
        shown.extend(content.get("traceback", []))
        if "go" in content.get("text", "") and not shown:
            threading.Timer(0.2, press).start()

    kernel.client.execute_interactive(cell, timeout=50, output_hook=keep)
    assert shown == [SENTENCE]
    assert "".join(printed) == "go\n"
    left = "[t for t in threading.enumerate() if t.name == 'labsvc-check']"
    assert kernel.run(f"time.sleep(0.1); print({left})") == "[]"
    assert "0 of" in kernel.run("progress()")
