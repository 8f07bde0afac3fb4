"""The lists of fixes to take out follow the code: `make mutants` can apply each of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.mutations.checkout import ROOT
from tests.mutations.run import Mutation, apply, load


@pytest.mark.parametrize(
    "mutation", load([]), ids=lambda mutation: f"{mutation.notebook[:2]} {mutation.name}"
)
def test_can_be_applied(mutation: Mutation, tmp_path: Path) -> None:
    """The text to find occurs once, taking it out changes the file, and what has to fail exists."""
    file = Path(mutation.file)
    if file.is_relative_to("notebooks/source"):
        file = Path("notebooks", "solutions", f"{file.stem}.ipynb")
    for name in {mutation.file, str(file)}:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    before = (tmp_path / file).read_text(encoding="utf-8")
    apply(mutation, tmp_path)
    assert (tmp_path / file).read_text(encoding="utf-8") != before
    assert mutation.kills == "notebook" or (ROOT / mutation.kills).is_file()
