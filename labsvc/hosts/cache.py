"""Redis in a child process, or the one that LAB_REDIS_URL names."""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING

from labsvc.engines import find_redis
from labsvc.hosts.external import ExternalService, target_of
from labsvc.hosts.program import ProgramService
from labsvc.ports import HOST, free_port

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "LAB_REDIS_URL"


class CacheService(ProgramService):
    """A Redis server; `Lab.serve_cache` makes one. It keeps nothing over a stop."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self._folder = folder
        self._password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        """The address as "redis://:password@127.0.0.1:port/0"."""
        return f"redis://:{self._password}@{self.target}/0"

    def _open(self, port: int) -> int:
        port = free_port(port)
        self.log.clear()  # of what the last run said when it was ready
        # In a file, for other users of the machine can read a command line.
        settings = self._folder / "redis.conf"
        settings.touch(mode=0o600)
        settings.write_text(
            f"bind {HOST}\nport {port}\nrequirepass {self._password}\n"
            f'dir "{self._folder.as_posix()}"\nsave ""\nappendonly no\n',
            encoding="utf-8",
        )
        self._run([str(find_redis().path), str(settings)], partial(self._said, "eady to accept"))
        return port


class ExternalCache(ExternalService):
    """A Redis that runs elsewhere."""

    def __init__(self, name: str, url: str) -> None:
        wrong = f"{VARIABLE} is no address of a Redis; write redis://:password@host:6379/0"
        target = target_of(url, {"redis": 6379, "rediss": 6379}, wrong)
        super().__init__(name, target, VARIABLE)
        self.url = url
