"""What a check says about an answer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from labsvc.checks.values import described

if TYPE_CHECKING:
    from collections.abc import Mapping

State = Literal["solved", "not solved", "unknown", "not attempted"]


@dataclass(frozen=True)
class Verdict:
    """The outcome of one check.

    `guarantee` is one sentence: what was kept, or what broke ("order 7 was charged twice").
    `counts` are the numbers behind it; `hint` says where to look next, never the solution.
    `also` is what the course's solution does differently, once it is solved. `notes` are what the
    exercise is not about, such as threads that still run.
    """

    state: State
    guarantee: str
    counts: Mapping[str, int] = field(default_factory=dict)
    hint: str = ""
    also: str = ""
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return the lines that a learner reads."""
        lines = [self.state, "  " + self.guarantee]
        if self.counts:
            lines.append("  counts: " + ", ".join(f"{k} {n}" for k, n in self.counts.items()))
        if self.hint:
            lines.append("  hint: " + self.hint)
        if self.also:
            lines.append("  also: " + self.also)
        lines += ["  note: " + note for note in self.notes]
        return "\n".join(lines)


def solved(guarantee: str, **counts: int) -> Verdict:
    """Return the verdict for an answer that kept `guarantee`; `left_open=0` prints `left open 0`.

    The same holds for the counts of `broken`.
    """
    return Verdict("solved", guarantee, _named(counts))


def broken(guarantee: str, hint: str, **counts: int) -> Verdict:
    """Return the verdict for an answer under which `guarantee` happened, with one hint."""
    return Verdict("not solved", guarantee, _named(counts), hint)


def diagnose(
    *mistakes: tuple[bool, str, str], otherwise: tuple[str, str], **counts: int
) -> Verdict:
    """Return `broken` for the first mistake that was made.

    Each mistake is (was it made, what broke, hint); `otherwise` is (what broke, hint).
    """
    guarantee, hint = otherwise
    return first_broken(*mistakes, **counts) or broken(guarantee, hint, **counts)


def first_broken(*mistakes: tuple[bool, str, str], **counts: int) -> Verdict | None:
    """Return `broken` for the first mistake that was made, as in `diagnose`; None if none was."""
    for made, guarantee, hint in mistakes:
        if made:
            return broken(guarantee, hint, **counts)
    return None


def taught_in(notebook: str, verdict: Verdict | None) -> Verdict | None:
    """Return the verdict of a test-out, its hint with the notebook to read; None stays None."""
    if verdict is None:
        return None
    return replace(verdict, hint=f"{verdict.hint} Notebook {notebook} shows it.")


def wrong_type(got: object, wanted: str, **counts: int) -> Verdict:
    """Return `broken` for a value of the wrong type; `wanted` goes on from "Return …"."""
    hint = "Is there a `return` on every way through the function?"
    if got is not None:
        hint = f"Return {wanted}."
    return broken(f"your function returned {described(got)}", hint, **counts)


def _named(counts: dict[str, int]) -> dict[str, int]:
    return {name.replace("_", " "): number for name, number in counts.items()}
