"""An update that says what it is based on, so that it overwrites nobody's: ETag, notebook 31.

    @app.get("/users/{user_id}/address")
    async def get_address(user_id: str, response: Response) -> Address:
        response.headers["etag"] = etag_of(addresses[user_id])
        return addresses[user_id]

    @app.put("/users/{user_id}/address")
    async def put_address(user_id: str, new: Address, request: Request) -> Address:
        must_match(request, addresses[user_id])
        addresses[user_id] = new
        ...

Nothing may come between `must_match` and the write: no `await` in a handler on a loop, and in a
database one statement, `UPDATE ... WHERE version = ?`. RFC 9110, sections 8.8.3 and 13.1.1.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

from labsvc.web.problem import ProblemError

if TYPE_CHECKING:
    from fastapi import Request
    from pydantic import BaseModel

__all__ = ["etag_of", "must_match"]

_LIST = re.compile(r'\s*(?:W/)?"[!#-~\x80-\xff]*"\s*(?:,\s*(?:W/)?"[!#-~\x80-\xff]*"\s*)*')
_STRONG = re.compile(r'(?<!W/)"[!#-~\x80-\xff]*"(?=\s*(?:,|$))')


def etag_of(state: BaseModel) -> str:
    """Return the entity tag of a state: equal for equal content, and for nothing else."""
    digest = hashlib.sha256(state.model_dump_json().encode()).hexdigest()
    return f'"{digest[:32]}"'


def must_match(request: Request, state: BaseModel) -> None:
    """Refuse an update unless it is based on this state.

    Raises:
        ProblemError: 428 without If-Match, 400 if that is no list of entity tags, 412 if the state
            is another by now.

    """
    given = ",".join(request.headers.getlist("if-match")).strip()
    if not given:
        raise ProblemError(428, "send If-Match with the ETag that you have read", code="NO_MATCH")
    if given == "*":  # any state will do
        return
    if not _LIST.fullmatch(given):
        raise ProblemError(400, "If-Match has to be a list of entity tags", code="BAD_MATCH")
    if etag_of(state) not in _STRONG.findall(given):  # a weak tag never matches
        raise ProblemError(412, "it was changed meanwhile: read it again", code="CHANGED")
