"""Stage of notebook 31's exercise: addresses over HTTP that others change too, and a lossy way."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from labsvc.web.app_problems import answer_with_problems
from labsvc.web.etag import etag_of, must_match
from labsvc.web.problem import ProblemError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import Receive, Scope, Send

    from labsvc.sweep.points import Fault, Kind

SECONDS = 0.5  # the timeout of the client that an answer is given
USER_ID = "u-1"
ENOUGH = 20

Moment = Literal["read", "write", "written"]
"""When somebody else changes the address: after a read, before a write is looked at, after it."""

Text = Annotated[str, Field(min_length=1, max_length=60)]


class Address(BaseModel):
    """Where a user lives. A new one replaces the old one as a whole."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    street: Text
    postcode: Annotated[str, Field(pattern=r"^[0-9]{5}$")]
    city: Text
    phone: Text


class AddressBook:
    """The address of one user, as an ASGI app. `others` says what somebody else changes, and when.

    With `refusals`, each request of a method is answered with that status. `history` holds every
    state, `asked` the method of each request that was looked at, `of_others` what others changed,
    and `unconditional` counts the writes that name no state.
    """

    def __init__(
        self,
        others: Mapping[Moment, list[dict[str, str]]] | None = None,
        refusals: Mapping[str, int] | None = None,
    ) -> None:
        number = random.randrange(100, 1000)
        self.now = Address(
            street=f"{number} Old Road", postcode="10115", city="Oldham", phone=f"030-{number}"
        )
        self.history = [self.now]
        self.asked: list[str] = []
        self.of_others: dict[str, str] = {}
        self.unconditional = 0
        self._others = {moment: [*changes] for moment, changes in (others or {}).items()}
        self._refusals = dict(refusals or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        await _app({**scope, "book": self}, receive, send)

    def read(self, user_id: str, response: Response) -> Address:
        """Return the address with its ETag."""
        self._look("GET", user_id)
        found = self.now
        response.headers["etag"] = etag_of(found)
        self._somebody_else("read")
        return found

    def write(self, user_id: str, new: Address, request: Request, response: Response) -> Address:
        """Replace the address that If-Match names."""
        self.unconditional += request.headers.get("if-match", "*").strip() in ("", "*")
        self._look("PUT", user_id)
        self._somebody_else("write")
        must_match(request, self.now)
        self._store(new)
        response.headers["etag"] = etag_of(new)
        self._somebody_else("written")
        return new

    def _look(self, method: str, user_id: str) -> None:
        self.asked.append(method)
        if status := self._refusals.get(method):
            raise ProblemError(status, "not today", code="REFUSED")
        if user_id != USER_ID:
            raise ProblemError(404, "no such user", code="NO_SUCH_USER")

    def _somebody_else(self, moment: Moment) -> None:
        if left := self._others.get(moment):
            changes = left.pop(0)
            self.of_others |= changes
            self._store(self.now.model_copy(update=changes))

    def _store(self, new: Address) -> None:
        self.now = new
        self.history.append(new)


# Made once: FastAPI silences warnings while it adds a route, which two threads cannot do at once.
_app = FastAPI(title="Addresses", version="1", docs_url=None, redoc_url=None)
answer_with_problems(_app)


@_app.get("/users/{user_id}/address")
async def _get_address(user_id: str, request: Request, response: Response) -> Address:
    book: AddressBook = request.scope["book"]
    return book.read(user_id, response)


@_app.put("/users/{user_id}/address")
async def _put_address(user_id: str, new: Address, request: Request, response: Response) -> Address:
    book: AddressBook = request.scope["book"]
    return book.write(user_id, new, request, response)


class AllLost:
    """The points of a way on which each request of a method gets lost, until `ENOUGH` have come.

    `count` is how many of these came.
    """

    def __init__(self, method: str) -> None:
        self.count = 0
        self._method = method

    def reach(self, kind: Kind, method: str = "", number: int = 0) -> tuple[int, Fault | None]:
        """Lose what comes to a request of the method."""
        if (kind, method) != ("request", self._method):
            return number, None
        self.count += 1
        return self.count, "lost" if self.count < ENOUGH else None
