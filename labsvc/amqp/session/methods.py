"""Which module handles which method of a channel.

The small ones stand here, the others in `publish`, `consume`, `acknowledge`, `declare` and
`transact`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pamqp import commands

from labsvc.amqp.errors import HardError, ReplyCode, SoftError
from labsvc.amqp.session import acknowledge, consume, declare, transact
from labsvc.amqp.session.assembly import PUBLISH_INDEX
from labsvc.amqp.wire.decode import decode_method

if TYPE_CHECKING:
    from collections.abc import Callable

    from pamqp.base import Frame

    from labsvc.amqp.session.channel import Channel


def handle(channel: Channel, index: int, payload: bytes) -> None:
    """Handle a method frame.

    Raises:
        SoftError: the client broke a rule; close the channel.
        HardError: the client broke a rule; close the connection.

    """
    if channel.assembly.due:
        channel.connection.index = PUBLISH_INDEX  # whose content is due
        text = "expected content for class 60, got a method frame instead"
        raise HardError(ReplyCode.UNEXPECTED_FRAME, text)
    if index == PUBLISH_INDEX:
        channel.assembly.method(payload)
        return
    method = decode_method(payload)
    handler = _HANDLERS.get(type(method))
    if handler is None:
        text = "unimplemented method"
        raise HardError(ReplyCode.COMMAND_INVALID, text)
    handler(channel, method)


def _on_flow(channel: Channel, method: commands.Channel.Flow) -> None:
    if not method.active:
        text = "active=false"
        raise HardError(ReplyCode.NOT_IMPLEMENTED, text)
    channel.reply(commands.Channel.FlowOk(active=True))


def _on_confirm_select(channel: Channel, method: commands.Confirm.Select) -> None:
    if channel.transaction is not None:
        text = "cannot switch from tx to confirm mode"
        raise SoftError(ReplyCode.PRECONDITION_FAILED, text)
    channel.confirms.on = True
    channel.reply(commands.Confirm.SelectOk(), nowait=method.nowait)


_HANDLERS: dict[type[Frame], Callable[[Channel, Any], None]] = {
    commands.Channel.Flow: _on_flow,
    commands.Confirm.Select: _on_confirm_select,
    **acknowledge.HANDLERS,
    **consume.HANDLERS,
    **declare.HANDLERS,
    **transact.HANDLERS,
}
