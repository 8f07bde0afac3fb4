"""Whether a binding matches a message: topic patterns, and tables of headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from labsvc.amqp.errors import ReplyCode, SoftError
from labsvc.amqp.rules.arguments import kind_of

if TYPE_CHECKING:
    from collections.abc import Mapping

X_MATCH = "x-match"
_WAYS = (b"all", b"any", b"all-with-x", b"any-with-x")


def topic_matches(pattern: str, key: str) -> bool:
    """Whether a topic pattern matches a routing key.

    Both are words between dots; an empty string has no words. `*` stands for exactly one
    word, `#` for any number of words, none included.
    """
    wanted = pattern.split(".") if pattern else []
    reached = _past_hashes({0}, wanted)  # how much of the pattern the words so far may use
    for word in key.split(".") if key else []:
        reached = {
            place if wanted[place] == "#" else place + 1
            for place in reached
            if place < len(wanted) and wanted[place] in ("#", "*", word)
        }
        reached = _past_hashes(reached, wanted)
    return len(wanted) in reached


def _past_hashes(places: set[int], wanted: list[str]) -> set[int]:
    """Add the places behind each `#`, which may stand for no word."""
    for place in sorted(places):
        ahead = place
        while ahead < len(wanted) and wanted[ahead] == "#":
            ahead += 1
            places.add(ahead)
    return places


def headers_match(wanted: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    """Whether the arguments of a binding match the headers of a message.

    Each argument names a header and its value; one without a value (None) asks only that
    the header be there. The argument `x-match` says whether all have to match (`all`, the
    default) or one is enough (`any`). Other names that start with `x-` count only with
    `all-with-x` and `any-with-x`.
    """
    way = wanted.get(X_MATCH, b"all")
    names = [
        name
        for name in wanted
        if name != X_MATCH and (way.endswith(b"-with-x") or not name.startswith("x-"))
    ]
    found = (name in headers and _suits(wanted[name], headers[name]) for name in names)
    return all(found) if way.startswith(b"all") else any(found)


def check_headers_binding(arguments: Mapping[str, Any]) -> None:
    """Check the arguments of a binding to a headers exchange.

    Raises:
        SoftError: 406, `x-match` is none of the four ways.

    """
    way = arguments.get(X_MATCH, b"all")
    if not isinstance(way, bytes):
        _refuse(f"type {kind_of(way)} (value {way}); expected longstr")
    if way not in _WAYS:
        value = f'<<"{way.decode(errors="replace")}">>'
        _refuse(f"value {value}; expected all, any, all-with-x, or any-with-x")


def _refuse(why: str) -> NoReturn:
    text = f"Invalid x-match field {why}"
    raise SoftError(ReplyCode.PRECONDITION_FAILED, text)


def _suits(wanted: object, value: object) -> bool:
    return wanted is None or _shape(wanted) == _shape(value)


def _shape(value: object) -> object:
    """Return what RabbitMQ compares: True is not 1, and the fields of a table have an order."""
    if isinstance(value, bool):
        return (bool, value)
    if isinstance(value, list):
        return [_shape(inner) for inner in value]
    if isinstance(value, dict):
        return [(name, _shape(inner)) for name, inner in value.items()]
    return value
