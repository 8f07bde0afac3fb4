"""An object store: `rclone serve s3` in a child process, or the S3 that LAB_S3_ENDPOINT names."""

from __future__ import annotations

import http.client
import os
import secrets
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from labsvc.child import Child
from labsvc.engines import find_rclone
from labsvc.errors import LabError
from labsvc.hosts.service import ExternalService, Service
from labsvc.ports import HOST

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "LAB_S3_ENDPOINT"
ACCESS_KEY = "lab"
PROBE_TIMEOUT = 0.5


class ObjectsService(Service):
    """An S3 endpoint; `Lab.serve_objects` makes one.

    A boto3 client for it needs `signature_version="s3v4"`, path addressing and
    `response_checksum_validation="when_required"`. Objects are kept over a stop and a
    start, until the lab stops.
    """

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self.access_key = ACCESS_KEY
        self.secret_key = secrets.token_urlsafe(24)
        self._folder = folder
        self._child: Child | None = None

    @property
    def url(self) -> str:
        """The endpoint as "http://127.0.0.1:port"."""
        return f"http://{self.target}"

    def _open(self, port: int) -> int:
        port = _free_port(port)
        objects = self._folder / "objects"
        objects.mkdir(parents=True, exist_ok=True)
        command = [
            *(str(find_rclone().path), "serve", "s3", str(objects)),
            *("--addr", f"{HOST}:{port}", "--vfs-cache-mode", "off"),
            *("--config", os.devnull, "--cache-dir", str(self._folder / "cache")),
        ]
        # In the environment, for other users of the machine can read a command line.
        env = {"RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"'}
        self._child = Child(command, self.log, env)
        self._child.wait_until(lambda: _answers(port))
        return port

    def _close(self, grace: float) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None


class ExternalObjects(ExternalService):
    """An S3 that runs elsewhere, with the usual AWS variables for its keys."""

    def __init__(self, name: str, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            msg = f"{VARIABLE} must be an address such as https://s3.example.org, not {url!r}"
            raise LabError(msg)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        super().__init__(name, f"{parts.hostname}:{port}", VARIABLE)
        self.url = url
        self.access_key = os.environ.get("AWS_ACCESS_KEY_ID", "")
        self.secret_key = os.environ.get("AWS_SECRET_ACCESS_KEY", "")


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=PROBE_TIMEOUT)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status > 0
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port(wanted: int) -> int:
    with socket.socket() as sock:
        sock.bind((HOST, wanted))
        port: int = sock.getsockname()[1]
        return port
