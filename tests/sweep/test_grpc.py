"""Sweeps over calls: each request and each answer, and those that a retry adds."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc import Lab
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from labsvc.sweep import Fault, Plan, Point, Strike, Sweep, SweepError, sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labsvc.sweep import Run

QUICK = [("grpc.initial_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 100)]
OWN = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own for each channel
POLICY = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "0.1s",
    "backoffMultiplier": 1,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
TIMEOUT = 0.5  # seconds for one try
REQUEST, ANSWER = Point("request", 1, "GetUser"), Point("answer", 1, "GetUser")


class Effects(user_pb2_grpc.UserServiceServicer):
    """Notes the id of each request: the effect."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Do the work."""
        self.seen.append(request.user_id)
        return user_pb2.GetUserResponse(user=user_pb2.User(name="n" * 2000))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


def call(stub: Any, key: str) -> None:
    """Call once, with a deadline."""
    stub.GetUser(user_pb2.GetUserRequest(user_id=key), timeout=TIMEOUT, wait_for_ready=True)


def with_one_key(stub: Any) -> None:
    """Try three times, with the same id."""
    key = str(uuid.uuid4())
    retry(lambda: call(stub, key))


def with_a_key_a_try(stub: Any) -> None:
    """Try three times, with a new id each time."""
    retry(lambda: call(stub, str(uuid.uuid4())))


def retry(work: Callable[[], None]) -> None:
    """Try three times; at once, a try may still meet the broken connection and go nowhere."""
    for left in reversed(range(3)):
        try:
            return work()
        except grpc.RpcError:
            if not left:
                raise
            time.sleep(0.05)
    return None


def scenario(lab: Lab, work: Callable[[Any], None]) -> Callable[[Run], None]:
    """Call a service that counts the different ids; one is wanted."""

    def one_effect(run: Run) -> None:
        servicer = Effects()
        service = lab.serve_grpc(servicer, name="effects")
        told = "OK"
        with grpc.insecure_channel(run.door(service).target, options=QUICK) as channel:
            try:
                work(user_pb2_grpc.UserServiceStub(channel))
            except grpc.RpcError as error:
                told = error.code().name
        effects = len(set(servicer.seen))
        run.expect(effects <= 1, f"{effects} effects")
        run.expect(told != "OK" or bool(effects), "told OK, and no effect")

    return one_effect


def states(found: Sweep) -> dict[str, str]:
    """Return the state of each case by its faults in words."""
    return {str(case).partition(":")[0]: case.state for case in found.cases}


def test_a_call_without_a_retry_has_two_points(lab: Lab) -> None:
    """The request can be lost or refused, the answer lost or late: five cases with none."""
    found = sweep(lab, scenario(lab, lambda stub: call(stub, "one")))
    assert found.kept
    assert [case.plan for case in found.cases] == [
        (),
        (Strike(REQUEST, "lost"),),
        (Strike(REQUEST, "refused"),),
        (Strike(ANSWER, "lost"),),
        (Strike(ANSWER, "late"),),
    ]
    assert found.cases[0].points == (REQUEST, ANSWER)
    assert str(found) == "5 cases: 5 kept, 0 broken, 0 unknown"


def test_a_retry_adds_points_which_are_struck_too(lab: Lab) -> None:
    """One id for all tries keeps the promise in each of 20 cases, an id a try does not."""
    assert str(sweep(lab, scenario(lab, with_one_key))) == (
        "20 cases: 20 kept, 0 broken, 0 unknown"
    )
    found = sweep(lab, scenario(lab, with_a_key_a_try), only=["lost", "refused"])
    assert str(found).startswith("13 cases: 7 kept, 6 broken, 0 unknown")
    assert str(found.smallest) == "the answer to request 1 of GetUser was lost: 2 effects"
    both = "request 1 of GetUser was refused with UNAVAILABLE, and request 2 of GetUser was lost"
    assert states(found)[both] == "kept"


