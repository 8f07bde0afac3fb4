from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

from labsvc.checks.scenarios import on_call
from labsvc.incidents import INCIDENTS, payment
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labsvc.incidents import Shop

ONE = "63-one"
TWO = "63-two"


OVER = threading.Event()


@pytest.fixture(autouse=True)
def _over() -> Iterator[None]:
    """Say when a test is over to what an answer has left behind."""
    OVER.clear()
    yield
    OVER.set()


@pytest.fixture(autouse=True)
def _shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Watch for as long as it takes to tell; a learner's check takes longer, to be sure."""
    monkeypatch.setattr(on_call, "WARM_SECONDS", 0.5)
    monkeypatch.setattr(on_call, "SETTLE_SECONDS", 3.0)
    monkeypatch.setattr(on_call, "LEVEL_SECONDS", 3.0)
    monkeypatch.setattr(on_call, "WITHIN_SECONDS", 10.0)


def mend_one(shop: Shop) -> str:
    """Solve the first exercise."""
    shop.orders.payment_timeout = 0.4
    return "C34"


def mend_shorter(shop: Shop) -> str:
    """Give payment less time, and one more try."""
    shop.orders.payment_timeout, shop.orders.payment_tries = 0.25, 3
    return "C34"


def mend_as_the_course(shop: Shop) -> str:
    """Take the catalogue's own mend."""
    INCIDENTS["missing-deadline"].mend(shop)
    return INCIDENTS["missing-deadline"].causes[0]


def mend_and_tidy_up(shop: Shop) -> str:
    """Put back what else was changed that day, too."""
    shop.orders.payment_timeout = 0.4
    shop.orders.tries, shop.orders.pause, shop.orders.keepalive = 2, 0.05, True
    shop.mails.prefetch = 2
    return "C34"


@pytest.mark.parametrize("answer", [mend_one, mend_shorter, mend_as_the_course, mend_and_tidy_up])
def test_one_is_solved(answer: Callable[..., object]) -> None:
    """Any bound that leaves room for a second try will do."""
    assert_solved(ONE, answer)


def test_one_has_a_stub() -> None:
    """The stub of the notebook says so."""

    def stub(shop: Shop) -> str:
        raise NotImplementedError

    assert_not_attempted(ONE, stub)


def set_all(cause: Any, **settings: Any) -> Callable[[Shop], Any]:
    """Return an answer that sets these, "orders__tries", and names this cause."""

    def answer(shop: Shop) -> Any:
        for path, value in settings.items():
            service, setting = path.split("__")
            setattr(getattr(shop, service), setting, value)
        return cause

    return answer


def stops_the_customers(shop: Shop) -> str:
    """Let no orders come."""
    shop.orders.payment_timeout = 0.4
    shop.customers.close()
    return "C34"


def switches_the_event_off(shop: Shop) -> str:
    """Let payment answer again."""
    shop.payment.hangs = False
    return mend_one(shop)


def keeps_switching_it_off(shop: Shop) -> str:
    """Let a thread do so for as long as the check lasts."""

    def switch_off() -> None:
        while not OVER.wait(0.01):
            shop.payment.hangs = False

    threading.Timer(0.5, switch_off).start()
    return mend_one(shop)


def shortens_the_hang(shop: Shop) -> str:
    """Change a constant of the shop's code."""
    payment.HANG_SECONDS = 0.1
    return mend_one(shop)


def replaces_a_method(shop: Shop) -> str:
    """Give a service another method."""
    shop.orders._charge = lambda *_: None  # type: ignore[method-assign]
    return mend_one(shop)


def replaces_it_for_all(shop: Shop) -> str:
    """Give every service of the kind another method."""
    payment.Payment.Charge = lambda *_: None  # type: ignore[method-assign,assignment]
    return mend_one(shop)


