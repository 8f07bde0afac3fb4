"""Which method a request is for: the rules of google.api.http, read from the descriptors.

A rule (google/api/http.proto) gives a method an HTTP verb and a path template:

    get: "/v1/users/{user_id}/orders"     a field of the request, one segment of the path
    get: "/v1/{name=shelves/*/books/*}"   a field that is several segments
    get: "/v1/stock/{sku}:watch"          a verb at the end, for what is no resource
    additional_bindings {...}             another way to the same method

Paths are matched as they were sent, and decoded afterwards: a "%2F" in an id stays in its segment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from google.api import annotations_pb2  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from google.protobuf.descriptor import (
        Descriptor,
        FieldDescriptor,
        MethodDescriptor,
        ServiceDescriptor,
    )

_TOKEN = re.compile(r"\{(?P<field>[\w.]+)(=(?P<inner>[^{}]+))?\}|(?P<text>[^{}]+)")
_WILD = {"*": "[^/]+", "**": ".+"}


class RuleError(ValueError):
    """A rule that cannot be served; the message names the method."""


@dataclass(frozen=True)
class Route:
    """One way to one method. `body` and `response_body` are those of the rule."""

    verb: str
    template: str
    method: MethodDescriptor
    body: str
    response_body: str
    pattern: re.Pattern[str]
    fields: tuple[str, ...]

    def values(self, path: str) -> dict[str, str] | None:
        """Return the fields that are in a path, None if the path is not of this template.

        Raises:
            UnicodeDecodeError: the path is no UTF-8.

        """
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        return dict(zip(self.fields, map(_decoded, found.groups()), strict=True))


class Routes:
    """The ways to the methods of some services."""

    def __init__(self, services: Iterable[ServiceDescriptor]) -> None:
        found = [route for service in services for route in routes_of(service)]
        # "/v1/stock/tea:watch" would be the stock of "tea:watch" otherwise.
        self._routes = sorted(found, key=lambda route: ":" not in route.template)

    def __iter__(self) -> Iterator[Route]:
        return iter(self._routes)

    def at(self, path: str) -> dict[str, tuple[Route, dict[str, str]]]:
        """Return what is at a path: for each verb the route, and the fields in the path.

        Raises:
            UnicodeDecodeError: the path is no UTF-8.

        """
        found: dict[str, tuple[Route, dict[str, str]]] = {}
        for route in self._routes:
            if (values := route.values(path)) is not None:
                found.setdefault(route.verb, (route, values))
        return found


def routes_of(service: ServiceDescriptor) -> list[Route]:
    """Return the ways to the methods of a service; one without a rule has none.

    Raises:
        RuleError: a rule names a field that is not there, or its method takes a stream.

    """
    found = []
    for method in service.methods:
        options = method.GetOptions()
        if options.HasExtension(annotations_pb2.http):
            rule = options.Extensions[annotations_pb2.http]
            found += [_route(method, each) for each in (rule, *rule.additional_bindings)]
    return found


def field_of(message: Descriptor, name: str) -> FieldDescriptor | None:
    """Return the field of a name, as the contract or as JSON writes it."""
    return next((f for f in message.fields if name in (f.name, f.json_name)), None)


def _route(method: MethodDescriptor, rule: Any) -> Route:
    kind = rule.WhichOneof("pattern")
    if kind is None or method.client_streaming:
        what = "takes a stream, which a request cannot be" if kind else "has a rule without a path"
        msg = f"{method.full_name} {what}"
        raise RuleError(msg)
    verb, template = kind.upper(), getattr(rule, kind)
    if kind == "custom":
        verb, template = rule.custom.kind, rule.custom.path
    pattern, fields = _compiled(template)
    wanted = [(method.input_type, path) for path in fields]
    wanted += [(method.input_type, rule.body)] if rule.body not in ("", "*") else []
    wanted += [(method.output_type, rule.response_body)] if rule.response_body else []
    for message, path in wanted:
        _must_have(method, message, path)
    return Route(verb, template, method, rule.body, rule.response_body, pattern, fields)


def _compiled(template: str) -> tuple[re.Pattern[str], tuple[str, ...]]:
    pattern, fields = "", []
    for token in _TOKEN.finditer(template):
        if token["field"]:
            fields.append(token["field"])
            pattern += f"({_segments(token['inner'] or '*')})"
        else:
            pattern += _segments(token["text"])
    return re.compile(pattern), tuple(fields)


def _segments(text: str) -> str:
    parts = re.split(r"(\*\*|\*)", text)
    return "".join(_WILD.get(part, re.escape(part)) for part in parts)


def _decoded(text: str) -> str:
    """Decode a value; where it has segments, a "/" in one of them stays encoded."""
    if "/" in text:
        text = re.sub("%2[fF]", "%252F", text)
    return unquote(text, errors="strict")


def _must_have(method: MethodDescriptor, message: Descriptor | None, path: str) -> None:
    for name in path.split("."):
        field = None if message is None else field_of(message, name)
        if field is None:
            msg = f"the rule of {method.full_name} names {path}, which is no field"
            raise RuleError(msg)
        message = field.message_type
