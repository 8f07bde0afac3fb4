from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("answers_have_ended")

EXERCISE = "31-keep-updates"


def address_of(user_id: str) -> str:
    """Return the path of an address."""
    return f"/users/{user_id}/address"


def send(client: Any, method: str, path: str, tries: int = 3, **more: Any) -> Any:
    """Send a request, so often if it gets lost."""
    for _ in range(tries - 1):
        try:
            return client.request(method, path, **more)
        except httpx2.TransportError:
            continue
    return client.request(method, path, **more)


def tag(answer: Any) -> dict[str, str]:
    """Return the header that names what was read."""
    return {"if-match": answer.headers["etag"]}


def compare(first: Any, now: Any, changes: Any) -> None:
    """Refuse to overwrite somebody else's value."""
    for field, value in changes.items():
        if now[field] not in (first[field], value):
            msg = f"{field} was changed by somebody else"
            raise ValueError(msg)


def change(
    client: Any,
    user_id: str,
    changes: Any,
    *,
    tries: int = 3,
    writes: int = 5,
    check: Callable[[Any, Any, Any], None] = compare,
) -> Any:
    """Solve the exercise, unless told to do something else."""
    path, first = address_of(user_id), None
    for _ in range(writes):
        read = send(client, "GET", path, tries).raise_for_status()
        now = read.json()
        first = first or now
        check(first, now, changes)
        written = send(client, "PUT", path, tries, json=now | changes, headers=tag(read))
        if written.status_code != 412:
            break
    return written.raise_for_status().json()


def reads_after_each_loss(client: Any, user_id: str, changes: Any) -> Any:
    """Solve it with a read before each write, also after a lost one, and no needless write."""
    path, losses, writes, first = address_of(user_id), 0, 0, None
    while True:
        read = send(client, "GET", path).raise_for_status()
        now = read.json()
        first = first or now
        compare(first, now, changes)
        if now == now | changes:
            return now
        writes += 1
        try:
            written = client.put(path, json=now | changes, headers=tag(read))
        except httpx2.TransportError:
            losses += 1
            if losses == 3:
                raise
            continue
        losses = 0
        if written.status_code != 412 or writes == 5:
            return written.raise_for_status().json()


class ChangeError(Exception):
    """An answer's own error."""


def with_a_cause(client: Any, user_id: str, changes: Any) -> Any:
    """Solve it, and fail with an error of its own that keeps the cause."""
    try:
        return change(client, user_id, changes)
    except httpx2.HTTPError as error:
        msg = "no change today"
        raise ChangeError(msg) from error


async def on_asyncio(client: Any, user_id: str, changes: Any) -> Any:
    """Solve it in a thread."""
    return await asyncio.to_thread(change, client, user_id, changes)


def goes_on(client: Any, user_id: str, changes: Any, tries: int) -> Any:
    """Solve it by recursion."""
    path = address_of(user_id)
    read = send(client, "GET", path).raise_for_status()

    def again(read: Any, left: int) -> Any:
        body = {**read.json(), **changes}
        written = send(client, "PUT", path, json=body, headers=tag(read))
        if written.status_code == 412 and left > 1:
            newer = send(client, "GET", path).raise_for_status()
            compare(first, newer.json(), changes)
            return again(newer, left - 1)
        return written.raise_for_status().json()

    first = read.json()
    return again(read, tries)


@pytest.mark.parametrize(
    "answer",
    [
        change,
        reads_after_each_loss,
        with_a_cause,
        on_asyncio,
        lambda client, user_id, changes: goes_on(client, user_id, changes, 5),
    ],
)
def test_keep_updates_solved(answer: Callable[..., Any]) -> None:
    """Whoever merges what was read last, and compares with what was read first, has solved it."""
    assert_solved(EXERCISE, answer)


def test_keep_updates_stub() -> None:
    """The stub is not attempted."""

    def stub(client: Any, user_id: str, changes: Any) -> Any:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)


def no_match(client: Any, user_id: str, changes: Any) -> Any:
    """Write without saying what it is based on."""
    path = address_of(user_id)
    now = send(client, "GET", path).json()
    return send(client, "PUT", path, json=now | changes).raise_for_status().json()


def any_match(client: Any, user_id: str, changes: Any) -> Any:
    """Write whatever is there."""
    path = address_of(user_id)
    now = send(client, "GET", path).json()
    written = send(client, "PUT", path, json=now | changes, headers={"if-match": "*"})
    return written.raise_for_status().json()


def fresh_tag_on_old_content(client: Any, user_id: str, changes: Any) -> Any:
    """Read anew for the tag only."""
    path = address_of(user_id)
    now = send(client, "GET", path).json()
    for _ in range(5):
        read = send(client, "GET", path)
        written = send(client, "PUT", path, json=now | changes, headers=tag(read))
        if written.status_code != 412:
            break
    return written.raise_for_status().json()


