from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from labsvc.delivery.barrier import Barrier, TooLate
from labsvc.delivery.saga import Refused, Result, Saga, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

NAMES = ("reserve", "charge", "confirm")
OPEN: list[sqlite3.Connection] = []
DATA = {"cents": 1500}


class Killed(BaseException):
    """The process dies here; no `except Exception` hears of it."""


class World:
    """Three participants behind a barrier each, a journal, and a script of what goes wrong.

    `plan` maps the number of a call, from 1, to what happens to it: an error before it takes
    effect, or after ("lost").
    """

    def __init__(self, folder: Path, plan: Mapping[int, tuple[str, BaseException]]) -> None:
        self.path = folder / "sagas.db"
        self.plan = plan
        self.calls: list[str] = []
        self.dbs = {name: sqlite3.connect(":memory:", check_same_thread=False) for name in NAMES}
        OPEN.extend(self.dbs.values())
        self.barriers = {name: Barrier(db) for name, db in self.dbs.items()}
        for db in self.dbs.values():
            db.execute("CREATE TABLE effects (saga_id TEXT)")

    @contextmanager
    def saga(self) -> Iterator[Saga]:
        """Start an orchestrator on the journal, as after a restart."""
        with closing(sqlite3.connect(self.path, check_same_thread=False)) as db:
            yield Saga(db, [self.step(name) for name in NAMES], pauses=(0, 0))

    def step(self, name: str) -> Step:
        """Return the step that calls one participant."""
        barrier = self.barriers[name]

        def insert(saga_id: str) -> Callable[[sqlite3.Connection], object]:
            return lambda db: db.execute("INSERT INTO effects VALUES (?)", (saga_id,)) and None

        def act(saga_id: str, _: object) -> None:
            with self.strikes(name):
                try:
                    barrier.act(saga_id, name, insert(saga_id))
                except TooLate as error:
                    raise Refused(error) from error

        def undo(saga_id: str, _: object) -> None:
            delete = "DELETE FROM effects WHERE saga_id = ?"
            with self.strikes(f"un{name}"):
                barrier.undo(saga_id, name, lambda db: db.execute(delete, (saga_id,)))

        return Step(name, act, undo)

    @contextmanager
    def strikes(self, call: str) -> Iterator[None]:
        """Note the call, and let happen to it what the plan says."""
        self.calls.append(call)
        when, error = self.plan.get(len(self.calls), ("never", None))
        if error and when == "before":
            raise error
        yield
        if error:
            raise error

    def effects(self, saga_id: str = "s-1") -> list[int]:
        """Return how often each step has taken effect."""
        sql = "SELECT count(*) FROM effects WHERE saga_id = ?"
        return [db.execute(sql, (saga_id,)).fetchone()[0] for db in self.dbs.values()]

    def ends(self) -> Result:
        """Run the saga, and start again as often as it is killed; return how it ended."""
        with suppress(Killed), self.saga() as saga:
            return saga.run("s-1", DATA)
        while True:
            with suppress(Killed), self.saga() as saga:
                if results := saga.recover():
                    return results[0]
                return saga.run("s-1", DATA)  # it had ended, or had not begun