def test_a_sweep_that_stops_says_no_more_than_it_knows(lab: Lab) -> None:
    """`until_broken` ends with the case that breaks."""
    found = sweep(lab, scenario(lab, with_a_key_a_try), until_broken=True)
    assert [case.state for case in found.cases] == ["kept", "kept", "kept", "broken"]
    assert not found.kept


@pytest.mark.parametrize(
    ("fault", "point", "effects", "code"),
    [
        ("lost", REQUEST, 0, "UNAVAILABLE"),
        ("refused", REQUEST, 0, "UNAVAILABLE"),
        ("lost", ANSWER, 1, "UNAVAILABLE"),
        ("late", ANSWER, 1, "DEADLINE_EXCEEDED"),
    ],
)
def test_what_a_fault_does(lab: Lab, fault: Fault, point: Point, effects: int, code: str) -> None:
    """The server has done its work or not, as the fault says; the next call finds all well."""
    seen: dict[Plan, tuple[int, str, int]] = {}

    def look(run: Run) -> None:
        servicer = Effects()
        service = lab.serve_grpc(servicer, name="effects")
        with grpc.insecure_channel(run.door(service).target, options=QUICK) as channel:
            stub = user_pb2_grpc.UserServiceStub(channel)
            told = "OK"
            try:
                call(stub, "one")
            except grpc.RpcError as error:
                told = error.code().name
            first = len(servicer.seen)
            for _ in range(3):
                retry(lambda: call(stub, "next"))
            seen[run.plan] = first, told, len(servicer.seen) - first

    sweep(lab, look, only=[fault])
    assert seen[(Strike(point, fault),)] == (effects, code, 3)
    assert seen[()] == (1, "OK", 3)


def test_calls_beside_a_late_answer(lab: Lab) -> None:
    """Answers that wait behind a late one arrive whole once its caller has given up."""

    def two(run: Run) -> None:
        service = lab.serve_grpc(Effects(), name="effects")
        with grpc.insecure_channel(run.door(service).target, options=QUICK) as channel:
            stub = user_pb2_grpc.UserServiceStub(channel)
            first = stub.GetUser.future(user_pb2.GetUserRequest(user_id="a"), timeout=TIMEOUT)
            while not run.points:
                time.sleep(0.001)
            second = stub.GetUser.future(user_pb2.GetUserRequest(user_id="b"), timeout=1)
            whole = second.exception() is None and len(second.result().user.name) == 2000
            run.expect(whole, "the second answer is not whole")
            first.exception()

    found = sweep(lab, two, only=["late"])
    late = [case for case in found.cases if case.plan == (Strike(ANSWER, "late"),)]
    assert [case.state for case in late] == ["kept"]


def test_pairs_on_request(lab: Lab) -> None:
    """With two faults each pair of points that are there anyway is struck."""

    def two_calls(run: Run) -> None:
        target = run.door(lab.serve_grpc(Effects(), name="effects")).target
        for key in "ab":
            with (
                grpc.insecure_channel(target, options=OWN) as channel,
                contextlib.suppress(grpc.RpcError),
            ):
                call(user_pb2_grpc.UserServiceStub(channel), key)

    only: list[Fault] = ["lost"]
    assert len(sweep(lab, two_calls, only=only).cases) == 5
    pairs = sweep(lab, two_calls, only=only, faults=2)
    assert [len(case.plan) for case in pairs.cases] == [0, 1, 1, 1, 1, 2, 2, 2, 2]
    assert pairs.kept


def test_a_point_that_is_not_reached_again_is_unknown(lab: Lab) -> None:
    """A run that goes another way says nothing, and the sweep is not green."""
    runs: list[int] = []

    def moody(run: Run) -> None:
        runs.append(1)
        if len(runs) == 1:
            scenario(lab, lambda stub: call(stub, "one"))(run)

    found = sweep(lab, moody, only=["refused"])
    assert not found.kept
    assert str(found).splitlines() == [
        "2 cases: 1 kept, 0 broken, 1 unknown",
        (
            "unknown: request 1 of GetUser was refused with UNAVAILABLE:"
            " request 1 of GetUser was not reached again"
        ),
    ]


