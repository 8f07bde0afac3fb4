"""What a change to an OpenAPI document breaks, found before the release (claim C12, notebook 31).

Old clients go on sending the old requests and reading answers by the old document. So a request may
only ask for less, and an answer may only promise more:

                    request                         answer
    member          none goes where extras are      none goes, none gets optional
                    forbidden, none gets required
    type            no other one                    no other one
    enum            no value goes                   no value comes
    limits          none gets tighter               do not count

The two documents are compared as FastAPI writes them (OpenAPI 3.1). A schema by name counts as what
it stands for; words for people and examples do not count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["breaking_changes"]

Json = dict[str, Any]
Side = Literal["request", "answer"]

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems")
UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems")
SAME = ("type", "format", "const", "pattern")
_CHOICES = {"anyOf", "oneOf"}


def breaking_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each change from `old` to `new` that breaks an old client.

    Empty if the documents are compatible. Each sentence opens with the method and the path.
    """
    return list(dict.fromkeys(_Comparison(dict(old), dict(new)).operations()))


class _Comparison:
    """Two documents, and the pairs of schemas that are being compared, for those that recur."""

    def __init__(self, old: Json, new: Json) -> None:
        self._old = old
        self._new = new
        self._under_way: set[tuple[int, int, Side]] = set()

    def operations(self) -> Iterator[str]:
        """Compare each operation of the old document with the new one."""
        for path, item in self._old.get("paths", {}).items():
            for method in METHODS:
                if method not in item:
                    continue
                where = f"{method.upper()} {path}"
                new = self._new.get("paths", {}).get(path, {}).get(method)
                if new is None:
                    yield f"{where}: removed; keep it beside the new one"
                else:
                    yield from self._operation(where, item[method], new)

    def _operation(self, where: str, old: Json, new: Json) -> Iterator[str]:
        yield from self._parameters(where, old, new)
        yield from self._body(where, old, new)
        for status, answer in old.get("responses", {}).items():
            other = new.get("responses", {}).get(status)
            if other is None:
                yield f"{where}: answer {status} removed; keep it"
                continue
            pair = (answer.get("content", {}), other.get("content", {}))
            yield from self._contents(f"{where}: answer {status}", *pair, "answer")

    def _parameters(self, where: str, old: Json, new: Json) -> Iterator[str]:
        before, after = _parameters(old), _parameters(new)
        for key, one in after.items():
            if one.get("required") and not before.get(key, {}).get("required"):
                yield f"{where}: {' '.join(key)} is now required; give it a default"
        for key, one in before.items():
            if key not in after:
                yield f"{where}: {' '.join(key)} removed; go on taking it"
                continue
            schemas = (one.get("schema", {}), after[key].get("schema", {}))
            yield from self._schemas(f"{where}: {' '.join(key)}", *schemas, "request")

    def _body(self, where: str, old: Json, new: Json) -> Iterator[str]:
        before, after = old.get("requestBody", {}), new.get("requestBody", {})
        if after.get("required") and not before.get("required"):
            yield f"{where}: a body is now required; make it optional"
        pair = (before.get("content", {}), after.get("content", {}))
        yield from self._contents(f"{where}: request", *pair, "request")

    def _contents(self, where: str, old: Json, new: Json, side: Side) -> Iterator[str]:
        for media, content in old.items():
            if media not in new:
                yield f"{where}: {media} removed; keep it"
            else:
                schemas = (content.get("schema", {}), new[media].get("schema", {}))
                yield from self._schemas(where, *schemas, side)

    def _schemas(self, where: str, old: Json, new: Json, side: Side) -> Iterator[str]:
        old, new = _resolved(old, self._old), _resolved(new, self._new)
        key = id(old), id(new), side
        if key in self._under_way:
            return
        self._under_way.add(key)
        if _CHOICES & (old.keys() | new.keys()):
            yield from self._choices(where, old, new, side)
        else:
            yield from self._one(where, old, new, side)
        self._under_way.discard(key)

    def _choices(self, where: str, old: Json, new: Json, side: Side) -> Iterator[str]:
        """See that each alternative of a request goes on, and that none comes into an answer."""
        before, after = _alternatives(old), _alternatives(new)
        for one in before if side == "request" else after:
            pairs = (
                [(one, each) for each in after]
                if side == "request"
                else [(each, one) for each in before]
            )
            if all(any(self._schemas(where, *pair, side)) for pair in pairs):
                change = "is no longer taken" if side == "request" else "can now be sent"
                yield f"{where}: {_name(one)} {change}; add a new field instead"

    def _one(self, where: str, old: Json, new: Json, side: Side) -> Iterator[str]:
        changed = [word for word in SAME if old.get(word) != new.get(word)]
        for word in changed:
            yield (
                f"{where}: {word} changed from {old.get(word)} to {new.get(word)};"
                " add a new field instead"
            )
        if not changed:
            yield from _values(where, old, new, side)
            yield from self._members(where, old, new, side)
            if "items" in old and "items" in new:
                yield from self._schemas(f"{where}[]", old["items"], new["items"], side)

    def _members(self, where: str, old: Json, new: Json, side: Side) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        was, now = {*old.get("required", [])}, {*new.get("required", [])}
        for name in after:
            if side == "request" and name in now - was:
                said = "is now required" if name in before else "is new and required"
                yield f"{where}: {name} {said}; give it a default"
        for name, schema in before.items():
            if name in after:
                if side == "answer" and name in was - now:
                    yield f"{where}: {name} is no longer sent each time; go on sending it"
                yield from self._schemas(f"{where}: {name}", schema, after[name], side)
            elif side == "answer" or new.get("additionalProperties") is False:
                verb = "sending" if side == "answer" else "taking"
                yield f"{where}: {name} removed; go on {verb} it"
        if (
            side == "request"
            and new.get("additionalProperties") is False
            and old.get("additionalProperties") is not False
            and "properties" in old
        ):
            yield f"{where}: other members are now refused; go on taking them"


def _values(where: str, old: Json, new: Json, side: Side) -> Iterator[str]:
    """Compare the values that a schema allows."""
    before, after = old.get("enum"), new.get("enum")
    tight, wide = (before, after) if side == "answer" else (after, before)
    if tight is not None:
        for value in wide if wide is not None else ["any value"]:
            if value not in tight:
                change = "can now be sent" if side == "answer" else "is now refused"
                yield f"{where}: {value} {change}; add a new field instead"
    if side == "answer":
        return
    for words, sign in ((LOWER, 1), (UPPER, -1)):
        for word in words:
            if word in new and (word not in old or sign * new[word] > sign * old[word]):
                yield f"{where}: {word} is now {new[word]:g}; go on taking what was allowed"


def _parameters(operation: Json) -> dict[tuple[str, str], Json]:
    """Return the parameters of an operation by place and name."""
    return {(one["in"], one["name"]): one for one in operation.get("parameters", [])}


def _alternatives(schema: Json) -> list[Json]:
    return [*schema.get("anyOf", []), *schema.get("oneOf", [])] or [schema]


def _name(schema: Json) -> str:
    return str(schema.get("$ref", "").rpartition("/")[2] or schema.get("type", "any value"))


def _resolved(schema: Json, document: Json) -> Json:
    """Return what a schema by name stands for."""
    while reference := schema.get("$ref"):
        schema = document
        for name in reference.removeprefix("#/").split("/"):
            schema = schema[name]
    return schema
