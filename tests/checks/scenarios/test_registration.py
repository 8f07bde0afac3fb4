from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyetcd as etcd3
import pytest
from pyetcd import etcdrpc

from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("answers_have_ended")

CHECK = "42-beat"


def ttl_of(etcd: Any, lease: int) -> int:
    """Refresh a lease and return its seconds, 0 if there is none."""
    ttl: int = next(etcd.refresh_lease(lease)).TTL if lease else 0
    return ttl


def holder(etcd: Any, key: str) -> int:
    """Return the lease of a key, -1 without a key."""
    _, found = etcd.get(key)
    return -1 if found is None else int(found.lease_id)


def stub_only(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Do nothing yet."""
    raise NotImplementedError("write this, then run the check below")  # noqa: EM101


def solution(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Solve the exercise."""
    if not ttl_of(etcd, lease):
        lease = etcd.lease(ttl).id
    if holder(etcd, key) != lease:
        etcd.put(key, value, lease)
    return lease


def with_a_lease_object(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Solve it with pyetcd's own class, and a question for the time before the refresh."""
    kept = etcd3.Lease(lease, ttl, etcd)
    if lease and kept.remaining_ttl > 0:
        kept.refresh()
    else:
        kept = etcd.lease(ttl)
    _, found = etcd.get(key)
    if not found or found.lease_id != kept.id:
        etcd.put(key, value, kept)
    return int(kept.id)


def in_one_transaction(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Solve it with a lease first, and one question that writes if need be."""
    alive = bool(lease) and etcd3.Lease(lease, ttl, etcd).refresh()[0].TTL > 0
    lease = lease if alive else etcd.lease(ttl).id
    same = etcdrpc.Compare(
        key=key.encode(), target=etcdrpc.Compare.LEASE, lease=lease, result=etcdrpc.Compare.EQUAL
    )
    put = etcdrpc.PutRequest(key=key.encode(), value=value.encode(), lease=lease)
    write = [etcdrpc.RequestOp(request_put=put)]
    etcd.kvstub.Txn(etcdrpc.TxnRequest(compare=[same], failure=write), timeout=2)
    return lease


async def as_a_coroutine(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Solve it as a coroutine."""
    return solution(etcd, key, value, ttl, lease)


def with_one_more_try(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Solve it with a new client for a second try, and the first error if that fails too."""
    try:
        return solution(etcd, key, value, ttl, lease)
    except etcd3.Etcd3Exception as first:
        host, _, port = etcd.endpoint_in_use.netloc.rpartition(":")
        with etcd3.client(host, int(port), timeout=2) as again:
            try:
                return solution(again, key, value, ttl, lease)
            except etcd3.Etcd3Exception:
                raise first from None


def does_not_read(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Refresh, and trust that an error would be raised."""
    if lease:
        list(etcd.refresh_lease(lease))
        return lease
    lease = etcd.lease(ttl).id
    etcd.put(key, value, lease)
    return lease


def any_answer_is_a_yes(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Take the list of answers for the answer."""
    if not (lease and list(etcd.refresh_lease(lease))):
        lease = etcd.lease(ttl).id
    if holder(etcd, key) != lease:
        etcd.put(key, value, lease)
    return lease


def lease_only(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Replace the lease and forget the key."""
    if not lease:
        lease = etcd.lease(ttl).id
        etcd.put(key, value, lease)
    elif not ttl_of(etcd, lease):
        lease = etcd.lease(ttl).id
    return lease


def never_looks(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Write the key with a new lease only."""
    if not ttl_of(etcd, lease):
        lease = etcd.lease(ttl).id
        etcd.put(key, value, lease)
    return lease


def looks_for_any_key(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Be content with a key, whoever has it."""
    if not ttl_of(etcd, lease):
        lease = etcd.lease(ttl).id
    etcd.put_if_not_exists(key, value, lease)
    return lease


def looks_at_the_value(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Write what is missing, and leave what a predecessor wrote until its lease ends."""
    if not ttl_of(etcd, lease):
        lease = etcd.lease(ttl).id
    found, _ = etcd.get(key)
    if found is None:
        etcd.put(key, value, lease)
    return lease


def looks_at_the_value_alone(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Be content with the right value, whoever has bound it."""
    if not ttl_of(etcd, lease):
        lease = etcd.lease(ttl).id
    if etcd.get(key)[0] != value.encode():
        etcd.put(key, value, lease)
    return lease


def adopts(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Go on with the lease of a predecessor that left the right value."""
    found, meta = etcd.get(key)
    if found == value.encode() and ttl_of(etcd, meta.lease_id):
        return int(meta.lease_id)
    return solution(etcd, key, value, ttl, lease)


def named_after_the_key(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Make the lease's id from the key, so that nobody has to remember it."""
    lease = abs(hash(key)) % 2**62 + 1
    if not ttl_of(etcd, lease):
        etcd.lease(ttl, lease)
    return solution(etcd, key, value, ttl, lease)


def new_each_time(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Take a new lease with each beat."""
    lease = etcd.lease(ttl).id
    etcd.put(key, value, lease)
    return lease


def writes_each_time(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Write with each beat."""
    if not ttl_of(etcd, lease):
        lease = etcd.lease(ttl).id
    etcd.put(key, value, lease)
    return lease


def no_refresh(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Look whether the lease lives, and leave it at that."""
    if not lease or etcd.get_lease_info(lease).TTL <= 0:
        lease = etcd.lease(ttl).id
    if holder(etcd, key) != lease:
        etcd.put(key, value, lease)
    return lease


def no_lease(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Forget to bind the key."""
    if not ttl_of(etcd, lease):
        lease = etcd.lease(ttl).id
    if holder(etcd, key) == -1:
        etcd.put(key, value)
    return lease


def another_ttl(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Know better how long."""
    return solution(etcd, key, value, 10, lease)


def another_value(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Write the address as the value."""
    return solution(etcd, key, key.rpartition("/")[2], ttl, lease)


def swallows(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Keep the loop from seeing an error."""
    try:
        return solution(etcd, key, value, ttl, lease)
    except etcd3.Etcd3Exception:
        return lease


def deletes_first(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Make room for the key, each time."""
    etcd.delete(key)
    return solution(etcd, key, value, ttl, lease)


def waits_for_the_other(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
    """Give way to another lease, and say so with 0."""
    if holder(etcd, key) not in (-1, lease):
        return 0
    return solution(etcd, key, value, ttl, lease)


def remembers() -> Callable[..., int]:
    """Return an answer that keeps the lease itself, one for all services."""
    kept: list[int] = []

    def beat(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
        if not (kept and ttl_of(etcd, kept[-1])):
            kept.append(etcd.lease(ttl).id)
        if holder(etcd, key) != kept[-1]:
            etcd.put(key, value, kept[-1])
        return kept[-1]

    return beat


def returns_the_object(etcd: Any, key: str, value: str, ttl: int, lease: int) -> Any:
    """Return the lease instead of its id."""
    granted = etcd.lease(ttl)
    etcd.put(key, value, granted)
    return granted


def test_stub() -> None:
    """An answer that was not begun is not attempted."""
    assert_not_attempted(CHECK, stub_only)


@pytest.mark.parametrize(
    "answer",
    [solution, with_a_lease_object, in_one_transaction, as_a_coroutine, with_one_more_try],
)
def test_solved(answer: Callable[..., Any]) -> None:
    """Whoever is registered after each beat has solved it, in whatever form."""
    assert_solved(CHECK, answer)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (does_not_read, "in a pause, and the key was not in etcd", "What does its answer say"),
        (any_answer_is_a_yes, "in a pause, and each further one raised", "What does its answer"),
        (lease_only, "in a pause, and the key was not in etcd", "What does its answer say"),
        (never_looks, "deleted it, and the key was not in etcd", "finds out whether the key"),
        (looks_for_any_key, "another lease held the key, and the key was bound", "has to be there"),
        (looks_at_the_value, "another lease held the key, and", "has to be there"),
        (looks_at_the_value_alone, "with the right value, and the key was bound", "has to be"),
        (adopts, "your function went on with that lease", "may revoke it"),
        (named_after_the_key, "got the lease of its predecessor", "may revoke it"),
        (new_each_time, "the next beat returned another one", "Take a new lease only"),
        (writes_each_time, "a beat wrote the key again", "Every watcher hears"),
        (no_refresh, "a beat did not refresh the lease", "Only `refresh_lease`"),
        (no_lease, "the key was bound to no lease", "stays for ever"),
        (another_ttl, "for another time than `ttl`", "takes the seconds"),
        (another_value, "the key had another value", "has to be there"),
        (swallows, "of LeaseGrant was lost: a beat had", "Then raise"),
        (deletes_first, "a beat wrote the key again", "Every watcher hears"),
        (waits_for_the_other, "the lease that came back did not live", "has to be there"),
        (returns_the_object, "your function returned a Lease", "asks for an int"),
    ],
)
def test_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each wrong answer is told what broke, with a hint that fits."""
    assert_wrong(CHECK, answer, guarantee, hint)


def remembers_each_key() -> Callable[..., int]:
    """Return an answer that keeps the leases itself, one for each key."""
    kept: dict[str, int] = {}

    def beat(etcd: Any, key: str, value: str, ttl: int, lease: int) -> int:
        kept[key] = solution(etcd, key, value, ttl, kept.get(key, 0))
        return kept[key]

    return beat


def test_wrong_memory() -> None:
    """One lease for all services is one too few, and so is one for each key."""
    assert_wrong(CHECK, remembers(), "two services got the same", "Keep nothing")
    assert_wrong(CHECK, remembers_each_key(), "the lease of its predecessor", "function know")
