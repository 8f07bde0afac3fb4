"""An engine that runs elsewhere, in the place of one that the lab starts."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from labsvc.errors import LabError
from labsvc.hosts.service import GRACE_SECONDS, Service

if TYPE_CHECKING:
    from collections.abc import Mapping


class ExternalService(Service):
    """An engine that runs elsewhere, named by an environment variable."""

    def __init__(self, name: str, target: str, variable: str) -> None:
        super().__init__(name)
        self._target = target
        self._variable = variable
        self._running = True

    @property
    def target(self) -> str:
        """The address as "host:port"."""
        return self._target

    def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Refuse: the lab did not start it.

        Raises:
            LabError: always.

        """
        msg = (
            f"{self.name!r} runs outside the lab ({self._variable} is set), so the lab cannot"
            f" stop it; put lab.proxy({self.name}) before it and cut that, or unset the variable"
        )
        raise LabError(msg)

    def release(self) -> None:
        """Leave it running."""

    def _open(self, port: int) -> int:
        return port

    def _close(self, grace: float) -> None:
        return None


def target_of(url: str, ports: Mapping[str, int], wrong: str) -> str:
    """Return the "host:port" of an address.

    Args:
        url: the address.
        ports: the port of each scheme that it may have, where it names none.
        wrong: what to say of any other text.

    Raises:
        LabError: it has another scheme, or no host.

    """
    parts = urlsplit(url)
    if parts.scheme not in ports or not parts.hostname:
        raise LabError(wrong)
    return f"{parts.hostname}:{parts.port or ports[parts.scheme]}"
