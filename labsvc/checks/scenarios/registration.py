"""Exercise of notebook 42: a registration that survives its keeper's pause."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.registry import Registry, Stage
from labsvc.checks.verdict import Verdict, broken, first_broken, solved

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

BEATS = 3
TRIES = 3  # of one beat: one fault strikes in a run, so the second one meets a healthy etcd

RAISE = "Did etcd fail in between? Then raise: the loop calls again with the lease it had."
READ = "A refresh of a lease that is over raises nothing. What does its answer say?"
REVOKED = "Its owner may revoke it, and the key goes with it."
LOOK = "What in your function finds out whether the key is there, and whose it is?"


@exercise("42-beat", title="Stay registered over a pause", returns=int, deadline=30)
def beat(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`beat(etcd, key, value, ttl, lease)` keeps a key and its lease, and says which lease."""
    check = _Check(Registry(sandbox))
    cases = Cases(answer, sandbox)
    return (
        cases.broken(check.starts)
        or cases.broken(check.goes_on)
        or cases.broken(check.is_paused)
        or cases.broken(check.is_deleted)
        or cases.broken(check.is_paused, only=("lost",))
        or solved(
            "the service was registered after each beat, whatever had come between",
            cases=cases.count,
        )
    )


class _Check:
    """The cases. They share one etcd, and each has keys of its own."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def starts(self, answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        """Register, with and without what a predecessor has left."""
        stage = Stage(self._registry, room, run)
        fresh, left, same = stage.new_key(), stage.new_key(), stage.new_key()
        theirs = (stage.put(left, "left behind"), stage.put(same))
        held = "another lease held the key"
        leases = []
        for key, when in (
            (fresh, "the first beat had returned"),
            (left, held),
            (same, f"{held}, with the right value"),
        ):
            lease = stage.beat(answer, key, 0).value
            if lease in leases:
                return broken(
                    "two services got the same lease",
                    "If one of them leaves, the other goes too. Keep nothing between calls.",
                )
            if lease in theirs:
                return broken(f"{when}, and your function went on with that lease", REVOKED)
            if fault := stage.judge(key, lease, when):
                return fault
            leases.append(lease)
        if stage.beat(answer, fresh, 0).value in leases:
            return broken(
                "a service started anew, with lease 0, and got the lease of its predecessor",
                f"{REVOKED} From where does your function know that lease?",
            )
        return None

    def goes_on(self, answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        """Beat for two services in turn, while nothing happens."""
        stage = Stage(self._registry, room, run)
        keys = [stage.new_key(), stage.new_key()]
        leases = {key: stage.beat(answer, key, 0).value for key in keys}
        written = {key: stage.written(key) for key in keys}
        for _, key in itertools.product(range(BEATS), keys):
            refreshed = stage.refreshes
            lease = stage.beat(answer, key, leases[key]).value
            fault = first_broken(
                (
                    lease != leases[key],
                    "a lease was alive, and the next beat returned another one",
                    "Take a new lease only when there is none to go on with.",
                ),
                (
                    stage.refreshes == refreshed,
                    "a beat did not refresh the lease",
                    "Only `refresh_lease` gives a lease its full time again.",
                ),
            ) or stage.judge(key, lease, "the beats went on")
            if fault:
                return fault
            if stage.written(key) != written[key]:
                return broken(
                    "all was well, and a beat wrote the key again",
                    "Every watcher hears of each write. Read first: is the key there, with this"
                    " lease?",
                )
        return None

    def is_paused(self, answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        """Let the lease end between two beats. Faults of the run strike in either."""
        stage = Stage(self._registry, room, run)
        key, lease = stage.new_key(), 0
        for when in ("a beat had returned", "the lease had ended in a pause"):
            if lease:
                stage.end(lease)
            for _ in range(TRIES):
                outcome = stage.beat(answer, key, lease, allow=None)
                if outcome.error is None:
                    break
            else:
                return broken(
                    f"{when}, and each further one raised {type(outcome.error).__name__}", READ
                )
            if fault := stage.judge(key, outcome.value, when, RAISE if run.struck else READ):
                return fault
            lease = outcome.value
        return None

    def is_deleted(self, answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        """Let another program delete the key, or a predecessor write it late."""
        stage = Stage(self._registry, room, run)
        key = stage.new_key()
        lease = stage.beat(answer, key, 0).value
        for late in (False, True):
            stage.delete(key)
            if late:
                stage.put(key, "written late")
            outcome = stage.beat(answer, key, lease)
            when = "another lease had taken the key" if late else "another program had deleted it"
            if fault := stage.judge(key, outcome.value, when, LOOK):
                return fault
            if outcome.value != lease:
                return broken(
                    f"{when}, and the beat took a new lease",
                    "The lease lives: keep it. Only the key has to be written.",
                )
        return None
