"""Silence for client libraries whose connections are broken on purpose."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NOISY = ("aio_pika", "aiormq", "asyncio")
"""Loggers that report each connection that is broken, and each task that is ended."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the client libraries from reporting what is done to them."""
    loggers = [logging.getLogger(name) for name in NOISY]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