OUTAGE = ConnectionError("no answer")
NO = Refused("not enough money")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Close the databases of every world."""
    yield
    while OPEN:
        OPEN.pop().close()


def test_every_action_in_its_order(tmp_path: Path) -> None:
    """Without a fault each action is called once, and no compensation."""
    world = World(tmp_path, {})
    with world.saga() as saga:
        assert saga.run("s-1", DATA) == Result("s-1", "done")
        assert saga.unfinished() == []
    assert (world.calls, world.effects()) == ([*NAMES], [1, 1, 1])


def test_a_refusal_undoes_in_reverse(tmp_path: Path) -> None:
    """A refusal is not tried again; the step that was refused is compensated as well."""
    world = World(tmp_path, {2: ("before", NO)})
    with world.saga() as saga:
        assert saga.run("s-1", DATA) == Result("s-1", "undone", "charge: not enough money")
    assert world.calls == ["reserve", "charge", "uncharge", "unreserve"]
    assert world.effects() == [0, 0, 0]


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_may_pass_is_tried_again(tmp_path: Path, when: str) -> None:
    """A lost request or a lost answer costs a second call, and no second effect."""
    world = World(tmp_path, {2: (when, OUTAGE), 3: (when, OUTAGE)})
    assert world.ends().state == "done"
    assert world.calls == ["reserve", "charge", "charge", "charge", "confirm"]
    assert world.effects() == [1, 1, 1]


@pytest.mark.parametrize("when", ["before", "after"])
def test_what_may_have_happened_is_compensated(tmp_path: Path, when: str) -> None:
    """A step that failed without a refusal is undone, whether it took effect or not."""
    world = World(tmp_path, dict.fromkeys((2, 3, 4), (when, OUTAGE)))
    assert world.ends() == Result("s-1", "undone", "charge: no answer")
    assert world.calls[4:] == ["uncharge", "unreserve"]
    assert world.effects() == [0, 0, 0]


def test_a_refusal_after_a_lost_answer_is_compensated(tmp_path: Path) -> None:
    """The first try may have taken effect, though the second one is refused."""
    world = World(tmp_path, {2: ("after", OUTAGE), 3: ("before", NO)})
    assert world.ends().state == "undone"
    assert world.effects() == [0, 0, 0]


def test_data_reach_every_call(tmp_path: Path) -> None:
    """A call gets the id and the data, also from the journal."""
    seen: list[tuple[str, Mapping[str, Any]]] = []

    def note(saga_id: str, data: Mapping[str, Any]) -> None:
        seen.append((saga_id, data))

    def fail(saga_id: str, data: Mapping[str, Any]) -> None:
        note(saga_id, data)
        raise NO

    with closing(sqlite3.connect(tmp_path / "sagas.db")) as db:
        Saga(db, [Step("a", note, note), Step("b", fail, note)]).run("s-1", DATA)
    assert seen == [("s-1", DATA)] * 4


def test_recovery_repeats_no_finished_step(tmp_path: Path) -> None:
    """A new orchestrator goes on where the old one was killed."""
    world = World(tmp_path, {3: ("before", Killed())})
    with pytest.raises(Killed), world.saga() as saga:
        saga.run("s-1", DATA)
    with world.saga() as saga:
        assert saga.unfinished() == [Result("s-1", "running")]
        assert saga.recover() == [Result("s-1", "done")]
        assert saga.recover() == []
    assert world.calls == ["reserve", "charge", "confirm", "confirm"]
    assert world.effects() == [1, 1, 1]


def test_recovery_goes_on_undoing(tmp_path: Path) -> None:
    """A saga that had begun to compensate does not turn round."""
    world = World(tmp_path, {2: ("before", NO), 4: ("before", Killed())})
    with pytest.raises(Killed), world.saga() as saga:
        saga.run("s-1", DATA)
    with world.saga() as saga:
        assert saga.unfinished() == [Result("s-1", "undoing", "charge: not enough money")]
        assert saga.recover() == [Result("s-1", "undone", "charge: not enough money")]
    assert world.calls == ["reserve", "charge", "uncharge", "unreserve", "unreserve"]


def test_a_compensation_that_fails_waits(tmp_path: Path) -> None:
    """It stays in the journal, says why, and is tried again by the next recovery."""
    world = World(tmp_path, {2: ("before", NO)} | dict.fromkeys((4, 5, 6), ("before", OUTAGE)))
    with world.saga() as saga:
        waits = Result("s-1", "undoing", "reserve is not undone yet: no answer")
        assert saga.run("s-1", DATA) == waits
        assert saga.recover() == [Result("s-1", "undone", "charge: not enough money")]
    assert world.effects() == [0, 0, 0]


def test_a_compensation_is_tried_again(tmp_path: Path) -> None:
    """As often as an action."""
    world = World(tmp_path, {2: ("before", NO), 3: ("after", OUTAGE), 4: ("before", OUTAGE)})
    assert world.ends().state == "undone"
    assert world.calls[2:] == ["uncharge"] * 3 + ["unreserve"]


@pytest.mark.parametrize("plan", [{}, {2: ("before", NO)}], ids=["done", "undone"])
def test_the_same_id_answers_the_same(tmp_path: Path, plan: Any) -> None:
    """A caller who asks again is told how it ended, and nothing is called."""
    world = World(tmp_path, plan)
    with world.saga() as saga:
        first = saga.run("s-1", DATA)
        calls = len(world.calls)
        assert saga.run("s-1", DATA) == first
    with world.saga() as saga:
        assert saga.run("s-1", DATA) == first
        with pytest.raises(ValueError, match="saga s-1 has other data"):
            saga.run("s-1", {"cents": 1})
    assert len(world.calls) == calls


@pytest.mark.parametrize("refused", [False, True], ids=["done", "undone"])
def test_killed_at_every_place(tmp_path: Path, *, refused: bool) -> None:
    """Wherever it is killed, before or after a call took effect: all or nothing, once."""
    calls = 6 if refused else 3
    cases = [(number, when) for number in range(1, calls + 1) for when in ("before", "after")]
    for number, when in cases:
        folder = tmp_path / f"{number}-{when}"
        folder.mkdir()
        # Until it is refused, a kill makes the refusal come one call later.
        refusal: dict[int, Any] = {4 if number < 4 else 3: ("before", NO)} if refused else {}
        world = World(folder, refusal | {number: (when, Killed())})
        ended = world.ends()
        assert ended.state == ("undone" if refused else "done"), (number, when)
        assert world.effects() == ([0, 0, 0] if refused else [1, 1, 1]), (number, when)


def test_one_thread_drives_a_saga(tmp_path: Path) -> None:
    """Who asks with the same id meanwhile waits, calls no step, and hears the same."""
    calls: list[str] = []
    told: list[Result] = []

    def act(saga_id: str, _: object) -> None:
        calls.append(saga_id)
        if len(calls) == 1:
            second.start()
            second.join(0.3)  # it waits by then; if it did not, it would have called each step

    with closing(sqlite3.connect(tmp_path / "sagas.db", check_same_thread=False)) as db:
        saga = Saga(db, [Step(name, act, act) for name in NAMES])
        second = threading.Thread(target=lambda: told.append(saga.run("s-1", DATA)))
        told.append(saga.run("s-1", DATA))
        second.join()
    assert told == [Result("s-1", "done")] * 2
    assert calls == ["s-1"] * 3


def test_threads_drive_sagas_beside_each_other(tmp_path: Path) -> None:
    """Another saga does not wait for one that waits for its answer."""
    waiting, go_on = threading.Event(), threading.Event()

    def act(saga_id: str, _: object) -> None:
        if saga_id == "slow":
            waiting.set()
            assert go_on.wait(30)

    with closing(sqlite3.connect(tmp_path / "sagas.db", check_same_thread=False)) as db:
        saga = Saga(db, [Step("a", act, act)])
        slow = threading.Thread(target=saga.run, args=("slow", DATA))
        slow.start()
        assert waiting.wait(30)
        assert saga.run("s-1", DATA).state == "done"
        go_on.set()
        slow.join()


@pytest.mark.parametrize("isolation", ["DEFERRED", None], ids=["legacy", "autocommit"])
def test_the_journal_is_flushed(tmp_path: Path, isolation: Any) -> None:
    """Each note is on the disk before the next call, whatever the mode of the connection."""
    path = tmp_path / "sagas.db"
    seen: list[tuple[str, int]] = []

    def act(_: str, __: object) -> None:
        with closing(sqlite3.connect(path)) as other:
            seen.extend(other.execute("SELECT state, steps FROM sagas").fetchall())

    with closing(sqlite3.connect(path, isolation_level=isolation)) as db:
        saga = Saga(db, [Step(name, act, act) for name in NAMES])
        saga.run("s-1", DATA)
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
    assert seen == [("running", 0), ("running", 1), ("running", 2)]
