from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsvc import faults
from labsvc.faults import CATALOGUE, Faults

if TYPE_CHECKING:
    from collections.abc import MutableMapping

NUMBERS = ("delay", "jitter", "bandwidth", "cut_after_idle", "blackhole_after_idle")


def test_no_faults_by_default() -> None:
    """Faults() does nothing to a connection."""
    assert Faults() == Faults(
        delay=0.0,
        jitter=0.0,
        bandwidth=None,
        cut_after_bytes=None,
        cut_after_idle=None,
        blackhole=False,
        blackhole_after_idle=None,
        refuse=False,
    )


def test_faults_are_frozen() -> None:
    """Settings change through the proxy, never behind its back."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        Faults().delay = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("name", [*NUMBERS, "cut_after_bytes"])
@pytest.mark.parametrize("value", [-1, -0.5, math.nan, math.inf])
def test_numbers_out_of_range(name: str, value: float) -> None:
    """A number that means nothing is refused by name, with what is allowed."""
    arguments: dict[str, Any] = {name: value}
    with pytest.raises((ValueError, TypeError), match=f"^{name} must be .* (more|whole)"):
        Faults(**arguments)


@pytest.mark.parametrize("name", [*NUMBERS, "cut_after_bytes", "blackhole", "refuse"])
@pytest.mark.parametrize("value", ["1", [1], b"1", 1j])
def test_values_of_a_wrong_type(name: str, value: object) -> None:
    """A value of a wrong type is refused by name."""
    arguments: dict[str, Any] = {name: value}
    with pytest.raises(TypeError, match=f"^{name} must be"):
        Faults(**arguments)


@pytest.mark.parametrize("name", [*NUMBERS, "cut_after_bytes"])
def test_true_is_no_number(name: str) -> None:
    """True is refused where a number is asked for."""
    arguments: dict[str, Any] = {name: True}
    with pytest.raises(TypeError, match=f"^{name} must be"):
        Faults(**arguments)


@pytest.mark.parametrize("name", ["bandwidth", "cut_after_idle", "cut_after_bytes"])
def test_zero_is_no_limit_of(name: str) -> None:
    """Zero is refused for a limit, and the message names None as the way to lift it."""
    arguments: dict[str, Any] = {name: 0}
    with pytest.raises(ValueError, match=f"^{name} must be .*or None for no limit"):
        Faults(**arguments)


@pytest.mark.parametrize(
    "pair",
    [
        {"blackhole": True, "refuse": True},
        {"cut_after_idle": 1.0, "blackhole_after_idle": 1.0},
    ],
)
def test_settings_that_exclude_each_other(pair: dict[str, Any]) -> None:
    """Two settings that contradict each other are refused, and both are named."""
    with pytest.raises(ValueError, match=" and ".join(pair) + " exclude each other"):
        Faults(**pair)


def test_names_of_the_catalogue() -> None:
    """The catalogue holds every fault under its own name, one for each setting."""
    assert list(CATALOGUE) == [fault.name for fault in CATALOGUE.values()]
    assert {fault.setting for fault in CATALOGUE.values()} == set(Faults.__slots__)


def test_catalogue_is_read_only() -> None:
    """A notebook cannot change the catalogue for the cells after it."""
    catalogue: MutableMapping[str, object] = CATALOGUE  # type: ignore[assignment]
    with pytest.raises(TypeError):
        catalogue["mine"] = None


@pytest.mark.parametrize("name", CATALOGUE)
def test_usual_dose_is_valid(name: str) -> None:
    """Each fault at its usual dose changes exactly its one setting."""
    fault = CATALOGUE[name]
    settings = fault.settings()
    assert list(settings) == [fault.setting]
    assert Faults(**settings) != Faults()


@given(st.sampled_from([fault for fault in CATALOGUE.values() if fault.unit != ""]), st.data())
def test_doses(fault: faults.Fault, data: st.DataObject) -> None:
    """A dose in range is what the setting becomes."""
    kind = st.integers if fault.unit == "B" else st.floats
    dose = data.draw(kind(fault.least, fault.most))  # type: ignore[arg-type]
    assert getattr(Faults(**fault.settings(dose)), fault.setting) == dose


@pytest.mark.parametrize("dose", [-1, 0, 1e12, math.nan])
def test_dose_out_of_range(dose: float) -> None:
    """A dose out of range is refused, with the range and the unit."""
    with pytest.raises(ValueError, match=r"slow-link must be 0\.001 to 5 s, not"):
        CATALOGUE["slow-link"].settings(dose)


def test_dose_of_a_wrong_type() -> None:
    """A dose that is no number is refused."""
    with pytest.raises(TypeError, match="dose of slow-link must be"):
        CATALOGUE["slow-link"].settings("much")  # type: ignore[arg-type]


def test_dose_of_a_switch() -> None:
    """A fault that is on or off takes no dose."""
    with pytest.raises(ValueError, match="blackhole is on or off"):
        CATALOGUE["blackhole"].settings(1)


def test_unknown_fault() -> None:
    """An unknown name is answered with the names there are."""
    with pytest.raises(ValueError, match="choose one of slow-link, jittery-link"):
        faults.find("slowlink")


def test_catalogue_as_text() -> None:
    """The table is fixed text, a line for each fault under one heading, no blanks at the end."""
    lines = faults.catalogue().splitlines()
    assert lines[0].split() == ["fault", "what", "happens", "dose", "(range)"]
    assert [line.split()[0] for line in lines[1:]] == list(CATALOGUE)
    assert lines[1].endswith("0.05 s (0.001 to 5)")
    assert all(line == line.rstrip() for line in lines)
