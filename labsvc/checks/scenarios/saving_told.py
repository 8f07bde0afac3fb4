"""Part of the check of T3: users whose change cannot be saved, and by what its end is told."""

from __future__ import annotations

import random

from labsvc.checks.scenarios.saving_scripts import PROBLEM, THREE, Say, Script

ONCE = "Only 429, 503 and a TransportError are worth another try of the same request."
OF_A_PUT = "Only a 412 to a PUT starts another round."
FORMS = "Read a `code` where the content type says problem document, and nowhere else."
CHARSET = f"A content type may go on after a `;`, as in `{PROBLEM}; charset=utf-8`."
NO_CODE = "Where no `code` that is a text can be read, the status is the end, whatever the body is."
NO_USER = "Without JSON of a user and its ETag there is nothing to PUT: the status is the end."
ENOUGH = "Who waits for your function would wait as well: longer than a second is an end."
ROUNDS = "Three rounds of reading and writing in all, and then the end is told."


def told() -> list[Script]:
    """Return the scripts of users whose end is told by a code or by a status."""
    codes = [f"REASON_{number}" for number in random.sample(range(10**6), 9)]
    return [*_refused(codes[:5]), *_without_code(), *_again_and_again(codes[5:])]


def _refused(codes: list[str]) -> list[Script]:
    """Return users with whom one request is refused, with a code."""
    rare = random.choice((401, 405, 410, 422, 451, 500, 504))
    return [
        _get("a GET was refused", Say(404, codes[0]), codes[0]),
        _put("a PUT was refused", Say(428, codes[1]), codes[1]),
        _put("a PUT was refused", Say(rare, codes[2]), codes[2]),
        _put(
            "a problem document named its charset",
            *(Say(409, codes[3], form=f"{PROBLEM}; charset=utf-8"), codes[3], CHARSET),
        ),
        _get("a GET was answered with 412", Say(412, codes[4]), codes[4], more=OF_A_PUT),
    ]


def _without_code() -> list[Script]:
    """Return users whose end is a status, for there is nothing else to read."""
    html, json, page = "text/html", "application/json", "<h1>Bad luck</h1>"
    return [
        _get("a GET got a page", Say(500, form=html, body=page), "500"),
        _put("a PUT got a page", Say(502, form=html, body=page), "502"),
        _put("a PUT was sent elsewhere", Say(302, form=html, body=page), "302", "2xx is a success"),
        _get("a problem had no code", Say(403), "403"),
        _get("JSON was no problem", Say(400, "NO", form=json), "400"),
        _put("a problem was a list", Say(400, body='["code"]'), "400", NO_CODE),
        _get("the code of a problem was a number", Say(410, body='{"code": 17}'), "410", NO_CODE),
        _put("a problem could not be read", Say(500, body='{"code": '), "500", NO_CODE),
        _get("a GET brought no ETag", Say(200, form=json, body='{"a": 1}'), "200", NO_USER),
        _get("a GET brought no JSON", Say(200, form=html, body=page, etag='"1"'), "200", NO_USER),
    ]


def _again_and_again(codes: list[str]) -> list[Script]:
    """Return users with whom each try fails, or is not worth another."""
    hours, seconds = Say(503, codes[2], wait=3600), Say(429, codes[3], wait=2, dated=True)
    soon = Say(503, codes[2], wait=2)
    return [
        Script("each GET got 503", (Say(503, codes[0]),) * 9, (), (codes[0],), 3, "32", THREE),
        Script("each PUT got 429", (), (Say(429, codes[1]),) * 9, (codes[1],), 3, "32", THREE),
        Script("each PUT got lost", (), ("lost",) * 9, ("lost",), 3, "32", THREE),
        Script("a GET got 503 and an hour to wait", (hours,) * 9, (), (codes[2],), 1, "32", ENOUGH),
        Script("a GET got 503 and 2 seconds", (soon,) * 9, (), (codes[2],), 1, "32", ENOUGH),
        Script("a PUT got 429 and a date", (), (seconds,) * 9, (codes[3],), 1, "32", ENOUGH),
        Script("somebody was quicker each time", (), ("other",) * 9, ("CHANGED",), 3, "31", ROUNDS),
    ]


def _get(what: str, say: Say, end: str, hint: str = FORMS, more: str = ONCE) -> Script:
    return Script(what, (say,) * 9, (), (end,), 1, "31", hint, more)


def _put(what: str, say: Say, end: str, hint: str = FORMS, more: str = ONCE) -> Script:
    return Script(what, (), (say,) * 9, (end,), 1, "31", hint, more)
