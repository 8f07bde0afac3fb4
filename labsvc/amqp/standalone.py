"""The broker in a process of its own: what `labsvc broker` runs."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from typing import TYPE_CHECKING
from urllib.parse import quote

from labsvc.amqp.broker import Broker
from labsvc.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def serve(
    data: Path,
    port: int,
    user: str,
    password_variable: str | None,
    announce: Callable[[str], None],
    *,
    flush: bool = False,
) -> None:
    """Run a broker until SIGTERM or SIGINT.

    Args:
        data: the folder for what is durable.
        port: 0 for any free one.
        user: who may log in.
        password_variable: the environment variable that has the password; None for a random
            one.
        announce: called with the URL when it is ready. A password that came from a
            variable is not in it.
        flush: what is answered survives a power cut, not just a kill.

    Raises:
        LabError: the variable is not set, or the data cannot be used.
        PortInUseError: another program listens on this port.

    """
    if password_variable is None:
        password = secrets.token_urlsafe(12)
    else:
        password = os.environ.get(password_variable, "")
        if not password:
            msg = f"{password_variable} is not set; put the password there"
            raise LabError(msg)
    broker = Broker(user, password, data, flush=flush)

    def ready() -> None:
        secret = f":{quote(password, safe='')}@"
        announce(broker.url if password_variable is None else broker.url.replace(secret, ":***@"))

    asyncio.run(_serve(broker, port, ready))


async def _serve(broker: Broker, port: int, ready: Callable[[], None]) -> None:
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        try:
            loop.add_signal_handler(number, ended.set)
        except NotImplementedError:  # Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(ended.set))
    await broker.start(port=port)
    ready()
    await ended.wait()
    await broker.stop()
