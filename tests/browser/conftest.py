from __future__ import annotations

from typing import TYPE_CHECKING

import nbformat
import pytest

from tests.browser.driver import browser, checkout, chromium, jupyterlab, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.browser.driver import Notebook, Server

HUNG = (
    """\
import asyncio
import grpc
from labsvc import Lab
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

class Hung(user_pb2_grpc.UserServiceServicer):
    async def GetUser(self, request, context):
        await asyncio.Event().wait()

lab = Lab()
users = lab.serve_grpc(Hung())
stub = user_pb2_grpc.UserServiceStub(grpc.insecure_channel(users.target))""",
    """\
print("calling")
stub.GetUser(user_pb2.GetUserRequest(user_id="u-1"))""",
    """\
print("waiting")
await asyncio.Event().wait()""",
    """print(6 * 7)""",
)


@pytest.fixture(scope="session")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a checkout of the course that a test may change."""
    return checkout(tmp_path_factory.mktemp("course") / "checkout")


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a learner's data folder; the copy of the course will lie in it."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def lab(course: Path, data: Path) -> Iterator[Server]:
    """Run JupyterLab as `make lab` does."""
    if chromium() is None:
        pytest.skip("no Chromium or Chrome on PATH; `apt-get install chromium` brings one")
    with jupyterlab(course, data) as running:
        yield running


@pytest.fixture(scope="session")
def chrome(lab: Server) -> Iterator[Browser]:
    """Run Chromium."""
    with browser() as running:
        yield running


@pytest.fixture(scope="session")
def notebook(chrome: Browser, lab: Server) -> Notebook:
    """Open what `make lab` opens, notebook 00, and run all of it."""
    book = opened(chrome, lab.start)
    book.run_all()
    return book


@pytest.fixture(scope="session")
def hung(chrome: Browser, lab: Server, data: Path) -> Notebook:
    """Put a notebook whose cells hang into the copy, and run the first, which starts services."""
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in HUNG])
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(book, data / "course" / "hung.ipynb")
    shown = opened(chrome, lab.at("hung.ipynb", view="lab/workspaces/hung/tree"))
    shown.run(0)
    return shown