MENDED: dict[str, Any] = {"orders__payment_timeout": 0.4}


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (set_all("C34"), "orders failed", "the cause, or what it did"),
        (set_all("C34", web__tries=3), "shop.web.tries was 1, and is 3", "put back"),
        (set_all("C34", **MENDED, prices__ttl=0.0), "shop.prices.ttl was 5.0", "put back"),
        (set_all("C34", **MENDED, relay__supervised=False), "shop.relay.supervised", "put back"),
        (set_all("C34", **MENDED, orders__again=None), "shop.orders.again", "put back"),
        (switches_the_event_off, "shop.payment.hangs: changed", "stay as they are"),
        (keeps_switching_it_off, "shop.payment.hangs: changed", "stay as they are"),
        (shortens_the_hang, "payment.HANG_SECONDS: changed", "stay as they are"),
        (replaces_a_method, "shop.orders._charge: changed", "stay as they are"),
        (replaces_it_for_all, "Payment.Charge: changed", "stay as they are"),
        (set_all("C34", orders__payment_timeout=30.0), "orders failed", "the cause"),
        (
            set_all("C34", orders__payment_timeout=0.4, orders__payment_tries=1),
            "shop.orders.payment_tries was 2, and is 1",
            "put back",
        ),
        (set_all("C35", orders__payment_timeout=0.4), "the shop is mended", "table of claims"),
        (set_all(None, orders__payment_timeout=0.4), "None", "return"),
        (set_all({"C34", "C35"}, orders__payment_timeout=0.4), "2 causes", "Name 1"),
        (stops_the_customers, "0 orders came", "leave them"),
    ],
)
def test_one_is_wrong(answer: Callable[..., object], guarantee: str, hint: str) -> None:
    """Each is told what broke when it happened once more, or which cause is missing."""
    assert_wrong(ONE, answer, guarantee, hint)


def mend_two(shop: Shop) -> set[str]:
    """Solve the second exercise."""
    shop.orders.price_connections = 20
    shop.relay.supervised = True
    return {"C45", "C27"}


def mend_with_other_claims(shop: Shop) -> list[str]:
    """Name the other claims that explain it, in a list."""
    shop.orders.price_connections = 50
    shop.relay.supervised = True
    return ["C27", "C46"]


def mend_two_as_the_course(shop: Shop) -> tuple[str, ...]:
    """Take the catalogue's own mends, the mails first."""
    INCIDENTS["stopped-outbox"].mend(shop)
    INCIDENTS["small-pool"].mend(shop)
    return ("C27", "C46")


@pytest.mark.parametrize("answer", [mend_two, mend_with_other_claims, mend_two_as_the_course])
def test_two_are_solved(answer: Callable[..., object]) -> None:
    """Either claim of each cause will do."""
    assert_solved(TWO, answer)


def test_two_have_a_stub() -> None:
    """The stub of the notebook says so."""

    def stub(shop: Shop) -> set[str]:
        raise NotImplementedError

    assert_not_attempted(TWO, stub)


BOTH = {"C45", "C27"}
POOL: dict[str, Any] = {"orders__price_connections": 20}
RELAY: dict[str, Any] = {"relay__supervised": True}


def starts_the_relay_once(shop: Shop) -> set[str]:
    """Start what has ended, and leave it as it was: the next error ends it again."""
    shop.orders.price_connections = 20
    shop.relay.supervised = False
    return BOTH


def throws_events_away(shop: Shop) -> set[str]:
    """Mark all that waits as sent."""
    shop.orders.price_connections = 20
    with shop.orders.db:
        shop.orders.db.execute("UPDATE outbox SET sent = 1")
    shop.relay.supervised = True
    return BOTH


async def in_a_coroutine(shop: Shop) -> set[str]:
    """Be a coroutine function."""
    await asyncio.sleep(0)
    return mend_two(shop)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (set_all(BOTH), "orders failed", "the cause"),
        (set_all(BOTH, **POOL), "have no mail", "the cause"),
        (set_all(BOTH, **RELAY), "orders failed", "the cause"),
        (starts_the_relay_once, "have no mail", "the cause"),
        (throws_events_away, "are lost", "throw nothing away"),
        (set_all({"C45"}, **POOL, **RELAY), "1 of two causes", "table of claims"),
        (set_all({"C45", "C31"}, **POOL, **RELAY), "1 of two causes", "50 and 51"),
        (set_all(BOTH, **POOL, **RELAY, web__tries=2), "shop.web.tries was 1", "put back"),
        (set_all(BOTH | {"C35"}, **POOL, **RELAY), "3 causes", "Name 2"),
        (in_a_coroutine, "async def", "thread"),
    ],
)
def test_two_are_wrong(answer: Callable[..., object], guarantee: str, hint: str) -> None:
    """Each is told what broke when it happened once more, or which cause is missing."""
    assert_wrong(TWO, answer, guarantee, hint)
