"""What is taken from a pasted text, and how much of it is looked at."""

from __future__ import annotations

import io
import random
import sqlite3
import traceback
from contextlib import closing
from typing import TYPE_CHECKING

import grpc
import httpx2
import pytest

from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from labsvc.symptoms.index import load
from labsvc.symptoms.match import Matcher
from labsvc.symptoms.reading import EARLIER, END, MOST_LINES, lines, take

if TYPE_CHECKING:
    from collections.abc import Callable

MATCHER = Matcher(load())
NOBODY = "127.0.0.1:1"  # a port that nobody listens on


def refused_by_grpc() -> None:
    """Call a server that is not there."""
    with grpc.insecure_channel(NOBODY) as channel:
        user_pb2_grpc.UserServiceStub(channel).GetUser(user_pb2.GetUserRequest(), timeout=5)


def refused_by_http() -> None:
    """Ask a page that is not there."""
    httpx2.get(f"http://{NOBODY}/", timeout=5)


def handled_twice() -> None:
    """Note a message's id twice."""
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE handled (message_id TEXT UNIQUE)")
        database.executemany("INSERT INTO handled VALUES (?)", [("m-1",), ("m-1",)])


def stub_elsewhere() -> None:
    """Import a generated module as protoc wrote it."""
    __import__("user_pb2")


@pytest.mark.parametrize(
    ("fails", "notebook"),
    [
        (refused_by_grpc, "21"),
        (refused_by_http, "21"),
        (handled_twice, "51"),
        (stub_elsewhere, "10"),
    ],
)
def test_real_traceback_leads_to_its_notebook(fails: Callable[[], None], notebook: str) -> None:
    """A traceback of now, chained ones too, is understood by its errors."""
    with pytest.raises(Exception) as caught:  # noqa: PT011  # each its own
        fails()
    pasted = "".join(traceback.format_exception(caught.value))
    assert MATCHER.find(lines(pasted))[0].entry.notebook[:2] == notebook


def test_frames_are_left_out() -> None:
    """The last error comes first and weighs most; files, code and marks are not looked at."""
    pasted = (
        "Traceback (most recent call last):\n"
        '  File "/app/too_many_pings.py", line 3, in keepalive\n'
        "    raise KeyError(name)\n"
        "KeyError: 'a'\n\n"
        "During handling of the above exception, another exception occurred:\n\n"
        "Traceback (most recent call last):\n"
        '  File "/app/main.py", line 9, in <module>\n'
        "    work()\n"
        "    ^^^^^^\n"
        "OSError: [Errno 24] Too many open files\n"
    )
    read = lines(pasted)
    assert [line.text for line in read] == [
        "OSError: [Errno 24] Too many open files",
        "KeyError: 'a'",
    ]
    assert [line.weight for line in read] == [1, EARLIER]
    assert all(line.pasted for line in read)


def test_colours_of_a_notebook_are_left_out() -> None:
    """IPython colours its tracebacks and marks the line with an arrow."""
    pasted = (
        "\x1b[31m-----\x1b[0m\n"
        "\x1b[31mPoolTimeout\x1b[39m           Traceback (most recent call last)\n"
        "\x1b[36mCell\x1b[39m\x1b[36m In[3]\x1b[39m\x1b[32m, line 1\x1b[39m\n"
        "\x1b[32m----> 1\x1b[39m ask()\n"
        "\x1b[31mPoolTimeout\x1b[39m: \n"
    )
    found = MATCHER.find(lines(pasted))
    assert found[0].entry.title == "the bank is slow, and the price page is down"


def test_what_is_typed_is_one_line() -> None:
    """A short sentence is taken as it is, a long one as pasted."""
    assert [(line.text, line.pasted) for line in lines("Socket closed\n")] == [
        ("Socket closed", False)
    ]
    assert lines("word " * 30)[0].pasted
    assert lines(" \n\t\n") == []


def test_input_is_bounded() -> None:
    """Of a long text the beginning and the end are read, of many lines the last ones."""
    text = b"first\n" + b"x" * (3 * END) + b"\nlast"
    taken = take(io.BytesIO(text))
    assert len(taken) == 2 * END
    assert taken.startswith("first")
    assert taken.endswith("last")
    numbered = "\n".join(f"line number {n} of a log" for n in range(5 * MOST_LINES))
    read = lines(numbered)
    assert len(read) == MOST_LINES
    assert read[0].text == f"line number {5 * MOST_LINES - 1} of a log"


@pytest.mark.parametrize("odd", [b"\xff\xfe\x00", b"\x00" * 50, b"\x1b[31m", bytes(range(256))])
def test_odd_bytes_are_borne(odd: bytes) -> None:
    """Bytes that are no text neither stop the search nor hide what stands beside them."""
    found = MATCHER.find(lines(take(io.BytesIO(odd + b"\ntoo_many_pings\n" + odd))))
    assert found[0].entry.title == "too_many_pings"


def test_binary_input_finds_nothing() -> None:
    """Words that stand by chance in a file that is no text are not looked for."""
    binary = random.Random(1).randbytes(300_000)  # noqa: S311  # no secret
    assert MATCHER.find(lines(take(io.BytesIO(binary)))) == []
