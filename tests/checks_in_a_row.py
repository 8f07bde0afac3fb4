"""Check the course's solutions one after the other in one kernel, and see what that leaves behind.

    python -m tests.checks_in_a_row [ROUNDS]

checks each solution seven times unless it is told otherwise, round after round. It fails if one is
not solved, if a thread, a task, a descriptor or a temporary file is left, or if the memory grows;
a single round cannot tell that.
"""

from __future__ import annotations

import ast
import asyncio
import gc
import json
import os
import statistics
import symtable
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import nbformat
import psutil
from nbclient import NotebookClient
from traitlets.config import Config

from labsvc.checks import run_check
from labsvc.checks.catalogue import notebooks
from labsvc.checks.solutions import _code, _notebook
from labsvc.lab import Lab
from labsvc.shop.services import AioUserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from labsvc.sweep import Run

ROUNDS = 7
MARGIN = 1.05
"""How much more memory may be in use at the end than after a quarter of the checks.

After a quarter, every check has run twice and every library is loaded. An allocator may keep some
more pages; a check that kept its services would add some in each round.
"""
SLOWEST = 5  # of the checks, whose times are printed
SETTLE_SECONDS = 10.0  # for threads and sockets that are about to end
ROOT = Path(__file__).parents[1]
DESCRIPTORS = Path("/proc/self/fd")

Held = dict[str, Counter[str]]


def exercises() -> list[str]:
    """Return the ids of all exercises, in the order of the course."""
    return [key for each in notebooks().values() for key in each.exercises]


def in_a_kernel(rounds: int, folder: Path) -> dict[str, Any]:
    """Check the solutions so often in a kernel of its own; return what `run` said.

    The kernel makes its temporary files in `folder`, which has to be empty.
    """
    source = f"from tests.checks_in_a_row import run\nrun({rounds})"
    v4: Any = nbformat.v4
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source)])
    env = os.environ | {"TMPDIR": str(folder), "LABSVC_DATA_DIR": str(folder.parent / "data")}
    where = {"metadata": {"path": str(ROOT)}}
    sockets = Config(KernelManager={"transport": "ipc", "ip": str(folder.parent / "kernel")})
    client = NotebookClient(notebook, timeout=600 * rounds, resources=where, config=sockets)
    client.execute(env=env)
    said: dict[str, Any] = json.loads(notebook.cells[0].outputs[-1].text)
    return said


def run(rounds: int) -> None:
    """Check the solutions so often in this process; print what was not solved, and what is left."""
    answers = {exercise: _solution(exercise) for exercise in exercises()}
    wrong: list[str] = []
    memory: list[int] = []
    seconds: dict[str, list[float]] = {exercise: [] for exercise in answers}
    with Lab() as lab:
        _fill_pools(lab)
        before = _held(lab)
        for exercise in list(answers) * rounds:
            began = time.monotonic()
            verdict = run_check(exercise, answers[exercise])
            seconds[exercise].append(time.monotonic() - began)
            if verdict.state != "solved" or verdict.notes:
                wrong.append(f"{exercise}: {verdict}")
            memory.append(psutil.Process().memory_info().rss)
        left = _left(lab, before)
    print(json.dumps({"wrong": wrong, "left": left, "memory": memory, "seconds": seconds}))


def _solution(exercise: str) -> Any:
    """Return the course's solution as a function, with what it needs of its notebook."""
    cell: dict[str, Any] = {"__name__": "__main__"}
    source = _code(exercise)
    lines = [
        line
        for code in nbformat.read(str(_notebook(exercise[:2])), 4).cells
        if code.cell_type == "code" and not code.source.startswith(("%", "!"))
        for line in ast.parse(code.source).body
    ]
    needed = ast.Module(_needed(source, lines), [])
    exec(compile(needed, f"<the notebook of {exercise}>", "exec"), cell)  # noqa: S102  # our own
    exec(compile(source, f"<the solution of {exercise}>", "exec"), cell)  # noqa: S102
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return cell[[line.name for line in ast.parse(source).body if isinstance(line, functions)][-1]]


