"""Stage of T3-save: users over HTTP that others change too, in trouble as their scripts say."""

from __future__ import annotations

import itertools
import json
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from labsvc.checks.scenarios.by_hand import ByHand, drip, head, silence
from labsvc.checks.scenarios.saving_scripts import Say

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.by_hand import Request
    from labsvc.checks.scenarios.saving_scripts import Script, Step

NO_CONTENT = 204
STORED = (200, 201, 202, NO_CONTENT)

_numbers = itertools.count(1)


@dataclass
class Came:
    """One request: when it came, was answered, and the seconds for which that asked."""

    method: str
    at: float
    said: Step | None
    answered: float = 0.0
    wait: float = 0.0


@dataclass
class User:
    """What is stored of one user, and what each side changes."""

    name: str
    script: Script
    now: dict[str, Any] = field(init=False)
    asked: list[Came] = field(default_factory=list)
    of_others: dict[str, Any] = field(default_factory=dict)
    version: int = field(default_factory=lambda: random.randrange(10**6))
    blind: int = 0  # writes that name no state
    stored: int = 0  # writes that were

    def __post_init__(self) -> None:
        """Draw the values: nested ones and nulls too, in what is stored and in what is changed."""
        number = random.randrange(100, 1000)
        self.now = {"street": f"{number} Old Road", "phone": f"030-{number}", "fax": None}
        self.now |= {"door": {"code": number, "floor": None}, "card": {"kind": "A", "until": 2030}}
        self.now |= {"postcode": f"10{number}", f"field{number}": [number]}
        self.first = dict(self.now)
        new = {"street": f"{number} New Road", "card": {"kind": "B"}, "postcode": None}
        old = {"street": self.now["street"]}
        self.change = {"new": new, "as it is": old, "empty": {}}[self.script.change]

    @property
    def wanted(self) -> dict[str, Any]:
        """What has to be stored in the end, if the change was saved."""
        return self.first | self.of_others | self.change

    def tries(self, method: str) -> int:
        """Return how many requests of a method came."""
        return sum(came.method == method for came in self.asked)

    def comes(self, method: str) -> Came:
        """Note a request; its script says what happens to it."""
        steps = self.script.get if method == "GET" else self.script.put
        number = self.tries(method)
        came = Came(method, time.time(), steps[number] if number < len(steps) else None)
        self.asked.append(came)
        return came

    def answer(self, came: Came, request: Request) -> bytes:
        """Do what was asked, unless the script is against it; return what is answered.

        Raises:
            ConnectionResetError: nothing is.

        """
        step = came.said
        if step == "lost":
            raise ConnectionResetError
        if step == "other":
            self._somebody_else()
        say = step if isinstance(step, Say) else None
        if say is None and came.method == "PUT":
            say = self._write(request.headers.get("if-match", ""), request.body)
        if step == "stored before another's":
            self._somebody_else()
        if step in ("stored", "stored before another's"):
            raise ConnectionResetError
        if say:
            written, came.wait = say.written()
            return written
        status = 200 if came.method == "GET" else random.choice(STORED)
        body = b"" if status == NO_CONTENT else json.dumps(self.now).encode()
        written = head(status, len(body), f"etag: {self._etag}") + body
        return written[:-2] if step == "cut" else written

    def _somebody_else(self) -> None:
        """Change what is not the caller's."""
        self.of_others = {"phone": f"040-{random.randrange(10**6)}"}
        self._store(self.now | self.of_others)

    def _write(self, match: str, body: bytes) -> Say | None:
        """Replace the user, if it is still the one that `match` names."""
        self.blind += match in ("", "*")
        if match != self._etag:
            return Say(428, "NO_MATCH") if match in ("", "*") else Say(412, "CHANGED")
        try:
            new = json.loads(body)
        except ValueError:
            new = None
        if not isinstance(new, dict):
            return Say(422, "NO_JSON")
        self._store(new)
        self.stored += 1
        return None

    @property
    def _etag(self) -> str:
        """What stands for the state that is stored."""
        return f'"{self.version}"'

    def _store(self, new: dict[str, Any]) -> None:
        self.now = new
        self.version += 1


class Users(ByHand):
    """The service: `GET` and `PUT /users/{name}`. `strays` are paths that are no user's."""

    def __init__(self, room: Sandbox, scripts: Sequence[Script]) -> None:
        made = [User(_name(), script) for script in scripts]
        self.users = {user.name: user for user in made}
        self.strays: list[str] = []
        super().__init__(room, f"users-{next(_numbers)}")

    @property
    def arguments(self) -> tuple[str, dict[str, dict[str, Any]]]:
        """What the answer is called with."""
        return self.url, {name: dict(user.change) for name, user in self.users.items()}

    async def answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Do what the script of the user says."""
        name = request.path.removeprefix("/users/")
        user = None if "/" in name else self.users.get(unquote(name))
        if user is None or request.method not in ("GET", "PUT"):
            self.strays.append(request.path)
            writer.write(Say(404, "NOTHING_HERE").written()[0])
            return
        came = user.comes(request.method)
        if came.said is None:  # who is refused is answered at once: pauses are measured
            await self.meet(len(self.users))
        if came.said == "silent":
            await silence(reader)
        if came.said == "drips":
            await drip(reader, writer)
        came.answered = time.time()  # before it can be read: no pause is measured too short
        writer.write(user.answer(came, request))
        await writer.drain()
        if came.said == "cut":
            raise ConnectionResetError


def _name() -> str:
    """Draw a name that is no part of a path before it is quoted."""
    number = random.randrange(10**6)
    return f"u{number}{random.choice(('/', '?', '#', '%41'))}ü {number % 10}"
