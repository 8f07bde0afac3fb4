from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import nbformat
import pytest

from tests.browser.driver import ROOT, Notebook, browser, chromium, jupyterlab

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

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
    """Copy the notebooks, and put one beside them whose cells hang; the checkout stays as it is."""
    folder = tmp_path_factory.mktemp("course")
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    hung = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code) for code in HUNG])
    hung.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(hung, folder / "notebooks" / "hung.ipynb")
    return folder


@pytest.fixture(scope="session")
def lab_url(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run JupyterLab as `make lab` does."""
    if chromium() is None:
        pytest.skip("no Chromium or Chrome on PATH; `apt-get install chromium` brings one")
    with jupyterlab(course, tmp_path_factory.mktemp("data")) as url:
        yield url


@pytest.fixture(scope="session")
def chrome(lab_url: str) -> Iterator[Browser]:
    """Run Chromium."""
    with browser() as running:
        yield running


@pytest.fixture(scope="session")
def notebook(chrome: Browser, lab_url: str) -> Notebook:
    """Open notebook 00 and run all of it."""
    opened = Notebook(chrome.new_page(viewport={"width": 1300, "height": 1000}))
    opened.open(lab_url)
    opened.run_all()
    return opened


@pytest.fixture(scope="session")
def hung(chrome: Browser, lab_url: str) -> Notebook:
    """Open the notebook whose cells hang, and run the first, which starts the services."""
    opened = Notebook(chrome.new_page(viewport={"width": 1300, "height": 1000}))
    opened.open(
        lab_url.replace("/lab/tree/", "/lab/workspaces/hung/tree/").replace("00_start_here", "hung")
    )
    opened.run(0)
    return opened
