"""An object store: `rclone serve s3` in a child process, or the S3 that LAB_S3_ENDPOINT names."""

from __future__ import annotations

import http.client
import os
import secrets
from typing import TYPE_CHECKING

from labsvc.engines import find_rclone
from labsvc.hosts.external import ExternalService, target_of
from labsvc.hosts.program import ProgramService
from labsvc.ports import HOST, free_port

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "LAB_S3_ENDPOINT"
ACCESS_KEY = "lab"
PROBE_TIMEOUT = 0.5


class ObjectsService(ProgramService):
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

    @property
    def url(self) -> str:
        """The endpoint as "http://127.0.0.1:port"."""
        return f"http://{self.target}"

    def _open(self, port: int) -> int:
        port = free_port(port)
        objects = self._folder / "objects"
        objects.mkdir(parents=True, exist_ok=True)
        command = [
            *(str(find_rclone().path), "serve", "s3", str(objects)),
            *("--addr", f"{HOST}:{port}", "--vfs-cache-mode", "off"),
            *("--config", os.devnull, "--cache-dir", str(self._folder / "cache")),
        ]
        # In the environment, for other users of the machine can read a command line.
        env = {"RCLONE_AUTH_KEY": f'"{self.access_key},{self.secret_key}"'}
        self._run(command, lambda: _answers(port), env=env)
        return port


class ExternalObjects(ExternalService):
    """An S3 that runs elsewhere, with the usual AWS variables for its keys."""

    def __init__(self, name: str, url: str) -> None:
        wrong = f"{VARIABLE} must be an address such as https://s3.example.org, not {url!r}"
        super().__init__(name, target_of(url, {"http": 80, "https": 443}, wrong), VARIABLE)
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
