"""What makes at-least-once delivery safe, in plain aio-pika and sqlite3.

    `idempotent`    an effect that happens once, though its message is delivered twice
    `deadletter`    a queue that puts aside what nobody can handle, and says why
    `outbox`        an event that is sent if, and only if, its transaction was committed

Used by notebook 51. Each module stands alone, to take to work.
"""

from labsvc.delivery.deadletter import Death, aio_declare_with_dead_letters, deaths
from labsvc.delivery.idempotent import AioIdempotent, Effect
from labsvc.delivery.outbox import AioOutbox

__all__ = [
    "AioIdempotent",
    "AioOutbox",
    "Death",
    "Effect",
    "aio_declare_with_dead_letters",
    "deaths",
]
