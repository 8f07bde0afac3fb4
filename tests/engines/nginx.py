"""A real nginx for tests: a child with its own folder and port, for as long as a block runs.

It listens on 127.0.0.1 alone. Debian and Ubuntu: `apt-get install nginx-light`.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from labsvc.child import Child, TempFolder
from labsvc.ports import HOST, hold

if TYPE_CHECKING:
    from collections.abc import Iterator

READY_SECONDS = 30.0

# One process, so that no worker can outlive its master. A folder that has no place here would be
# the one of the package, in /var.
CONFIG = """\
daemon off;
master_process off;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    scgi_temp_path {folder}/scgi;
    uwsgi_temp_path {folder}/uwsgi;
    {settings}
    server {{
        listen {host}:{port} {protocol};
        location / {{ {location} }}
    }}
}}
"""


def missing() -> str | None:
    """Return why no nginx can be started here, None if one can."""
    if os.name == "nt" or program() is None:
        return "nginx is not installed; `apt-get install nginx-light` brings it"
    return None


def program() -> str | None:
    """Return where nginx is: Debian puts it where only root looks."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def nginx(location: str, *, settings: str = "", http2: bool = False) -> Iterator[str]:
    """Run one with a single location, and yield its "host:port".

    Args:
        location: the directives for every path.
        settings: directives of the http block.
        http2: speak it, and nothing else, without TLS.

    Raises:
        EngineError: it ended at once, or takes no connections.

    """
    temporary, held = TempFolder(), hold(0)
    port = held.getsockname()[1]
    text = CONFIG.format(
        folder=temporary.path,
        host=HOST,
        port=port,
        protocol="http2" if http2 else "",
        settings=settings,
        location=location,
    )
    config = temporary.path / "nginx.conf"
    config.write_text(text)
    child = Child([program() or "nginx", "-p", str(temporary.path), "-c", str(config)], deque())
    try:
        child.wait_until(lambda: _listens(port), READY_SECONDS)
        yield f"{HOST}:{port}"
    finally:
        child.stop()
        held.close()
        temporary.remove()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False
