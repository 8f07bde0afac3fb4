"""Run a scenario without faults, and again with a fault at each point that it reached."""

from __future__ import annotations

import contextvars
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

from labsvc.quiet import quiet
from labsvc.sweep.child import SweepError, finish
from labsvc.sweep.outcome import Case, Sweep
from labsvc.sweep.points import Fault, Plan, Strike
from labsvc.sweep.run import Run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from labsvc.lab import Lab

    Scenario = Callable[[Run], Any]
    Errors = type[BaseException] | tuple[type[BaseException], ...]

WITHIN = 5.0
MOST = 500
FAREWELL_SECONDS = 1.0
ONCE: tuple[Fault, ...] = ("late", "overtaken")  # in one run: for the deadline, for the rival


def sweep(
    lab: Lab,
    scenario: Scenario,
    *,
    faults: int = 1,
    only: Sequence[Fault] = ("lost", "refused", "late", "killed"),
    within: float = WITHIN,
    until_broken: bool = False,
    at_once: int = 1,
    passes: Errors = (),
) -> Sweep:
    """Run a scenario again and again, with a fault at each point that its first run reached.

    `scenario(run)` is a function or a coroutine function. It makes what it needs anew, puts
    `run.door(service)` before each service, calls the code in question, and says with
    `run.expect(kept, broke)` what has to hold whatever went wrong. The code in question catches its
    own errors: one that leaves the scenario says nothing, and its case is "unknown".

        def order(run):
            with Store.seeded() as store:
                shop = lab.serve_grpc(AioOrderService(Orders(store)), name="orders")
                with grpc.insecure_channel(run.door(shop).target) as channel:
                    told = outcome(lambda: place_order(OrderServiceStub(channel), "u-1", LINES))
                orders = len(store.orders_of("u-1"))
                run.expect(orders <= 1, f"{orders} orders")
                run.expect(told != "OK" or orders == 1, "told OK, and no order")

        print(sweep(lab, order))

    A fault can bring up points that were not there without it: a second try. Each of them is struck
    as well, by one fault more. "late" costs the caller its deadline, and strikes once in a run, as
    "overtaken" does: there is one rival. The same code reaches the same points, in every run.

    Args:
        lab: carries the doors.
        scenario: what to run.
        faults: how many faults strike in one run at points that are there without them; with 2,
            each pair.
        only: the faults to try.
        within: seconds that one run may take. One that takes longer has broken its promise.
        until_broken: stop at the first case that breaks.
        at_once: how many cases run beside each other, which shortens the waits for deadlines; the
            scenario is then called from several threads, and names its services anew each time.
        passes: errors of the scenario that end the sweep and are raised.

    Raises:
        SweepError: the scenario raised an error without any fault, or reached no point.

    """
    cases: list[Case] = []
    waiting: deque[tuple[Plan, frozenset[Any]]] = deque([((), frozenset())])
    tried: set[frozenset[Strike]] = set()
    with quiet():
        while waiting and len(cases) < MOST:
            turn = [waiting.popleft() for _ in range(min(at_once, len(waiting)))]
            tries = _run_all(lab, scenario, [plan for plan, _ in turn], within, passes)
            for place, (run, case) in enumerate(tries):
                if _missed(run) and not case.broke:  # something came late: once more, alone
                    [tries[place]] = _run_all(lab, scenario, [run.plan], within, passes)
            for (run, case), (plan, known) in zip(tries, turn, strict=True):
                cases.append(case)
                if not plan:
                    _must_be_sound(run, case)
                for more in _next(run, known, faults, only):
                    if frozenset(more) not in tried:
                        tried.add(frozenset(more))
                        waiting.append((more, known | run.points.keys()))
            if until_broken and any(case.broke for case in cases):
                waiting.clear()
    return Sweep(tuple(cases), left=len(waiting))


def again(
    lab: Lab, scenario: Scenario, plan: Plan, within: float = WITHIN, passes: Errors = ()
) -> Case:
    """Run a scenario once more with the faults of one case; the arguments are those of `sweep`."""
    with quiet():
        [(_, case)] = _run_all(lab, scenario, [plan], within, passes)
    return case


def _next(run: Run, known: frozenset[Any], most: int, only: Sequence[Fault]) -> Iterator[Plan]:
    """Yield this run's plan with one strike more, at points that come after its last one."""
    points = list(run.points)
    last = run.plan[-1].point if run.plan else None
    if last is not None and last not in run.struck:
        return
    for point in points[points.index(last) + 1 :] if last is not None else points:
        room = most if point in known or not run.plan else most + 1
        if len(run.plan) < room:
            for fault in run.points[point]:
                over = fault in ONCE and any(strike.fault == fault for strike in run.plan)
                if fault in only and not over:
                    yield (*run.plan, Strike(point, fault))


def _missed(run: Run) -> list[Strike]:
    """Return the strikes whose point this run did not reach."""
    return [strike for strike in run.plan if strike.point not in run.struck]


def _run_all(
    lab: Lab, scenario: Scenario, plans: Sequence[Plan], within: float, passes: Errors
) -> list[tuple[Run, Case]]:
    """Run the scenario once for each plan, all at the same time, and judge each run."""
    trials = [_Trial(lab, scenario, plan, number) for number, plan in enumerate(plans, 1)]
    give_up_at = time.monotonic() + within
    try:
        return [(each.run, each.judge(give_up_at, within, passes)) for each in trials]
    finally:
        for each in trials:
            each.run.abandon()


class _Trial:
    """One run of the scenario, under way in a thread."""

    def __init__(self, lab: Lab, scenario: Scenario, plan: Plan, number: int) -> None:
        self.run = Run(lab, plan, number)
        self._scenario = scenario
        self._error: BaseException | None = None
        # A copied context keeps what is printed in the cell that swept.
        work = contextvars.copy_context().run
        self._thread = threading.Thread(
            target=work, args=(self._work,), name="labsvc-sweep", daemon=True
        )
        self._thread.start()

    def judge(self, give_up_at: float, within: float, passes: Errors) -> Case:
        """Wait for its end, and say how it went."""
        run = self.run
        self._thread.join(max(0.0, give_up_at - time.monotonic()))
        late = self._thread.is_alive()
        if late:
            run.abandon()
            self._thread.join(FAREWELL_SECONDS)
        run.abandon()
        error = None if late else self._error
        if error is not None and isinstance(error, (SweepError, passes)):
            raise error
        broke = [*run.broke]
        if late:
            broke.append(f"it did not come back within {within:g} s")
        unknown = ""
        if error is not None:
            unknown = f"the scenario raised {type(error).__name__}: {error}"
        elif missed := _missed(run):
            unknown = f"{missed[0].point} was not reached again"
        return Case(run.plan, tuple(run.points), tuple(broke), unknown)

    def _work(self) -> None:
        try:
            finish(self._scenario(self.run))
        except BaseException as error:  # noqa: BLE001  # the case tells
            self._error = error


def _must_be_sound(run: Run, case: Case) -> None:
    """Refuse a scenario that says nothing.

    Raises:
        SweepError: it failed without any fault, or reached no point.

    """
    if case.unknown:
        msg = f"without any fault, {case.unknown}; mend the scenario first"
        raise SweepError(msg)
    if not run.points and not case.broke:
        msg = (
            "the scenario reached no point where a fault could strike: call the service through"
            " `run.door(service).target` (or .url), and wait for the answer"
        )
        raise SweepError(msg)