def only_the_changes(client: Any, user_id: str, changes: Any) -> Any:
    """Send a part of the address."""
    path = address_of(user_id)
    read = send(client, "GET", path)
    written = send(client, "PUT", path, json=changes, headers=tag(read))
    return written.raise_for_status().json()


def takes_412_for_done(client: Any, user_id: str, changes: Any) -> Any:
    """Think that 412 after a write means that it is stored."""
    path = address_of(user_id)
    read = send(client, "GET", path)
    now = read.json() | changes
    written = send(client, "PUT", path, json=now, headers=tag(read))
    return now if written.status_code == 412 else written.raise_for_status().json()


def takes_a_loss_for_done(client: Any, user_id: str, changes: Any) -> Any:
    """Think that a write whose answer is lost is stored."""
    path, first = address_of(user_id), None
    for _ in range(5):
        read = send(client, "GET", path).raise_for_status()
        first = first or read.json()
        compare(first, read.json(), changes)
        new = read.json() | changes
        try:
            written = client.put(path, json=new, headers=tag(read))
        except httpx2.TransportError:
            return new
        if written.status_code != 412:
            break
    return written.raise_for_status().json()


def no_check(first: Any, now: Any, changes: Any) -> None:
    """Overwrite what anybody has written."""


def any_change(first: Any, now: Any, changes: Any) -> None:
    """Give up when anything has changed."""
    if first != now:
        msg = f"somebody changed {[field for field in now if now[field] != first[field]]}"
        raise ValueError(msg)


def no_name(first: Any, now: Any, changes: Any) -> None:
    """Refuse without the name of the field."""
    try:
        compare(first, now, changes)
    except ValueError:
        msg = "somebody was quicker"
        raise ValueError(msg) from None


def names_every_field(client: Any, user_id: str, changes: Any) -> Any:
    """Say the same of each conflict."""
    try:
        return change(client, user_id, changes)
    except ValueError as error:
        msg = "look at street, postcode, city and phone"
        raise ValueError(msg) from error


def adds_to_the_changes(client: Any, user_id: str, changes: Any) -> Any:
    """Take what others have written for changes of its own."""
    path, first = address_of(user_id), None
    for _ in range(5):
        read = send(client, "GET", path).raise_for_status()
        first = first or read.json()
        compare(first, read.json(), changes)
        changes = read.json() | changes
        written = send(client, "PUT", path, json=changes, headers=tag(read))
        if written.status_code != 412:
            break
    return written.raise_for_status().json()


def writes_and_raises(client: Any, user_id: str, changes: Any) -> Any:
    """See the conflict when it is too late."""
    now = None

    def note(first: Any, read: Any, changes: Any) -> None:
        nonlocal now
        now = first, read, changes

    told = change(client, user_id, changes, check=note)
    assert now is not None
    compare(*now)
    return told


def nothing_to_do(client: Any, user_id: str, changes: Any) -> Any:
    """Read once more, so that the first value is forgotten."""
    now = send(client, "GET", address_of(user_id)).raise_for_status().json()
    return now if now | changes == now else change(client, user_id, changes)


class _Edited:
    """A client whose requests are changed on their way."""

    def __init__(self, client: Any, edit: Callable[[Any], Any]) -> None:
        self._client, self._edit = client, edit

    def request(self, method: str, path: str, **more: Any) -> Any:
        """Send another one."""
        if "headers" in more:
            more["headers"] = self._edit(more["headers"])
        return self._client.request(method, path, **more)


def other_header(client: Any, user_id: str, changes: Any) -> Any:
    """Name the tag in the header that is for reading."""

    def edit(headers: Any) -> Any:
        return {"if-none-match": headers["if-match"]}

    return change(_Edited(client, edit), user_id, changes)


def tag_without_quotes(client: Any, user_id: str, changes: Any) -> Any:
    """Take the quotes for no part of the tag."""

    def edit(headers: Any) -> Any:
        return {"if-match": headers["if-match"].strip('"')}

    return change(_Edited(client, edit), user_id, changes)


def last_read(client: Any, user_id: str, changes: Any) -> Any:
    """Compare with what was read last, so that nothing ever differs."""

    def check(first: Any, now: Any, changes: Any) -> None:
        compare(now, now, changes)

    return change(client, user_id, changes, check=check)


def keeps_theirs(client: Any, user_id: str, changes: Any) -> Any:
    """Leave somebody else's field, and say nothing."""
    try:
        return change(client, user_id, changes)
    except ValueError:
        return client.get(address_of(user_id)).json()


def retries_all(client: Any, user_id: str, changes: Any) -> Any:
    """Try again whatever the status."""
    path = address_of(user_id)
    for _ in range(5):
        read = send(client, "GET", path)
        if read.is_success:
            written = send(client, "PUT", path, json=read.json() | changes, headers=tag(read))
            if written.is_success:
                return written.json()
    return read.raise_for_status().json()


