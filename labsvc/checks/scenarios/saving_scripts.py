"""Part of the check of T3: what happens to a user, and what is then true of its change.

A script says what happens to the first GETs and PUTs of one user, and what may be said at the end.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import Literal

from labsvc.checks.scenarios.by_hand import head

PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Say:
    """An answer by script: `wait` seconds in Retry-After, `dated` from the next full second on.

    Without a `body` it has a problem document.
    """

    status: int
    code: str = ""
    wait: int = 0
    dated: bool = False
    form: str = PROBLEM
    body: str = ""
    etag: str = ""

    def written(self) -> tuple[bytes, float]:
        """Return the answer, and the seconds that it asks for."""
        members = {"title": "not now", "status": self.status, "code": self.code}
        body = self.body or json.dumps({name: each for name, each in members.items() if each})
        now = time.time()
        date = math.ceil(now) + self.wait
        wait = date - now if self.dated else float(self.wait)
        value = formatdate(date, usegmt=True) if self.dated else str(self.wait)
        lines = [f"retry-after: {value}"] if wait else []
        lines += [f"etag: {self.etag}"] if self.etag else []
        return head(self.status, len(body), *lines, form=self.form) + body.encode(), wait


Step = Say | Literal["lost", "cut", "silent", "drips", "stored", "stored before another's", "other"]
"""`stored`: the answer to a PUT gets lost; `other`: somebody else changes the user before it."""

BUSY = Say(503, "BUSY")


@dataclass(frozen=True)
class Script:
    """What happens to one user. `times` is how often its last request has to be sent, 0 is any.

    `hint` is for who says another end, or gives up; `more` for who tries more often.
    """

    what: str
    get: tuple[Step | None, ...] = ()
    put: tuple[Step | None, ...] = ()
    ends: tuple[str, ...] = ("saved",)
    times: int = 0
    notebook: str = "32"
    hint: str = "After which answers and errors is the same request sent again? Three tries."
    more: str = ""
    change: Literal["new", "as it is", "empty"] = "new"


PLAIN = Script("nothing went wrong")
READ_AGAIN = "412 says that somebody was quicker: read again, and write what you make of that."
THREE = "Three tries of each request. Count the first one too."
BOUNDED = "What bounds the whole, and what does your dictionary say until a user has its end?"

MENDED = [
    Script("two GETs got lost", ("lost", "lost")),
    Script("the answer to a GET broke off", ("cut",)),
    Script("two PUTs got lost", put=("lost", "lost")),
    Script("two PUTs were answered with 503", put=(BUSY, BUSY)),
    Script("two GETs and two PUTs failed", ("lost", BUSY), (BUSY, "lost")),
    Script(
        "a PUT was stored, and its answer lost", put=("stored",), notebook="31", hint=READ_AGAIN
    ),
    Script(
        "a PUT was stored and overtaken",
        put=("stored before another's",),
        notebook="31",
        hint=READ_AGAIN,
    ),
    Script("somebody was quicker once", put=("other",), notebook="31", hint=READ_AGAIN),
    Script("somebody was quicker twice", put=("other",) * 2, notebook="31", hint=READ_AGAIN),
    Script("a 412 came between", put=(BUSY, "other", BUSY), hint=THREE),
    Script("a PUT had to wait a second", put=(Say(429, "FULL", wait=1),)),
    Script("a GET had to wait until a date", (Say(503, "BUSY", dated=True),)),
    Script("a user was as wanted already", change="as it is", notebook="31"),
    Script("a change was empty", change="empty", notebook="31"),
]
PAUSED = Script(
    "each request of two rounds got 503 twice",
    (BUSY, BUSY, None, BUSY, BUSY),
    (BUSY, BUSY, "other", BUSY, BUSY),
    hint="Three tries of each request: those of the second round are counted anew.",
)
WAITS = Script("a GET had to wait a second", (Say(429, "FULL", wait=1),))
DRIPS = Script("a GET dripped", ("drips",), ends=("late",), notebook="30", hint=BOUNDED)
UNANSWERED = Script("a PUT got no answer", (), ("silent",) * 9, ("late", "lost"))
BESIDE = Script("two others were stuck", notebook="30", hint="They cost no other its change.")
SILENT = Script("no GET was answered", ("silent",) * 9, (), ("late", "lost"), 0, "30", BOUNDED)
