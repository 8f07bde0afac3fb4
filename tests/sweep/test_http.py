"""Sweeps over HTTP/1.1: each request and each answer on a kept connection."""

from __future__ import annotations

import itertools
import socket
import time
import uuid
from typing import TYPE_CHECKING, Any

import fastapi
import httpx2
import pytest

from labsvc import Lab
from labsvc.sweep import Point, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labsvc.sweep import Run

TIMEOUT = 1.0  # seconds for one try; a core may be away for half of that


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


def effects() -> tuple[fastapi.FastAPI, list[str]]:
    """Return an app that notes the keys of what is posted to it, and those."""
    app, seen = fastapi.FastAPI(), []

    @app.post("/effects")
    async def post(body: dict[str, Any]) -> dict[str, str]:
        seen.append(body["key"])
        return {"more": "x" * body["size"]}

    return app, seen


def scenario(lab: Lab, work: Callable[[httpx2.Client], None]) -> Callable[[Run], None]:
    """Want one effect, and an error unless there is one."""
    numbers = itertools.count()  # several runs go on at once

    def one_effect(run: Run) -> None:
        app, seen = effects()
        service = lab.serve_http(app, name=f"effects {next(numbers)}")
        url = run.door(service).url
        told = "OK"
        with httpx2.Client(base_url=url, timeout=TIMEOUT, trust_env=False) as http:
            try:
                work(http)
            except httpx2.HTTPError as error:
                told = type(error).__name__
        run.expect(len(set(seen)) <= 1, f"{len(set(seen))} effects")
        run.expect(told != "OK" or bool(seen), "told OK, and no effect")

    return one_effect


def post(http: httpx2.Client, key: str, size: int = 10) -> None:
    """Post once; a body of some size goes both ways."""
    body = {"key": key, "size": size, "filling": "y" * size}
    http.post("/effects", json=body).raise_for_status()


def retry(work: Callable[[], None]) -> None:
    """Try three times."""
    for left in (2, 1, 0):
        try:
            return work()
        except httpx2.HTTPError:
            if not left:
                raise
            time.sleep(0.05)
    return None


def test_a_request_and_its_answer_are_points(lab: Lab) -> None:
    """They have the method's name, and no path; a large body passes whole."""
    found = sweep(lab, scenario(lab, lambda http: post(http, "one", size=200_000)), at_once=8)
    assert found.kept, found.table()
    assert found.cases[0].points == (Point("request", 1, "POST"), Point("answer", 1, "POST"))
    assert [str(case).partition(":")[0] for case in found.cases] == [
        "nothing went wrong",
        "request 1 of POST was lost",
        "request 1 of POST was refused with 503",
        "the answer to request 1 of POST was lost",
        "the answer to request 1 of POST came when the caller had given up",
    ]


def test_each_request_on_a_kept_connection_is_a_point(lab: Lab) -> None:
    """The second one is struck where it is, and the first one has passed."""

    def twice(http: httpx2.Client) -> None:
        post(http, "one")
        post(http, "one")

    found = sweep(lab, scenario(lab, twice), at_once=8)
    assert found.kept, found.table()
    assert len(found.cases) == 1 + 2 * 4


def test_a_key_for_each_try_is_found_out(lab: Lab) -> None:
    """The answer was lost, and the second try is another effect; one key for all is kept."""
    one = str(uuid.uuid4())
    assert sweep(lab, scenario(lab, lambda http: retry(lambda: post(http, one))), at_once=8).kept
    found = sweep(
        lab, scenario(lab, lambda http: retry(lambda: post(http, str(uuid.uuid4())))), at_once=8
    )
    assert str(found.smallest) == "the answer to request 1 of POST was lost: 2 effects"


def test_a_refused_request_leaves_the_connection(lab: Lab) -> None:
    """After a 503 of the sweep the next request goes through on the same connection."""
    statuses: list[int] = []

    def asks_again(http: httpx2.Client) -> None:
        body = {"key": "one", "size": 1}
        statuses.extend(http.post("/effects", json=body).status_code for _ in range(2))

    found = sweep(lab, scenario(lab, asks_again), only=("refused",))
    assert found.kept
    assert statuses == [200, 200, 503, 200, 200, 503]


def test_bytes_that_are_no_http_do_not_hang(lab: Lab) -> None:
    """A request that h11 does not understand goes to the server, which refuses it."""

    def garbage(run: Run) -> None:
        app, _ = effects()
        service = lab.serve_http(app, name="effects")
        host, port = run.door(service).target.split(":")
        with socket.create_connection((host, int(port)), timeout=5) as raw:
            raw.sendall(b"GE\x01T what\r\n\r\n")
            run.expect(raw.recv(12) == b"HTTP/1.1 400", "no answer")
        with httpx2.Client(base_url=run.door(service).url, trust_env=False) as http:
            post(http, "one")

    assert sweep(lab, garbage, only=()).kept