def hides_refusals(client: Any, user_id: str, changes: Any) -> Any:
    """Return something when the service refuses."""
    try:
        return change(client, user_id, changes)
    except httpx2.HTTPStatusError:
        return {}


def hides_losses(client: Any, user_id: str, changes: Any) -> Any:
    """Return something when all tries are lost."""
    try:
        return change(client, user_id, changes)
    except httpx2.TransportError:
        return {}


def loses_heart(client: Any, user_id: str, changes: Any) -> Any:
    """Give up at 412 when a write was sent again: that may have been its own."""
    path, first = address_of(user_id), None
    for _ in range(5):
        read = send(client, "GET", path).raise_for_status()
        now = read.json()
        first = first or now
        compare(first, now, changes)
        more = {"json": now | changes, "headers": tag(read)}
        try:
            written = client.put(path, **more)
        except httpx2.TransportError:
            return send(client, "PUT", path, 2, **more).raise_for_status().json()
        if written.status_code != 412:
            break
    return written.raise_for_status().json()


def for_ever(client: Any, user_id: str, changes: Any) -> Any:
    """Send until something comes back."""
    return change(client, user_id, changes, tries=1000)


def returns_the_read(client: Any, user_id: str, changes: Any) -> Any:
    """Return what was read before the write."""
    change(client, user_id, changes)
    return {**changes, "city": "Nowhere", "phone": "1"}


def returns_nothing(client: Any, user_id: str, changes: Any) -> Any:
    """Forget the return."""
    change(client, user_id, changes)


def asks_nobody(client: Any, user_id: str, changes: Any) -> Any:
    """Make an address up."""
    return changes


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (no_match, "a PUT came without If-Match", "ETag"),
        (any_match, "a PUT came without If-Match", "ETag"),
        (fresh_tag_on_old_content, "city and phone, and that is gone", "made from the same answer"),
        (only_the_changes, "gave up: it raised HTTPStatusError", "takes the whole address"),
        (takes_412_for_done, "street and postcode did not change", "Only a 2xx to a PUT"),
        (takes_a_loss_for_done, "each PUT got lost, and your function sent 1", "3 tries"),
        (
            lambda *args: change(*args, writes=1),
            "gave up: it raised HTTPStatusError",
            "read again, and make what you write from that",
        ),
        (lambda *args: change(*args, writes=4), "wrote 4 times", "5 writes at most"),
        (lambda *args: change(*args, writes=6), "wrote 6 times", "5 writes at most"),
        (lambda *args: change(*args, writes=1000), "wrote 101 times", "5 writes at most"),
        (
            lambda *args: change(*args, tries=1),
            "each GET got lost, and your function sent 1",
            "3 tries of a request",
        ),
        (lambda *args: change(*args, tries=2), "your function sent 2", "3 tries"),
        (lambda *args: change(*args, tries=4), "your function sent 4", "Count the first one"),
        (
            loses_heart,
            "the answer to request 1 of PUT was lost: your function gave up",
            "read again, and make",
        ),
        (for_ever, "your function sent 20", "Count the first one"),
        (lambda *args: change(*args, check=no_check), "and your function overwrote it", "neither"),
        (last_read, "and your function overwrote it", "neither the first"),
        (
            lambda *args: change(*args, check=any_change),
            "gave up: it raised ValueError",
            "Nobody else had changed",
        ),
        (
            lambda *args: change(*args, check=no_name),
            "ValueError: somebody was quicker",
            "Try that line",
        ),
        (names_every_field, "your ValueError names every field", "which one"),
        (adds_to_the_changes, "gave up: it raised ValueError", "Nobody else had changed"),
        (other_header, "a PUT came without If-Match", "ETag"),
        (writes_and_raises, "and your function overwrote it", "neither the first"),
        (nothing_to_do, "and your function overwrote it", "neither the first"),
        (tag_without_quotes, "gave up: it raised HTTPStatusError", "What did you send"),
        (keeps_theirs, "returned as if all was well", "ValueError whose text has"),
        (retries_all, "overwrote it", "neither the first"),
        (
            hides_refusals,
            "said 404 to the GET, and your function returned",
            "raise_for_status",
        ),
        (hides_losses, "each GET got lost, and your function returned", "TransportError"),
        (returns_the_read, "none that the service has had", "last answer"),
        (returns_nothing, "returned None", "Is there a `return`"),
        (asks_nobody, "the service was not asked", "client.get"),
    ],
)
def test_keep_updates_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)


def test_a_final_status_is_asked_for_once() -> None:
    """A refusal that no further try mends is not worth another one."""

    def asks_thrice(client: Any, user_id: str, changes: Any) -> Any:
        for _ in range(2):
            try:
                return change(client, user_id, changes)
            except httpx2.HTTPStatusError as error:
                if error.response.status_code == 412:
                    raise
        return change(client, user_id, changes)

    assert_wrong(EXERCISE, asks_thrice, "said 404 to the GET, and was asked 3 times", "lost")
