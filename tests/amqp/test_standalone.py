"""The broker in a process of its own: `labsvc broker`."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pika
import pytest

from labsvc.__main__ import main
from labsvc.amqp import Broker
from labsvc.amqp.storage.database import FILE
from labsvc.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from labsvc.loop import Loop


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Name a folder that the broker makes."""
    return tmp_path / "broker"


@contextmanager
def standalone(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run `labsvc broker`."""
    with subprocess.Popen(
        [sys.executable, "-m", "labsvc", "broker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_good_order(data: Path, ending: signal.Signals) -> None:
    """It prints its URL with a random password, and a signal ends it with exit code 0."""
    with standalone("--data", str(data)) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with closing(pika.BlockingConnection(pika.URLParameters(url))) as connection:
            connection.channel().queue_declare("q", durable=True)
        process.send_signal(ending)
        assert process.communicate(timeout=30) == ("", "")
        assert process.returncode == 0
    with closing(sqlite3.connect(data / FILE)) as database:
        assert database.execute("SELECT name FROM queues").fetchall() == [("q",)]


def test_it_takes_its_password_from_the_environment(data: Path) -> None:
    """A password that was given is not printed; one that is missing is an error."""
    arguments = ("--data", str(data), "--user", "me", "--password-from-env", "SECRET_OF_MINE")
    with standalone(*arguments, SECRET_OF_MINE="se/cret") as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        assert url.startswith("amqp://me:***@127.0.0.1:")
        pika.BlockingConnection(pika.URLParameters(url.replace("***", "se%2Fcret"))).close()
    with standalone(*arguments) as process:
        errors = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert errors == "SECRET_OF_MINE is not set; put the password there\n"


@pytest.mark.parametrize(("flush", "synchronous"), [(False, 1), (True, 2)])
def test_a_commit_is_flushed_if_asked_for(
    loop: Loop,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    flush: bool,  # noqa: FBT001
    synchronous: int,
) -> None:
    """`labsvc broker --flush` makes SQLite flush each commit (FULL), else it does not (NORMAL).

    What is flushed can only be told from what is not by a power cut; the setting is asked instead.
    """
    made: list[Broker] = []

    def kept(*args: Any, **settings: Any) -> Broker:
        made.append(Broker(*args, **settings))
        raise LabError

    monkeypatch.setattr("labsvc.amqp.standalone.Broker", kept)
    assert main(["broker", "--data", str(data), *(["--flush"] if flush else [])]) == 1

    async def setting() -> object:
        await made[0].start()
        store = made[0]._store
        assert store is not None
        found = list(store.rows("PRAGMA synchronous"))
        await made[0].stop()
        return found

    assert loop.run(setting()) == [(synchronous,)]
