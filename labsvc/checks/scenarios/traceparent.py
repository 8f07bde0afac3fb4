"""The ids in a `traceparent`: trace, span, and whether it is sampled (W3C Trace Context)."""

from __future__ import annotations

import re
from typing import NamedTuple

TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
"""Version 00, whole: trace id, span id and flags in hex."""
SAMPLED = 0x01  # of the flags; the others say how the id was made, and more to come


class Ids(NamedTuple):
    """What a `traceparent` says; "" and False without a valid one."""

    trace: str = ""
    span: str = ""
    sampled: bool = False


def ids(headers: object) -> Ids:
    """Return the ids in a dict of headers, whatever it is."""
    text = headers.get("traceparent") if isinstance(headers, dict) else None
    match = TRACEPARENT.fullmatch(text) if isinstance(text, str) else None
    return Ids(match[1], match[2], bool(int(match[3], 16) & SAMPLED)) if match else Ids()
