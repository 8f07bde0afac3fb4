"""Test-out of part 1: a page changes a cart whose contract is older or newer than one's own."""

from __future__ import annotations

import json
from contextlib import closing
from itertools import count, product
from typing import TYPE_CHECKING, Any

from grpc import RpcError
from py_mini_racer import MiniRacer

from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.cart_bodies import BAD, EDITS, NEWER
from labsvc.checks.scenarios.cart_drawn import drawn
from labsvc.checks.scenarios.cart_rules import answered_wrongly, stored_wrongly
from labsvc.checks.scenarios.cart_stage import BREAKING, COMPATIBLE, Carts, ours, published, theirs
from labsvc.checks.verdict import Verdict, broken, first_broken, solved, taught_in
from labsvc.checks.wording import summary
from labsvc.rpc.contract import ContractError

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.checks.examiner import Allowed
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

CHANGES = (*EDITS, *drawn())
REFUSE = "Every refusal is a ValueError, whatever the body has."
FIRST = "Look at the contract before anything else."
BEFORE = (
    ('{"copies": 5}', "Raise ContractError for whatever `breaking_changes` finds."),
    ("no JSON", FIRST),
)
"""(body that comes with a contract that breaks, hint)."""
PAGE = "(text) => JSON.stringify(JSON.parse(text))"
"""What the page does with an answer, in JavaScript."""


@exercise(
    "T1-cart",
    title="Test out of part 1: a cart that older and newer programs share",
    kind="function",
    deadline=20,  # for what takes a second on a quiet machine
    returns=str,
)
def cart(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`change_cart(body, which, carts, published)` changes a cart as a page asks."""
    carts = Carts(sandbox)
    with closing(MiniRacer()) as engine:
        desk = _Desk(answer, carts, engine.eval(PAGE))  # type: ignore[arg-type]
        return (
            desk.edits()
            or desk.bad_bodies()
            or desk.contracts()
            or desk.failures()
            or solved(
                "old, new and the page understood each other, and nothing was lost",
                changes=len(CHANGES),
                refused=len(BAD),
                breaking_contracts=len(BREAKING),
            )
        )


class _Desk:
    """Calls the answer as the gateway does, and looks at what the service has then."""

    def __init__(self, answer: Submission, carts: Carts, page: Callable[[str], str]) -> None:
        self._answer = answer
        self._carts = carts
        self._page = page
        self._numbers = count(1)

    def edits(self) -> Verdict | None:
        """Change carts of all writers, as agreed."""
        for fields, body in CHANGES:
            if verdict := self._edit(fields, json.dumps(body, ensure_ascii=False)):
                return verdict
        return None

    def _edit(
        self, fields: dict[str, Any], body: str, contract: Any = None, words: str = "is newer"
    ) -> Verdict | None:
        before = self._new(fields)
        outcome = self._ask(before, body, contract or published())
        if isinstance(outcome.error, ContractError):
            hint = "Ask `breaking_changes` what `published` breaks, the older contract first."
            told = f"`published` {words}, and your function raised ContractError"
            return taught_in("11", broken(told, hint))
        if outcome.error is not None:
            hint = "Any key may be missing or null, limits are included, a number may have no name."
            told = f"the body {body} is as agreed, and brought {summary(outcome.error)}"
            return taught_in("12", broken(told, hint))
        after = self._carts.kept[before.cart_id]
        return (
            stored_wrongly(before, json.loads(body), after)
            or self._put_again()
            or answered_wrongly(self._page, after, outcome.value)
        )

    def _put_again(self) -> Verdict | None:
        told = f"one change put the cart {self._carts.puts} times"
        hint = "Others may write in between, and a second `Put` writes over it."
        return taught_in("10", first_broken((self._carts.puts > 1, told, hint)))

    def bad_bodies(self) -> Verdict | None:
        """Send what was not agreed: it is refused, and the cart stays."""
        for refused, (what, body, hint) in enumerate(BAD):
            before = self._new(NEWER)
            outcome = self._ask(before, body, published(), allow=Exception)
            if outcome.error is not None and not isinstance(outcome.error, ValueError):
                told = f"with {what} in the body, {self._answer.fault(outcome.error).guarantee}"
                return taught_in("12", broken(told, REFUSE, refused=refused))
            wrong = first_broken(
                (outcome.error is None, f"a body with {what} was accepted", hint),
                (
                    self._carts.puts > 0,
                    f"a body with {what} was refused, and a cart was put all the same",
                    "Look at the whole body before you put anything.",
                ),
                refused=refused,
            )
            if wrong:
                return taught_in("12", wrong)
        return None

    def contracts(self) -> Verdict | None:
        """Publish contracts that fit, and such that break."""
        for words, edit in COMPATIBLE.items():
            if verdict := self._edit(NEWER, "{}", published(edit), words):
                return verdict
        if verdict := self._edit({}, "{}", ours().files, "is the same as yours"):
            return verdict
        for (words, edit), (body, hint) in product(BREAKING.items(), BEFORE):
            outcome = self._ask(self._new(NEWER), body, published(edit))
            did = f"raised {summary(outcome.error)}" if outcome.error else "went on"
            told = f"`published` {words}, the body is {body}, and your function"
            wrong = first_broken(
                (not isinstance(outcome.error, ContractError), f"{told} {did}", hint),
                (self._carts.gets + self._carts.puts > 0, f"{told} called the service", FIRST),
            )
            if wrong:
                return taught_in("11", wrong)
        return None

    def failures(self) -> Verdict | None:
        """Let a call to the service fail: whoever asked hears of it."""
        for method in ("Get", "Put"):
            before = self._new(NEWER)
            self._carts.failing = method
            outcome = self._ask(before, '{"copies": 5}', published(), allow=Exception)
            did = f"raised {summary(outcome.error)}" if outcome.error else "answered all the same"
            wrong = first_broken(
                (
                    not isinstance(outcome.error, RpcError),
                    f"`{method}` failed, and your function {did}",
                    "Let the error pass: whoever asked must not think that all went well.",
                ),
                (
                    method == "Get" and self._carts.puts > 0,
                    "`Get` failed, and a cart was put all the same",
                    "Without the cart nobody knows what else was in it.",
                ),
            )
            if wrong := taught_in("10", wrong) or self._put_again():
                return wrong
        return None

    def _new(self, fields: dict[str, Any]) -> Any:
        """Keep a new cart in the service, and return it."""
        made = theirs().message("Cart")(cart_id=f"c-{next(self._numbers)}", **fields)
        self._carts.kept[made.cart_id] = made
        self._carts.gets = self._carts.puts = 0
        self._carts.failing = ""
        return made

    def _ask(
        self, cart: Any, body: str | bytes, contract: Any, *, allow: Allowed | None = None
    ) -> Any:
        which = ours().message("CartId")(cart_id=cart.cart_id)
        sent = body.encode() if isinstance(body, str) else body
        return self._answer.attempt(sent, which, self._carts.stub, contract, allow=allow)
