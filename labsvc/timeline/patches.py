"""Clients are watched by wrapping what makes their calls; everything is put back at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labsvc.timeline import grpc_client, http_client

if TYPE_CHECKING:
    from contextlib import ExitStack

    from labsvc.timeline.record import Tape

    Patch = tuple[type, str, Any]


def install(tape: Tape, stack: ExitStack) -> None:
    """Wrap the clients' classes, and leave the putting back to `stack`."""
    for patches in (grpc_client.patches, http_client.patches):
        for owner, name, wrapper in patches(tape):
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, wrapper)
