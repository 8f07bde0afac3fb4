"""A message from path, query and body; JSON from a message (google/api/http.proto).

JSON is that of protobuf: lowerCamelCase names, 64-bit numbers as text, enum values by name. What is
zero or empty is written too: a caller who finds no `available` cannot tell it from a typing error.
What a message does not have is refused, in the query as in the body.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass

from labsvc.web.routes import field_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.descriptor import FieldDescriptor
    from google.protobuf.message import Message

    from labsvc.web.routes import Route

_MOST_PARAMETERS = 1000
_BOOLS = {"true": True, "false": False}
_BOOL_TYPES = {"google.protobuf.BoolValue"}
_TEXT_TYPES = {  # the messages whose JSON is no object
    "google.protobuf.Duration",
    "google.protobuf.FieldMask",
    "google.protobuf.Timestamp",
    *_BOOL_TYPES,
    *(f"google.protobuf.{kind}Value" for kind in ("Bytes", "Double", "Float", "String")),
    *(f"google.protobuf.{kind}Value" for kind in ("Int32", "Int64", "UInt32", "UInt64")),
}


class BadInputError(ValueError):
    """The request cannot be a message; the text says why, and is meant for the caller.

    `field` is where, if that is known.
    """

    def __init__(self, text: str, field: str = "") -> None:
        super().__init__(text)
        self.field = field


def read(route: Route, values: dict[str, str], query: bytes, body: bytes) -> Message:
    """Return the request of a method.

    Args:
        route: whose rule says where each field stands.
        values: what the path holds, by field.
        query: what follows the "?".
        body: the whole body; it is not looked at when the rule has none.

    Raises:
        BadInputError: it is not what the method takes.

    """
    descriptor: Any = route.method.input_type
    message = GetMessageClass(descriptor)()
    beside: dict[str, Any] = {}  # the body
    for path, text in values.items():
        _place(beside, descriptor, path, text)
    parameters = _parameters(query)
    if parameters and route.body == "*":
        msg = "there is no query here: every field stands in the body"
        raise BadInputError(msg, "query")
    for path, text in parameters:
        _place(beside, descriptor, path, text)
    if route.body:
        document = _json(body)
        if route.body != "*":
            document = {route.body: document}
        _merge(document, message)
    told = GetMessageClass(descriptor)()
    told.CopyFrom(message)
    _merge(beside, message)
    _same(told, message, values)
    return message


def write(message: Message, response_body: str = "") -> bytes:
    """Return a message as JSON, or one field of it."""
    document: Any = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    if response_body:
        descriptor: Any = message.DESCRIPTOR
        field = field_of(descriptor, response_body)
        document = document.get(field.json_name if field else response_body)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _parameters(query: bytes) -> list[tuple[str, str]]:
    try:
        text = query.decode("ascii")
        return parse_qsl(
            text, keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS
        )
    except ValueError as error:
        msg = "the query cannot be read"
        raise BadInputError(msg, "query") from error


def _place(document: dict[str, Any], message: Any, path: str, text: str) -> None:
    """Put a value where its path says, as JSON would have it."""
    *parents, last = path.split(".")
    for name in parents:
        field = field_of(message, name)
        if field is None or field.is_repeated or field.message_type is None:
            msg = "there is no such field"
            raise BadInputError(msg, path)
        message = field.message_type
        document = document.setdefault(field.name, {})
        if not isinstance(document, dict):
            msg = "it is given twice"
            raise BadInputError(msg, path)
    field = field_of(message, last)
    if field is None:
        msg = "there is no such field"
        raise BadInputError(msg, path)
    value = _leaf(field, path, text)
    if field.is_repeated:
        document.setdefault(field.name, []).append(value)
    elif field.name in document:
        msg = "it is given twice"
        raise BadInputError(msg, path)
    else:
        document[field.name] = value


def _leaf(field: FieldDescriptor, path: str, text: str) -> str | bool:
    kind = field.message_type.full_name if field.message_type else ""
    if kind and kind not in _TEXT_TYPES:
        msg = "it is no single value: name a field of it"
        raise BadInputError(msg, path)
    if field.type != field.TYPE_BOOL and kind not in _BOOL_TYPES:
        return text
    if text not in _BOOLS:
        msg = "it is neither true nor false"
        raise BadInputError(msg, path)
    return _BOOLS[text]


def _json(body: bytes) -> Any:
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        said = str(error) if isinstance(error, BadInputError) else "the body is no JSON"
        raise BadInputError(said) from error


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            msg = "a name stands twice in an object of the body"
            raise BadInputError(msg)
        name.encode()  # protobuf breaks on a name with half a character in it
        found[name] = value
    return found


def _no_constant(_: str) -> None:
    msg = "JSON has no NaN and no Infinity"
    raise BadInputError(msg)


def _merge(document: Any, message: Message) -> None:
    if not isinstance(document, dict):
        msg = "the body is no JSON object"
        raise BadInputError(msg)
    try:
        json_format.ParseDict(document, message)
    except (json_format.ParseError, ValueError, TypeError, RecursionError) as error:
        raise BadInputError(_said(error)) from error


def _said(error: Exception) -> str:
    """Return what protobuf says of an input, shortened, and so that UTF-8 can hold it."""
    text = str(error) if isinstance(error, json_format.ParseError) else "it does not fit"
    return text[:200].encode("utf-8", "backslashreplace").decode()


def _same(told: Message, message: Message, values: Iterable[str]) -> None:
    """Refuse a body that says something else than the path."""
    for path in values:
        was, now = _at(told, path), _at(message, path)
        if was and was != now:
            msg = "the body says something else than the path"
            raise BadInputError(msg, path)


def _at(message: Any, path: str) -> Any:
    for name in path.split("."):
        message = getattr(message, name)
    return message
