"""Part of the check of T3: what happens to a user, and what is then true of its change.

A script says what happens to the first GETs and PUTs of one user, and what may be said at the end.
"""

from __future__ import annotations

import json
import math
import random
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import Literal

from labsvc.checks.scenarios.by_hand import head

PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Say:
    """An answer that is no success: `wait` seconds in Retry-After, `dated` the next full second."""

    status: int
    code: str = ""
    wait: int = 0
    dated: bool = False
    form: str = PROBLEM

    def written(self) -> tuple[bytes, float]:
        """Return the answer, and the seconds that it asks for."""
        members = {"title": "not now", "status": self.status, "code": self.code or None}
        body = json.dumps({name: each for name, each in members.items() if each is not None})
        body = "<h1>Bad luck</h1>" if self.form == "text/html" else body
        now = time.time()
        wait = math.ceil(now) - now if self.dated else float(self.wait)
        value = formatdate(math.ceil(now), usegmt=True) if self.dated else str(self.wait)
        lines = [f"retry-after: {value}"] if wait else []
        return head(self.status, len(body), *lines, form=self.form) + body.encode(), wait


Step = Say | Literal["lost", "cut", "silent", "drips", "stored", "stored before another's", "other"]
"""`stored`: the answer to a PUT gets lost; `other`: somebody else changes the user before it."""

BUSY = Say(503, "BUSY")


@dataclass(frozen=True)
class Script:
    """What happens to one user. `times` is how often its last request has to be sent, 0 is any."""

    what: str
    get: tuple[Step, ...] = ()
    put: tuple[Step, ...] = ()
    ends: tuple[str, ...] = ("saved",)
    times: int = 0
    notebook: str = "32"
    hint: str = "After which answers and errors is the same request sent again? Three tries."


PLAIN = Script("nothing went wrong")
READ_AGAIN = "412 says that somebody was quicker: read again, and write what you make of that."
FORMS = "Read a `code` where the content type says problem document, and nowhere else."
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
]
REFUSED = Script("each GET got 503", (BUSY,) * 9, (), ("BUSY",), 3, "32", THREE)
DRIPS = Script("a GET dripped", ("drips",), ends=("late",), notebook="30", hint=BOUNDED)
UNANSWERED = Script("a PUT got no answer", (), ("silent",) * 9, ("late", "lost"))
BESIDE = Script("two others were stuck", notebook="30", hint="They cost no other its change.")
SILENT = Script("no GET was answered", ("silent",) * 9, (), ("late", "lost"), 0, "30", BOUNDED)


def told() -> list[Script]:
    """Return the scripts of users whose end is told by a code or by a status."""
    codes = [f"REASON_{random.randrange(10**6)}" for _ in range(7)]
    html, json = "text/html", "application/json"
    return [
        Script("the GET was refused", (Say(404, codes[0]),) * 9, (), (codes[0],), 1, "31", FORMS),
        Script("the PUT was refused", (), (Say(422, codes[1]),) * 9, (codes[1],), 1, "31", FORMS),
        Script("the PUT was refused", (), (Say(409, codes[2]),) * 9, (codes[2],), 1, "31", FORMS),
        Script("the GET got a page", (Say(500, form=html),) * 9, (), ("500",), 1, "31", FORMS),
        Script("the PUT got a page", (), (Say(502, form=html),) * 9, ("502",), 1, "31", FORMS),
        Script("a problem had no code", (Say(403),) * 9, (), ("403",), 1, "31", FORMS),
        Script(
            "JSON was no problem", (Say(400, "NO", form=json),) * 9, (), ("400",), 1, "31", FORMS
        ),
        Script("each GET got 503", (Say(503, codes[3]),) * 9, (), (codes[3],), 3, "32", THREE),
        Script("each PUT got 429", (), (Say(429, codes[4]),) * 9, (codes[4],), 3, "32", THREE),
        Script("each PUT got lost", (), ("lost",) * 9, ("lost",), 3, "32", THREE),
        Script(
            "the GET got 503 and an hour to wait",
            *((Say(503, codes[5], wait=3600),) * 9, (), (codes[5],), 1, "32"),
            hint="Who waits for your function would wait as well: longer than a second is an end.",
        ),
        Script(
            "somebody was quicker each time",
            *((), ("other",) * 9, ("CHANGED",), 3, "31"),
            hint="Three rounds of reading and writing in all, and then the end is told.",
        ),
    ]
