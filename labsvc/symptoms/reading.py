"""What tells something in a pasted text: of a traceback the errors, not the frames."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

END = 200_000
"""Bytes that are looked at, of the beginning of a text and of its end."""

FEW = 10  # of so many characters one at most may be unprintable
LONGEST = 2_000  # characters of a line
MOST_LINES = 400
TYPED_WORDS = 25  # what is longer was pasted
EARLIER = 0.8  # weight of an error that led to the last one
BESIDE = 0.5  # of other lines of a traceback

ESCAPE = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
FRAME = re.compile(
    r"""\s*(
          File\ ["~/<] | Cell\ In\[ | Input\ In\ | Traceback\ \(most | -+>\s*\d+ | \d+\s | [~^\s]+$
        | During\ handling\ of | The\ above\ exception | goroutine\ \d | at\ [\w.$]+\(
        | \|?\s*[+|-]+\s*$
    )""",
    re.VERBOSE,
)
ERROR = re.compile(
    r"""\s*[|+-]*\s*(
          [\w.]*(Error|Exception|Warning|Timeout|Refused|Closed|Failure|Rejection|Entity)\b
        | (status|details|debug_error_string)\s*=
        | <?\w*RpcError
    )""",
    re.VERBOSE,
)


@dataclass(frozen=True)
class Line:
    """A line to look for: its text, whether it was pasted, and what it weighs (1 is most)."""

    text: str
    pasted: bool = False
    weight: float = 1.0


def take(stream: BinaryIO) -> str:
    """Return the beginning and the end of a stream; bytes that are no UTF-8 become marks."""
    begin = stream.read(END)
    end = b""
    while more := stream.read(END):
        end = (end + more)[-END:]
    return (begin + end).decode("utf-8", errors="replace")


def lines(text: str) -> list[Line]:
    """Return the lines of a text that tell something, the last ones first."""
    text = "\n".join(line for line in ESCAPE.sub("", text).splitlines() if _readable(line))
    stripped = [line.strip() for line in text.splitlines() if line.strip()]
    if len(stripped) <= 1 and len(text.split()) <= TYPED_WORDS:
        return [Line(each[:LONGEST]) for each in stripped]
    traced = any("Traceback (most recent" in line for line in stripped)
    told = list(_told(text.splitlines()) if traced else stripped)
    kept = list(dict.fromkeys(line.strip()[:LONGEST] for line in reversed(told)))[:MOST_LINES]
    if not traced:
        return [Line(line, pasted=True) for line in kept]
    found = []
    weight = 1.0
    for line in kept:
        if ERROR.match(line):
            found.append(Line(line, pasted=True, weight=weight))
            if not line.startswith(("status", "details", "debug_error_string")):
                weight = EARLIER
        else:
            found.append(Line(line, pasted=True, weight=BESIDE))
    return found


def _readable(line: str) -> bool:
    """Tell whether a line is text: of a binary file, words would be found by chance."""
    odd = sum(not character.isprintable() or character == "\ufffd" for character in line.strip())
    return odd * FEW <= len(line)


def _told(stored: list[str]) -> Iterator[str]:
    """Yield the lines of a traceback that are neither frames nor the code below them."""
    code = False
    for line in stored:
        if FRAME.match(line):
            code = line.lstrip(" |").startswith("File ")
        elif code:
            code = False
        elif line.strip():
            yield line
