"""Requests and answers on a connection of HTTP/2, found in its frames (RFC 9113, section 4).

A request is struck at its headers, before the server sees anything of it; an answer at its first
frame, so that none of it arrives. A server sends that when its work is done, unless a handler sends
initial metadata before. Header blocks are never left out of a connection that goes on: both ends
keep a table of them (RFC 7541).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hpack import Decoder, Encoder, NeverIndexedHeaderTuple
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    Frame,
    HeadersFrame,
    RstStreamFrame,
    WindowUpdateFrame,
)

from labsvc.sweep.frames import Frames

if TYPE_CHECKING:
    from labsvc.proxy.gate import Line
    from labsvc.sweep.points import Points

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
CANCEL = 8  # an error code of RFC 9113
_HEAD = 9  # bytes before the body of a frame
_UNAVAILABLE = Encoder().encode(
    [
        (":status", "200"),
        NeverIndexedHeaderTuple("content-type", "application/grpc"),
        NeverIndexedHeaderTuple("grpc-status", "14"),
        NeverIndexedHeaderTuple("grpc-message", "refused by the sweep"),
    ]
)


class Http2Gate:
    """Watches one connection; `run` decides what happens at each point."""

    def __init__(self, line: Line, run: Points) -> None:
        self._line = line
        self._run = run
        self._from_client = _frames(len(PREFACE))
        self._from_server = _frames()
        self._decoder = Decoder()
        self._block = b""  # of a request, up to where it has come
        self._unsent = b""  # the same in frames
        self._open: dict[int, tuple[str, int]] = {}  # method and number of a stream's request
        self._refused: set[int] = set()
        self._late: int | None = None  # the stream whose answer is held back
        self._held = b""  # with all that came after it
        self._over = False

    def up(self, data: bytes) -> None:
        """Take bytes from the client."""
        for raw in self._from_client.split(data):
            if self._over:
                return
            if raw.startswith(PREFACE):
                self._line.pass_up(raw)
                continue
            frame = _parse(raw)
            if isinstance(frame, HeadersFrame | ContinuationFrame):
                self._request(frame, raw)
            elif frame.stream_id in self._refused and isinstance(frame, DataFrame):
                # The client's window for the connection opens as if a server had read it.
                credit = WindowUpdateFrame(0, window_increment=len(raw) - _HEAD)
                self._line.pass_down(credit.serialize())
            else:
                self._line.pass_up(raw)
                if isinstance(frame, RstStreamFrame):
                    self._given_up(frame.stream_id)

    def down(self, data: bytes) -> None:
        """Take bytes from the server."""
        if self._late is not None:
            self._held += data
            return
        for raw in self._from_server.split(data):
            frame = _parse(raw)
            fault = None
            if frame.stream_id in self._open and isinstance(frame, HeadersFrame):
                _, fault = self._run.reach("answer", *self._open.pop(frame.stream_id))
            if fault == "late":
                # All that follows waits too: header blocks keep their order.
                self._late = frame.stream_id
                self._held = raw + self._from_server.rest()
                return
            if fault is not None:
                self._break()
                return
            self._line.pass_down(raw)

    def _request(self, frame: HeadersFrame | ContinuationFrame, raw: bytes) -> None:
        """Collect a header block; when it is whole, let the request through or not."""
        self._block += frame.data
        self._unsent += raw
        if "END_HEADERS" not in frame.flags:
            return
        block, unsent = self._block, self._unsent
        self._block = self._unsent = b""
        headers = dict(self._decoder.decode(block, raw=True))
        method = headers.get(b":path", b"").decode().rpartition("/")[2]
        number, fault = self._run.reach("request", method)
        if fault in ("lost", "killed"):
            self._break()
            return
        self._line.pass_up(unsent)
        if fault is None:
            self._open[frame.stream_id] = method, number
            return
        self._refused.add(frame.stream_id)
        self._line.pass_up(RstStreamFrame(frame.stream_id, error_code=CANCEL).serialize())
        refusal = HeadersFrame(frame.stream_id, _UNAVAILABLE, flags=["END_HEADERS", "END_STREAM"])
        self._line.pass_down(refusal.serialize())

    def _given_up(self, stream: int) -> None:
        """Let a late answer go on its way, now that nobody waits for it."""
        self._open.pop(stream, None)
        if stream == self._late:
            self._late, held, self._held = None, self._held, b""
            self.down(held)  # the client knows the stream no more, but needs the header blocks

    def _break(self) -> None:
        self._over = True
        self._line.reset()


def _frames(preface: int = 0) -> Frames:
    return Frames(_HEAD, lambda head: _HEAD + int.from_bytes(head[:3]), preface)


def _parse(raw: bytes) -> Frame:
    frame, _ = Frame.parse_frame_header(memoryview(raw[:_HEAD]))
    frame.parse_body(memoryview(raw[_HEAD:]))
    return frame
