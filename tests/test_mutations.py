"""The lists of fixes to take out follow the code: `make mutants` can apply each of them."""

from __future__ import annotations

import pytest

from tests.mutations.checkout import ROOT
from tests.mutations.run import Mutation, load, taken_out


@pytest.mark.parametrize(
    "mutation", load([]), ids=lambda mutation: f"{mutation.notebook[:2]} {mutation.name}"
)
def test_can_be_applied(mutation: Mutation) -> None:
    """The text to find occurs once, taking it out changes the file, and what has to fail exists."""
    file, text = taken_out(mutation)
    assert (ROOT / file).read_text(encoding="utf-8") != text
    assert mutation.kills == "notebook" or (ROOT / mutation.kills).is_file()
