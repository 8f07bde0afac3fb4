"""An update is taken only if it is based on what is there."""

from __future__ import annotations

import pytest
from fastapi import Request
from pydantic import BaseModel

from labsvc.web.etag import etag_of, must_match
from labsvc.web.problem import ProblemError


class Price(BaseModel):
    """A state."""

    cents: int


NOW, BEFORE = Price(cents=200), Price(cents=100)
TAG, OLD = etag_of(NOW), etag_of(BEFORE)


def request(*values: str) -> Request:
    """Return a request with these If-Match headers."""
    headers = [(b"if-match", value.encode("latin-1")) for value in values]
    return Request({"type": "http", "headers": headers})


def test_a_tag_stands_for_the_content() -> None:
    """Equal content has an equal tag, in quotes as RFC 9110 asks for."""
    assert etag_of(Price(cents=200)) == TAG != OLD
    assert TAG[0] == TAG[-1] == '"'
    assert '"' not in TAG[1:-1]


@pytest.mark.parametrize("values", [[TAG], ["*"], [f"{OLD}, {TAG}"], [OLD, TAG], [f" {TAG} "]])
def test_an_update_of_what_is_there_passes(values: list[str]) -> None:
    """One tag, a list of tags in one header or several, or any state at all."""
    must_match(request(*values), NOW)


@pytest.mark.parametrize(
    ("values", "status"),
    [
        ([], 428),
        ([""], 428),
        ([OLD], 412),
        ([f"W/{TAG}"], 412),
        ([f"{OLD}, W/{TAG}"], 412),
        (['""'], 412),
        (['"\xe4"'], 412),
        ([TAG[1:-1]], 400),
        ([TAG + "x"], 400),
        ([f"{TAG},"], 400),
        ([f"{TAG} {OLD}"], 400),
        ([f"*, {TAG}"], 400),
        (['"'], 400),
    ],
)
def test_any_other_update_is_refused(values: list[str], status: int) -> None:
    """None, an old one, a weak one, and what is no list of entity tags."""
    with pytest.raises(ProblemError) as caught:
        must_match(request(*values), NOW)
    assert caught.value.status == status
