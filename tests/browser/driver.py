"""JupyterLab as `make lab` starts it, and a Chromium that looks at it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from playwright.sync_api import sync_playwright

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Locator, Page

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60_000  # milliseconds; the waits end as soon as their condition holds
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
FAILED = '.jp-Notebook [data-mime-type="application/vnd.jupyter.error"]'
WATCHED = """() => {
    window.toasts = 0;
    new MutationObserver(changes => changes.forEach(change => change.addedNodes.forEach(node => {
        if (node.querySelector && (node.matches('.Toastify__toast, .jp-Dialog')
            || node.querySelector('.Toastify__toast, .jp-Dialog'))) window.toasts += 1;
    }))).observe(document, {childList: true, subtree: true});
}"""


def chromium() -> str | None:
    """Return the path of an installed Chromium or Chrome, None without one."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next(filter(None, map(shutil.which, names)), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """Run a headless Chromium."""
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium(), args=list(FLAGS))
        try:
            yield running
        finally:
            running.close()


def checkout(folder: Path) -> Path:
    """Make a checkout of the course with notebooks of its own to change; the rest is linked."""
    folder.mkdir()
    shutil.copytree(ROOT / "notebooks", folder / "notebooks")
    for name in ("labsvc", "data", "protos"):
        (folder / name).symlink_to(ROOT / name)
    return folder


@dataclass(frozen=True)
class Server:
    """A running JupyterLab: its address, and the token that opens it."""

    url: str
    token: str
    process: subprocess.Popen[bytes]

    @property
    def start(self) -> str:
        """The address that `labsvc lab` opens in a browser."""
        return f"{self.url}?token={self.token}"

    def at(self, path: str, view: str = "lab/tree") -> str:
        """Return the address of a notebook by its path in the served folder."""
        return f"{self.url}{view}/{quote(path)}?token={self.token}"


@contextmanager
def jupyterlab(course: Path, data: Path, *arguments: str) -> Iterator[Server]:
    """Run `labsvc lab` in the checkout `course` with `data` for all it keeps."""
    env = environment(course, data)
    data.mkdir(parents=True, exist_ok=True)
    with (data / "jupyterlab.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "labsvc", "lab", "--no-browser", *arguments],
            cwd=course,
            env=env,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            yield listening(server, data)
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(server.pid, signal.SIGKILL)
                server.wait()


def command(course: Path, data: Path, *arguments: str) -> str:
    """Run a command of labsvc in a terminal at the checkout; return what it prints."""
    return subprocess.run(
        [sys.executable, "-m", "labsvc", *arguments],
        cwd=course,
        env=environment(course, data),
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def environment(course: Path, data: Path) -> dict[str, str]:
    """Return the environment of a learner who has the package of this checkout."""
    named = {key: value for key, value in os.environ.items() if "JUPYTER" not in key}
    paths = [str(course), os.environ.get("PYTHONPATH", "")]
    env = {
        **named,
        "LABSVC_DATA_DIR": str(data),
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
    }
    env.pop("PYTEST_CURRENT_TEST", None)  # ipykernel captures less under it
    return env


def listening(server: subprocess.Popen[bytes], data: Path) -> Server:
    """Wait until `server` listens and has told where.

    Its file is there before there is anything in it, so that only a whole one is taken.
    """
    note = data / "jupyter" / "data" / "runtime" / f"jpserver-{server.pid}.json"
    deadline = time.monotonic() + 60
    while True:
        with suppress(FileNotFoundError, json.JSONDecodeError):
            told = json.loads(note.read_text(encoding="utf-8"))
            return Server(told["url"], told["token"], server)
        if server.poll() is not None or time.monotonic() > deadline:
            msg = "JupyterLab did not start:\n" + (data / "jupyterlab.log").read_text()
            raise RuntimeError(msg)
        time.sleep(0.05)


class Notebook:
    """A notebook open in a page, and what the page asked for and complained of meanwhile."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.set_default_timeout(PATIENCE)
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("websocket", lambda socket: self.requests.append(socket.url))
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.add_init_script(f"({WATCHED})()")

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.complaints.append(message.text)

    def open(self, url: str) -> None:
        """Open the notebook at `url` and wait until its kernel is idle."""
        self.page.goto(url)
        self.page.wait_for_selector(".jp-Notebook .jp-Cell")
        # The notebook's own indicator says idle before there is a kernel; the status bar waits.
        self.page.wait_for_selector('.jp-StatusBar-Left:has-text("| Idle")')

    def menu(self, name: str, command: str) -> None:
        """Choose the entry of `command` from the menu `name`."""
        self.page.click(f'.lm-MenuBar-itemLabel:text-is("{name}")')
        self.page.click(f'.lm-Menu li[data-command="{command}"]')

    def run_all(self) -> None:
        """Run every cell and wait until none is waiting or running."""
        self.menu("Run", "runmenu:run-all")
        self.settle()

    def restart_and_run_all(self) -> None:
        """Clear every output, start a new kernel, and run every cell in it."""
        self.menu("Edit", "editmenu:clear-all")
        self.menu("Run", "runmenu:restart-and-run-all")
        self.page.click(".jp-Dialog .jp-mod-accept")
        self.settle()

    def settle(self) -> None:
        """Wait until every code cell has run: a number in each prompt, no star.

        Raises AssertionError with the traceback when a cell failed.
        """
        self.page.wait_for_function(
            """failed => document.querySelector(failed)
                || [...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')]
                .every(prompt => /\\[\\d+\\]/.test(prompt.textContent))""",
            arg=FAILED,
        )
        assert self.page.locator(FAILED).all_inner_texts() == []

    def cell(self, index: int) -> Locator:
        """Return the cell at `index`, as the file counts them."""
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index)

    def write(self, index: int, source: str) -> None:
        """Replace what stands in a code cell, by keyboard."""
        self.cell(index).locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.insert_text(source)

    def run(self, index: int) -> None:
        """Run one cell and wait for it."""
        self.start(index)
        self.finish(index)

    def start(self, index: int) -> None:
        """Run one cell and wait until it is running or done."""
        cell = self.cell(index)
        before = cell.locator(".jp-InputArea-prompt").inner_text()
        cell.locator(".cm-content").click()
        self.page.keyboard.press("ControlOrMeta+Enter")
        self.page.wait_for_function(
            "([cell, before]) => cell.textContent !== before",
            arg=[cell.locator(".jp-InputArea-prompt").element_handle(), before],
        )

    def finish(self, index: int, patience: float = PATIENCE) -> None:
        """Wait until a cell has run, at most `patience` milliseconds."""
        self.page.wait_for_function(
            "cell => /\\[\\d+\\]/.test(cell.textContent)",
            arg=self.cell(index).locator(".jp-InputArea-prompt").element_handle(),
            timeout=patience,
        )

    def output(self, index: int) -> str:
        """Return the text below a cell."""
        return "\n".join(self.cell(index).locator(".jp-OutputArea-output").all_inner_texts())

    def away(self) -> list[str]:
        """Return the requests that left this machine."""
        own = ("127.0.0.1", None)
        return [url for url in self.requests if urlsplit(url).hostname not in own]

    def popups(self) -> int:
        """Return how many notifications and dialogs came up since the page was opened."""
        return int(self.page.evaluate("window.toasts"))


def opened(running: Browser, address: str) -> Notebook:
    """Open a notebook in a page of its own."""
    notebook = Notebook(running.new_page(viewport={"width": 1300, "height": 1000}))
    notebook.open(address)
    return notebook
