"""Stage of notebook 42's exercise: an etcd, and what a check looks up in it itself."""

from __future__ import annotations

import itertools
import random
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pyetcd

from labsvc.checks.verdict import Verdict, broken, first_broken

if TYPE_CHECKING:
    from labsvc.checks.examiner import Allowed
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Outcome, Submission
    from labsvc.sweep import Run

TIMEOUT = 5.0  # of the learner's client, as the exercise has it
LONG = 600  # seconds of a lease that outlives the check

WHOLE = "When `beat` returns, the key has to be there: with its value, and bound to the lease."

_numbers = itertools.count(1)


class Registry:
    """One etcd for all cases of a check; a replay, which comes later, starts its own."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._service = sandbox.serve_etcd(embedded=True)
        self.ttl = random.randrange(60, 200)

    def service(self, room: Sandbox) -> Any:
        """Return the etcd to use in a case."""
        return self._service if self._service.running else room.serve_etcd(embedded=True)


class Stage:
    """One case: the way to etcd on which faults strike, and one past them for the check."""

    def __init__(self, registry: Registry, room: Sandbox, run: Run) -> None:
        service = registry.service(room)
        self._run = run
        self._door = run.door(service).target
        self._own = room.enter(closing(_client(service.target)))
        self._values: dict[str, str] = {}
        self._ttl = registry.ttl

    def new_key(self) -> str:
        """Return a key that nobody has used, for a service that is to be registered."""
        number = next(_numbers)
        key = f"/services/{random.choice(('order', 'stock', 'user'))}-{number}/10.0.0.{number}:50"
        self._values[key] = f"instance {random.randrange(1000, 10000)}"
        return key

    def beat(self, answer: Submission, key: str, lease: int, allow: Allowed | None = ()) -> Outcome:
        """Let the answer beat once, with a client of its own."""
        with closing(_client(self._door)) as etcd:
            return answer.attempt(etcd, key, self._values[key], self._ttl, lease, allow=allow)

    @property
    def refreshes(self) -> int:
        """How many requests to refresh a lease there were."""
        points = [event.point for event in self._run.events]
        return sum(each.kind == "request" and each.method == "LeaseKeepAlive" for each in points)

    def put(self, key: str, value: str = "") -> int:
        """Write a key, with its right value by default; return the lease that it is bound to."""
        lease = self._own.lease(LONG)
        self._own.put(key, value or self._values[key], lease)
        return int(lease.id)

    def delete(self, key: str) -> None:
        """Delete a key."""
        self._own.delete(key)

    def end(self, lease: int) -> None:
        """End a lease, as its time would."""
        self._own.revoke_lease(lease)

    def written(self, key: str) -> int:
        """Return the revision in which a key was written last, 0 if there is none."""
        _, found = self._own.get(key)
        return found.mod_revision if found else 0

    def judge(self, key: str, lease: int, when: str, hint: str = WHOLE) -> Verdict | None:
        """Return what is wrong in etcd after a beat returned this lease."""
        value, found = self._own.get(key)
        if found is None:
            return broken(f"{when}, and the key was not in etcd", hint)
        info = self._own.get_lease_info(lease) if lease > 0 else None
        return first_broken(
            (
                found.lease_id == 0,
                f"{when}, and the key was bound to no lease",
                "A key without a lease stays for ever. `put` takes the lease.",
            ),
            (
                info is None or info.TTL <= 0,
                f"{when}, and the lease that came back did not live",
                hint,
            ),
            (
                found.lease_id != lease,
                f"{when}, and the key was bound to another lease than the one that came back",
                WHOLE,
            ),
            (
                value.decode() != self._values[key],
                f"{when}, and the key had another value",
                WHOLE,
            ),
            (
                info is not None and info.grantedTTL != self._ttl,
                "a lease was granted for another time than `ttl`",
                "`etcd.lease` takes the seconds.",
            ),
        )


def _client(target: str) -> pyetcd.Etcd3Client:
    host, _, port = target.rpartition(":")
    own = [("grpc.use_local_subchannel_pool", 1)]
    return pyetcd.client(host, int(port), timeout=TIMEOUT, grpc_options=own)
