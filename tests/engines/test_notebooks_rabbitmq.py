"""The queue notebooks print against a RabbitMQ what they print against the lab's own broker."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.engines.stored_outputs import must_hold

if TYPE_CHECKING:
    from tests.engines.rabbit import RabbitMQ


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["50_queues", "51_delivery"])
def test_stored_outputs_hold_on_rabbitmq(name: str, rabbitmq: RabbitMQ) -> None:
    """With LAB_AMQP_URL every cell prints what is stored, and the notebook leaves no queue."""
    env = {"LAB_AMQP_URL": rabbitmq.url()}
    before = queues(rabbitmq)
    must_hold(name, env)
    assert queues(rabbitmq) == before


def queues(rabbitmq: RabbitMQ) -> set[str]:
    """Return the names of all queues, as erl_call writes them: in codes of their characters."""
    said = rabbitmq.call("rabbit_amqqueue", "list_names", "[]")
    return set(re.findall(r"queue, #Bin<([0-9,]+)>", said))
