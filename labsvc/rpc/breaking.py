"""What a change to a contract breaks (claim C02, notebook 11).

Old bytes must keep their meaning for new code and new bytes for old code, and a client built from
the old contract must still be understood. Follows the updating rules of the protobuf language
guide ("Updating a Message Type"), stricter in one point: a field keeps its exact type, although a
few types share their wire form.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.descriptor_pb2 import (
        DescriptorProto,
        EnumDescriptorProto,
        FileDescriptorSet,
        MethodDescriptorProto,
        ServiceDescriptorProto,
    )


@dataclass
class _Contract:
    """Everything one set of files defines, by full name."""

    messages: dict[str, DescriptorProto] = field(default_factory=dict)
    enums: dict[str, EnumDescriptorProto] = field(default_factory=dict)
    services: dict[str, ServiceDescriptorProto] = field(default_factory=dict)

    @classmethod
    def of(cls, files: FileDescriptorSet) -> _Contract:
        contract = cls()
        for file in files.file:
            scope = f"{file.package}." if file.package else ""
            contract.services.update((scope + one.name, one) for one in file.service)
            contract.enums.update((scope + one.name, one) for one in file.enum_type)
            for message in file.message_type:
                contract.add(scope, message)
        return contract

    def add(self, scope: str, message: DescriptorProto) -> None:
        name = scope + message.name
        self.messages[name] = message
        self.enums.update((f"{name}.{one.name}", one) for one in message.enum_type)
        for nested in message.nested_type:
            self.add(f"{name}.", nested)


def breaking_changes(old: FileDescriptorSet, new: FileDescriptorSet) -> list[str]:
    """Return one sentence for each change from `old` to `new` that breaks somebody.

    Empty if the contracts are compatible. Each sentence opens with the full name of the message,
    field, enum value or method. Comments, options and the files that things are in do not count;
    the JSON name of a field does, with `json_name` or without.
    `protoc --include_imports --descriptor_set_out` makes such a set.
    """
    before, after = _Contract.of(old), _Contract.of(new)
    return [
        *_messages(before, after),
        *_enums(before, after),
        *_services(before, after),
    ]


def _messages(before: _Contract, after: _Contract) -> Iterator[str]:
    for name, old in before.messages.items():
        new = after.messages.get(name)
        if new is None:
            yield f"{name}: message removed; keep it"
            continue
        names = {one.name: one for one in new.field}
        numbers = {one.number: one for one in new.field}
        for one in old.field:
            where = f"{name}.{one.name}"
            same_number = numbers.get(one.number)
            if same_number is not None and same_number.name == one.name:
                yield from _field(where, (old, one), (new, same_number))
            elif one.name in names:
                number = names[one.name].number
                yield f"{where}: renumbered from {one.number} to {number}; give it its number back"
            elif same_number is not None:
                yield (
                    f"{where}: number {one.number} is now called {same_number.name}; "
                    "keep the name, or reserve both and take a new number"
                )
            elif not _reserved(new, one):
                yield (
                    f"{where}: removed without reserved; "
                    f'add `reserved {one.number}; reserved "{one.name}";`'
                )


def _reserved(owner: DescriptorProto | EnumDescriptorProto, one: FieldDescriptorProto) -> bool:
    inside = any(span.start <= one.number < span.end for span in owner.reserved_range)
    return inside and one.name in owner.reserved_name


def _field(
    where: str,
    before: tuple[DescriptorProto, FieldDescriptorProto],
    after: tuple[DescriptorProto, FieldDescriptorProto],
) -> Iterator[str]:
    old, new = _type(before[1]), _type(after[1])
    if old != new:
        yield f"{where}: type changed from {old} to {new}; add a new field instead"
    old, new = _label(before[1]), _label(after[1])
    if old != new:
        yield f"{where}: label changed from {old} to {new}; add a new field instead"
    old, new = before[1].json_name, after[1].json_name
    if old != new:
        yield f"{where}: JSON name changed from {old} to {new}; give it its name back"
    old, new = _oneof(*before), _oneof(*after)
    if old != new:
        yield f"{where}: moved from {old} to {new}; add a new field instead"


def _type(one: FieldDescriptorProto) -> str:
    kind = FieldDescriptorProto.Type.Name(one.type).removeprefix("TYPE_").lower()
    return one.type_name.removeprefix(".") or kind


def _label(one: FieldDescriptorProto) -> str:
    if one.proto3_optional:
        return "optional with presence"
    return FieldDescriptorProto.Label.Name(one.label).removeprefix("LABEL_").lower()


def _oneof(owner: DescriptorProto, one: FieldDescriptorProto) -> str:
    if one.proto3_optional or not one.HasField("oneof_index"):
        return "no oneof"
    return f"oneof {owner.oneof_decl[one.oneof_index].name}"


def _enums(before: _Contract, after: _Contract) -> Iterator[str]:
    for name, old in before.enums.items():
        new = after.enums.get(name)
        if new is None:
            yield f"{name}: enum removed; keep it"
            continue
        names = {one.name: one.number for one in new.value}
        for one in old.value:
            where = f"{name}.{one.name}"
            if one.name in names:
                if names[one.name] != one.number:
                    yield (
                        f"{where}: renumbered from {one.number} to {names[one.name]}; "
                        "give it its number back"
                    )
            elif not (
                any(span.start <= one.number <= span.end for span in new.reserved_range)
                and one.name in new.reserved_name
            ):
                yield (
                    f"{where}: enum value removed without reserved; "
                    f'add `reserved {one.number}; reserved "{one.name}";`'
                )


def _services(before: _Contract, after: _Contract) -> Iterator[str]:
    for name, old in before.services.items():
        new = after.services.get(name)
        if new is None:
            yield f"{name}: service removed; keep it"
            continue
        methods = {one.name: one for one in new.method}
        for one in old.method:
            where = f"{name}.{one.name}"
            if one.name not in methods:
                yield f"{where}: method removed; keep it"
            else:
                yield from _method(where, one, methods[one.name])


def _method(where: str, old: MethodDescriptorProto, new: MethodDescriptorProto) -> Iterator[str]:
    for side, was, now in (
        ("request", old.input_type, new.input_type),
        ("response", old.output_type, new.output_type),
    ):
        if was != now:
            yield (
                f"{where}: {side} type changed from {was[1:]} to {now[1:]}; "
                "add a new method instead"
            )
    for side, was_stream, is_stream in (
        ("request", old.client_streaming, new.client_streaming),
        ("response", old.server_streaming, new.server_streaming),
    ):
        if was_stream != is_stream:
            change = "became a stream" if is_stream else "is no longer a stream"
            yield f"{where}: {side} {change}; add a new method instead"
