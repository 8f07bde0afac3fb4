"""What cells of many notebooks use: `until`, `outcome` and their kin for asyncio."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest

from labsvc import Lab, LabError, aio_outcome, aio_until, outcome, until
from labsvc.shop.services import AioUserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

KNOWN = user_pb2.GetUserRequest(user_id="u-1")
UNKNOWN = user_pb2.GetUserRequest(user_id="nobody")


def test_outcome_is_the_code_of_a_real_call() -> None:
    """A call that succeeds is OK, one that fails gives the name of its status code."""
    with Lab() as lab:
        users = lab.serve_grpc(AioUserService(Store.seeded()))
        with grpc.insecure_channel(users.target) as channel:
            stub = user_pb2_grpc.UserServiceStub(channel)
            assert outcome(stub.GetUser, KNOWN, timeout=5) == "OK"
            assert outcome(stub.GetUser, UNKNOWN, timeout=5) == "NOT_FOUND"

        async def ask() -> tuple[str, str]:
            async with grpc.aio.insecure_channel(users.target) as aio_channel:
                aio_stub = user_pb2_grpc.UserServiceStub(aio_channel)
                return (
                    await aio_outcome(aio_stub.GetUser(KNOWN, timeout=5)),
                    await aio_outcome(aio_stub.GetUser(UNKNOWN, timeout=5)),
                )

        assert asyncio.run(ask()) == ("OK", "NOT_FOUND")


def test_outcome_is_no_net_for_other_errors() -> None:
    """A mistake of the cell is raised, not turned into a code."""
    with pytest.raises(ZeroDivisionError):
        outcome(lambda: 1 / 0)


def test_until_returns_when_it_is_true() -> None:
    """The condition is asked again until it holds."""
    answers = iter([0, "", 1])
    until(lambda: next(answers))
    assert list(answers) == []


def test_until_gives_up_and_says_what_to_do() -> None:
    """What never becomes true ends in an error after the time given."""
    began = time.monotonic()
    with pytest.raises(LabError, match=r"did not happen in 0\.05 s; run the cell again"):
        until(lambda: False, timeout=0.05)
    assert time.monotonic() - began >= 0.05


def test_aio_until_lets_others_go_on() -> None:
    """A coroutine can make the condition true meanwhile; what never becomes true is an error."""
    seen: list[int] = []

    async def act() -> None:
        await asyncio.sleep(0.03)
        seen.append(1)

    async def wait() -> None:
        task = asyncio.create_task(act())
        await aio_until(lambda: seen)
        await task
        with pytest.raises(LabError, match=r"did not happen in 0\.05 s; run the cell again"):
            await aio_until(lambda: False, timeout=0.05)

    asyncio.run(wait())


def test_abandoned_report_is_not_counted_in_the_next_one() -> None:
    """A reader that an interrupted cell of 23 left behind adds no page to what comes after."""
    source = Path(__file__).parents[1] / "notebooks/source/23_cancellation.md"
    (cell,) = [each for each in source.read_text().split("```") if "\ndef read_report():" in each]
    names: dict[str, Any] = {"time": time, "user_pb2": user_pb2}
    exec(cell.partition("\n")[2], names)  # noqa: S102  # it is the course's own
    with ThreadPoolExecutor() as pool:
        abandoned = pool.submit(names["read_report"])
        until(lambda: names["reports"] and len(names["reports"][0]) == 3)
        names["reports"].clear()  # as the next cell does
        names["read_report"]()
        abandoned.result()
    assert [len(pages) for pages in names["reports"]] == [10]