def _needed(source: str, lines: list[ast.stmt]) -> list[ast.stmt]:
    """Return the imports of a notebook's `lines`, and what defines a name that `source` reads."""
    names = _read(symtable.symtable(source, "<exercise>", "exec"))
    found: list[ast.stmt] = []
    for line in reversed(lines):
        if isinstance(line, ast.Import | ast.ImportFrom):
            found.append(line)
        elif names & _defined(line):
            found.append(line)
            names |= _read(symtable.symtable(ast.unparse(line), "<cell>", "exec"))
    return found[::-1]


def _read(scope: symtable.SymbolTable) -> set[str]:
    """Return the names that are read from the notebook, in this scope and in those within."""
    module = scope.get_type() == "module"
    own = {
        name.get_name()
        for name in scope.get_symbols()
        if name.is_referenced() and (module or name.is_global())
    }
    return own.union(*map(_read, scope.get_children()))


def _defined(line: ast.stmt) -> set[str]:
    if isinstance(line, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {line.name}
    targets = line.targets if isinstance(line, ast.Assign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


def _fill_pools(lab: Lab) -> None:
    """Let all start what they keep: the lab a folder, gRPC its pollers, asyncio a pool of threads.

    multiprocessing keeps the server from which a sweep's children come.
    """

    async def fill() -> None:
        threads = min(32, (os.cpu_count() or 1) + 4)
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.1) for _ in range(threads)))

    lab.loop.run(fill())
    service = lab.serve_grpc(AioUserService(Store.seeded()), name="users")
    with grpc.insecure_channel(service.target) as channel:
        users = user_pb2_grpc.UserServiceStub(channel)
        users.GetUser(user_pb2.GetUserRequest(user_id="u-1"), timeout=5)
    lab.remove("users")
    lab.serve_queue(name="queue")
    lab.remove("queue")
    Run(lab, ()).child(time.sleep, 0)


def _left(lab: Lab, before: Held) -> dict[str, dict[str, int]]:
    """Return what is held beyond `before`, by kind, as soon as that is nothing, or in the end."""
    give_up_at = time.monotonic() + SETTLE_SECONDS
    while True:
        gc.collect()  # a channel in a cycle holds its descriptors until then
        left = {kind: dict(now - before[kind]) for kind, now in _held(lab).items()}
        if not any(left.values()) or time.monotonic() > give_up_at:
            return {kind: more for kind, more in left.items() if more}
        time.sleep(0.05)


def _held(lab: Lab) -> Held:
    async def tasks() -> list[str]:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        return [getattr(task.get_coro(), "__qualname__", "?") for task in others]

    return {
        "threads": Counter(thread.name for thread in threading.enumerate()),
        "tasks": Counter(lab.loop.run(tasks())),
        "descriptors": Counter(_descriptors()),
        "temporary files": Counter(path.name for path in Path(tempfile.gettempdir()).iterdir()),
    }


def _descriptors() -> list[str]:
    """Return what each open descriptor leads to, a socket without its number; only on Linux."""
    found = []
    for descriptor in DESCRIPTORS.iterdir() if DESCRIPTORS.exists() else ():
        with suppress(OSError):  # that of the listing itself is closed
            found.append(str(descriptor.readlink()).partition(":[")[0])
    return found


def main(rounds: int) -> int:
    """Run, print the figures, and return 1 if anything is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)  # PostgreSQL, which refuses root, passes through as another user
        Path(folder, "tmp").mkdir()
        began = time.monotonic()
        said = in_a_kernel(rounds, Path(folder, "tmp"))
    memory = said.pop("memory")
    middle = {key: statistics.median(took) for key, took in said.pop("seconds").items()}
    quarter = memory[len(memory) // 4 - 1]
    growth = memory[-1] / quarter
    print(f"{len(memory)} checks in {time.monotonic() - began:.0f} s", said)
    slowest = sorted(middle, key=middle.__getitem__)[-SLOWEST:]
    print(f"a check takes {statistics.median(middle.values()):.1f} s, the slowest ones", end=" ")
    print(", ".join(f"{key} {middle[key]:.1f} s" for key in slowest))
    print(f"memory {quarter >> 20} MB, then {memory[-1] >> 20} MB: {growth:.3f} times as much")
    return int(any(said.values()) or (rounds > 1 and growth > MARGIN))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS))
