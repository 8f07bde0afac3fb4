"""The bytes of AMQP 0-9-1. Knows no queue and no message, only what stands in a frame.

`frames`: the envelope of everything that is sent. Inside it: `cursor` reads values, `decode`
methods, `content_header` the properties of a message, in full or to change some of them.
The way back: `encode` makes field tables of values, `encoded` handles values that stay bytes.
"""

from __future__ import annotations

__all__ = ["content_header", "cursor", "decode", "encode", "encoded", "frames"]
