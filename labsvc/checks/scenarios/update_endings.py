"""How an answer to notebook 31's exercise ended, and what is wrong with that end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2

from labsvc.checks.learner_code import chain
from labsvc.checks.verdict import Verdict, first_broken
from labsvc.checks.wording import summary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.scenarios.address_book import AddressBook
    from labsvc.checks.submission import Outcome

CHANGED = 412
FIELDS = ("street", "postcode", "city", "phone")
NO_END = "What in it waits or repeats without an end? Three tries of a request, five writes."
READ_AGAIN = "412 says that somebody was quicker: read again, and make what you write from that."


def may_be_right(error: BaseException) -> bool:
    """Return whether the text allows an error at all."""
    return names(error, FIELDS) or any(isinstance(each, httpx2.HTTPError) for each in chain(error))


def names(error: BaseException | None, fields: Sequence[str]) -> bool:
    """Return whether an error says that a field belongs to somebody else."""
    return isinstance(error, ValueError) and any(field in str(error) for field in fields)


def status(outcome: Outcome) -> int | None:
    """Return the status with which the answer failed."""
    return next(
        (
            int(each.response.status_code)
            for each in chain(outcome.error or ValueError())
            if isinstance(each, httpx2.HTTPStatusError)
        ),
        None,
    )


def lost(outcome: Outcome) -> bool:
    """Return whether the answer failed with a lost request or answer."""
    errors = chain(outcome.error or ValueError())
    return any(isinstance(each, httpx2.TransportError) for each in errors)


def ending(outcome: Outcome) -> str:
    """Say how the answer ended."""
    if outcome.error is None:
        return "your function returned as if all was well"
    return f"your function raised {summary(outcome.error)}"


def common(outcome: Outcome, book: AddressBook, lost: int = 0) -> Verdict | None:
    """Return what is wrong in any case."""
    return first_broken(
        (outcome.hung, "your function did not come back", NO_END),
        (
            not book.asked and not lost,
            "the service was not asked",
            'Ask with `client.get(f"/users/{user_id}/address")`.',
        ),
        (
            book.unconditional > 0,
            "a PUT came without If-Match",
            "The ETag of the answer that you have read goes into the header `If-Match`.",
        ),
    )


def failed(outcome: Outcome) -> Verdict | None:
    """Return what is wrong with an error where there was a way to the end."""
    if outcome.error is None:
        return None
    code, said = status(outcome), f"your function gave up: it raised {summary(outcome.error)}"
    if names(outcome.error, FIELDS):
        hint = "Nobody else had changed these fields to another value: it was yours, or the first."
    elif code == CHANGED:
        hint = READ_AGAIN
    elif code is not None:
        hint = "What did you send? A PUT takes the whole address, and nothing else."
    else:
        hint = "Three tries of each request, also after a timeout: see httpx2.TransportError."
    return first_broken((True, said, hint))
