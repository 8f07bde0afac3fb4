"""What makes at-least-once delivery safe, in plain aio-pika and sqlite3.

    `idempotent`    an effect that happens once, though its message is delivered twice
    `deadletter`    a queue that puts aside what nobody can handle, and says why
    `outbox`        an event that is sent if, and only if, its transaction was committed
    `saga`          a step over several services: all of it, or all of it taken back
    `barrier`       the other side of a saga: each of its calls takes effect once, in order

Used by notebooks 51 and 53. Each module stands alone, to take to work.
"""

from labsvc.delivery.barrier import Barrier, TooLate
from labsvc.delivery.deadletter import Death, aio_declare_with_dead_letters, deaths
from labsvc.delivery.idempotent import AioIdempotent, Effect
from labsvc.delivery.outbox import AioOutbox
from labsvc.delivery.saga import Refused, Result, Saga, Step

__all__ = [
    "AioIdempotent",
    "AioOutbox",
    "Barrier",
    "Death",
    "Effect",
    "Refused",
    "Result",
    "Saga",
    "Step",
    "TooLate",
    "aio_declare_with_dead_letters",
    "deaths",
]