def test_a_scenario_that_raises_under_a_fault_is_unknown(lab: Lab) -> None:
    """An error that nobody caught is no answer to what was asked."""

    def careless(run: Run) -> None:
        service = lab.serve_grpc(Effects(), name="effects")
        with grpc.insecure_channel(run.door(service).target, options=QUICK) as channel:
            call(user_pb2_grpc.UserServiceStub(channel), "one")

    found = sweep(lab, careless, only=["refused"])
    assert found.count("unknown") == 1
    with pytest.raises(grpc.RpcError):
        sweep(lab, careless, only=["refused"], passes=grpc.RpcError)


def test_a_run_that_does_not_come_back_breaks(lab: Lab) -> None:
    """A caller without a deadline waits for a late answer for ever; the sweep does not."""

    def patient(run: Run) -> None:
        service = lab.serve_grpc(Effects(), name="effects")
        with grpc.insecure_channel(run.door(service).target, options=QUICK) as channel:
            stub = user_pb2_grpc.UserServiceStub(channel)
            with contextlib.suppress(grpc.RpcError):
                stub.GetUser(user_pb2.GetUserRequest(user_id="one"))

    found = sweep(lab, patient, only=["late"], within=1)
    assert str(found.smallest) == (
        "the answer to request 1 of GetUser came when the caller had given up:"
        " it did not come back within 1 s"
    )
    assert not [thread for thread in threading.enumerate() if thread.name == "labsvc-sweep"]


def test_a_scenario_that_breaks_without_a_fault(lab: Lab) -> None:
    """A broken promise is a case like others; an error, or no point at all, ends the sweep."""

    def broken(run: Run) -> None:
        run.expect(kept=False, broke="all is lost")

    assert str(sweep(lab, broken).smallest) == "nothing went wrong: all is lost"
    with pytest.raises(SweepError, match="no point where a fault could strike"):
        sweep(lab, lambda _: None)
    with pytest.raises(SweepError, match="ZeroDivisionError"):
        sweep(lab, lambda _: 1 // 0)


def test_async_scenario_and_what_is_left(lab: Lab) -> None:
    """A coroutine function is awaited; no door stays behind."""

    async def scenario_of_its_own(run: Run) -> None:
        service = lab.serve_grpc(Effects(), name="effects")
        async with grpc.aio.insecure_channel(run.door(service).target) as channel:
            stub: Any = user_pb2_grpc.UserServiceStub(channel)
            with contextlib.suppress(grpc.RpcError):
                await stub.GetUser(user_pb2.GetUserRequest(user_id="one"), timeout=TIMEOUT)

    assert sweep(lab, scenario_of_its_own).kept
    assert "door " not in repr(lab)


def test_the_picture_says_what_it_shows(lab: Lab) -> None:
    """The alternative text has the counts and the smallest case."""
    found = sweep(lab, scenario(lab, with_a_key_a_try), only=["lost"])
    plot = found.plot("An id for each try")
    assert plot.png.startswith(b"\x89PNG")
    assert "7 cases" in plot.text
    assert "The smallest case that breaks: the answer to request 1 of GetUser was lost" in plot.alt


def test_an_answer_is_lost_as_a_whole(lab: Lab) -> None:
    """Nothing of it arrives: the C core's own retry policy, which stops at headers, goes on."""
    policy = {"name": [{}], "retryPolicy": POLICY}
    options = [*OWN, ("grpc.service_config", json.dumps({"methodConfig": [policy]}))]

    def retried_by_the_core(run: Run) -> None:
        servicer = Effects()
        service = lab.serve_grpc(servicer, name="effects")
        with grpc.insecure_channel(run.door(service).target, options) as channel:
            user_pb2_grpc.UserServiceStub(channel).GetUser(user_pb2.GetUserRequest(), timeout=5)
        run.expect(len(servicer.seen) <= 1, f"{len(servicer.seen)} calls")

    found = sweep(lab, retried_by_the_core, only=["lost"], until_broken=True)
    assert str(found.smallest) == "the answer to request 1 of GetUser was lost: 2 calls"
