from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from labsvc import Lab, incidents, until
from labsvc.incidents import INCIDENTS, Incident, Shop
from labsvc.incidents.catalogue import both
from labsvc.incidents.incident import nothing
from labsvc.incidents.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEN_SECONDS = 10
BEFORE_SECONDS = 4  # as far back as any symptom looks
SETTLE_SECONDS = 3
WITHIN_SECONDS = 30  # on a machine that is busy with other tests; what is not mended never is kept


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for the tests of a process."""
    with Lab() as lab:
        yield lab


ROUNDS = int(os.environ.get("NIGHTS", "1"))
PAIR = both(INCIDENTS["small-pool"], INCIDENTS["stopped-outbox"])
EVENTS = [each for each in INCIDENTS.values() if each.strike is not nothing]


@pytest.mark.parametrize("_round", range(ROUNDS))
@pytest.mark.parametrize("incident", [*INCIDENTS.values(), PAIR], ids=lambda each: each.name)
def test_an_incident_is_seen_and_mended(lab: Lab, incident: Incident, _round: int) -> None:
    """Nothing is seen before it; then it is, within 10 s; mended, the shop bears the event."""
    with Shop(lab) as shop:
        assert shop.level(BEFORE_SECONDS, within=WITHIN_SECONDS).kept
        assert not incident.symptom(shop.signals)
        incident.begin(shop)
        until(lambda: incident.symptom(shop.signals), timeout=SEEN_SECONDS)
        assert not shop.level(2).kept
        incident.mend(shop)
        incident.strike(shop)
        time.sleep(SETTLE_SECONDS)
        level = shop.level(3, within=WITHIN_SECONDS)
        assert level.kept, level


@pytest.mark.parametrize("incident", EVENTS, ids=lambda each: each.name)
def test_the_event_is_borne_without_its_change(lab: Lab, incident: Incident) -> None:
    """What strikes does no lasting harm, nor does what was changed beside the cause."""
    with Shop(lab) as shop:
        for change in incident.beside:
            change(shop)
        time.sleep(1)
        incident.strike(shop)
        time.sleep(SETTLE_SECONDS)
        level = shop.level(2, within=WITHIN_SECONDS)
        assert level.kept, level


def test_the_settings_alone_do_not_tell(lab: Lab) -> None:
    """Two at least are as bad as the cause, and are none; the first values are all good."""
    with Shop(lab) as shop:
        good = shop.values()

        def bad() -> set[tuple[str, str]]:
            return {each for each, value in shop.values().items() if not SETTINGS[each](value)}

        assert not bad()
        for incident in INCIDENTS.values():
            incident.deploy(shop)
            own = bad()
            shop.restore(good)
            for change in incident.beside:
                change(shop)
            assert len(bad()) >= 2
            assert not own & bad()
            shop.restore(good)


def test_chance_is_the_same_for_the_same_seed() -> None:
    """A seed names an incident, and 200 of them name each single one and some pairs."""
    nights = [incidents.random(seed) for seed in range(200)]
    again = [incidents.random(seed) for seed in range(200)]
    assert [night.name for night in nights] == [night.name for night in again]
    assert {night.name for night in nights} > set(INCIDENTS)
    assert any(night.parts for night in nights)


def test_an_incident_does_not_say_what_it_is() -> None:
    """Its text is what the pager says: a learner has to find the rest."""
    for name, incident in INCIDENTS.items():
        assert name not in repr(incident)
        assert incident.pager in repr(incident)
