"""Frames, methods and tables: cut anywhere, nested, malformed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import commands, encode, frame, header

from labsvc.amqp.errors import HardError, ReplyCode, SoftError
from labsvc.amqp.wire.content_header import decode_content_header
from labsvc.amqp.wire.cursor import MAX_NESTING, Cursor
from labsvc.amqp.wire.decode import decode_method, method_index
from labsvc.amqp.wire.encode import pack_table
from labsvc.amqp.wire.frames import FrameReader, content
from labsvc.amqp.wire.frames import frame as make_frame
from tests.amqp.fakes import unhurried

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamqp.base import Frame


@unhurried
@given(st.data())
def test_frames_survive_any_cut(data: st.DataObject) -> None:
    """Frames come out the same however the bytes were cut in transit."""
    frames = data.draw(
        st.lists(st.tuples(st.integers(1, 8), st.integers(0, 9), st.binary(max_size=40)))
    )
    stream = b"".join(make_frame(*parts) for parts in frames)
    reader = FrameReader(4096)
    seen = []
    while stream:
        size = data.draw(st.integers(1, len(stream)))
        reader.feed(stream[:size])
        stream = stream[size:]
        while (parts := reader.take()) is not None:
            seen.append(parts)
    assert seen == frames


@unhurried
@given(st.binary(max_size=5000), st.integers(4096, 8192))
def test_a_long_body_is_cut_into_frames(body: bytes, frame_max: int) -> None:
    """No frame of a message is larger than the client allows, and pamqp can read them all."""
    head = header.ContentHeader(0, len(body)).marshal()
    stream = content(3, head, body * 3, frame_max)
    bodies: list[Any] = []
    while stream:
        size, channel, value = frame.unmarshal(stream)
        assert (size <= frame_max, channel) == (True, 3)
        bodies.append(value)
        stream = stream[size:]
    assert b"".join(part.value for part in bodies[1:]) == body * 3


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(max_size=8)
    | st.binary(max_size=8).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def plain(value: object) -> object:
    """Turn strings and byte arrays into bytes: a long string is bytes to AMQP."""
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    if isinstance(value, str):
        return value.encode()
    return bytes(value) if isinstance(value, bytearray) else value


@unhurried
@given(st.dictionaries(st.text(max_size=5), values, max_size=4))
def test_tables_decode_as_pamqp_encodes_them(table: dict[str, Any]) -> None:
    """Every value in a field table comes out as it went in."""
    data = encode.field_table(table)
    assert Cursor(data).table() == plain(table)


METHODS = [
    commands.Queue.Declare(queue="q", durable=True, nowait=True, arguments={"x": 1}),
    commands.Queue.Bind(queue="q", exchange="e", routing_key="k"),
    commands.Exchange.Declare(exchange="e", exchange_type="topic", auto_delete=True),
    commands.Basic.Consume(queue="q", consumer_tag="t", no_ack=True, exclusive=True),
    commands.Basic.Nack(delivery_tag=2**40, multiple=True, requeue=False),
    commands.Basic.Qos(prefetch_count=7, global_=True),
    commands.Connection.TuneOk(10, 4096, 60),
]


def payload_of(method: Frame) -> bytes:
    """Return the payload of the frame that pamqp makes."""
    return frame.marshal(method, 1)[7:-1]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_methods_decode_as_pamqp_encodes_them(method: Frame) -> None:
    """Every argument arrives, bits included."""
    payload = payload_of(method)
    decoded = decode_method(payload)
    assert dict(decoded) == dict(method)
    assert method_index(payload) == method.index


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_a_cut_or_padded_method_is_a_frame_error(method: Frame) -> None:
    """A method that lacks bytes, or has too many, is refused at every length."""
    payload = payload_of(method)
    for wrong in [payload[:size] for size in range(len(payload))] + [payload + b"\0"]:
        with pytest.raises(HardError) as caught:
            decode_method(wrong)
        assert caught.value.code in (ReplyCode.FRAME_ERROR, ReplyCode.NOT_IMPLEMENTED)


@unhurried
@given(st.binary(max_size=200))
def test_decoding_raises_nothing_but_protocol_errors(data: bytes) -> None:
    """Whatever the bytes, decoding answers or raises a HardError."""
    decoders: list[Callable[[bytes], object]] = [
        decode_method,
        decode_content_header,
        lambda part: decode_content_header(b"\0\x3c" + part),
        lambda part: Cursor(part).table(),
    ]
    known = [payload_of(method)[:4] + data for method in METHODS]
    tried = [(decode, data) for decode in decoders] + [(decode_method, part) for part in known]
    for decode, part in tried:
        try:
            decode(part)
        except HardError as error:
            assert error.reply_text  # noqa: PT017  # answering is fine too


def test_nesting_is_bounded() -> None:
    """Tables within tables end with a frame error, not with a RecursionError."""
    deep: dict[str, Any] = {}
    for _ in range(MAX_NESTING - 1):
        deep = {"": deep}
    Cursor(encode.field_table(deep)).table()
    with pytest.raises(HardError, match="nested"):
        Cursor(encode.field_table({"": deep})).table()


def test_reply_texts_fit_their_field() -> None:
    """A reply text is cut at 255 bytes, between characters."""
    text = SoftError(ReplyCode.NOT_FOUND, "ü" * 300).reply_text
    assert len(text.encode()) in (254, 255)
    assert text.startswith("NOT_FOUND - ü")


def test_tables_come_back_as_they_were() -> None:
    """What `Cursor` decodes is packed without loss."""
    table = {
        "flag": True,
        "small": -5,
        "large": -(1 << 40),
        "time": (1 << 64) - 1,
        "float": 0.1,
        "bytes": "é".encode(),
        "none": None,
        "decimal": (2, -314),
        "nested": {"list": [1, [b"x", {}]]},
    }
    again = Cursor(pack_table(table)).table()
    assert again == table
    assert [type(value) for value in again.values()] == [type(value) for value in table.values()]
