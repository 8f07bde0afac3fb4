"""The queue notebooks print against a RabbitMQ what they print against the lab's own broker."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.engines.rabbit import RabbitMQ

ROOT = Path(__file__).parent.parent.parent
SOLVED = ROOT / "notebooks" / "solutions"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["50_queues", "51_delivery"])
def test_stored_outputs_hold_on_rabbitmq(name: str, rabbitmq: RabbitMQ) -> None:
    """With LAB_AMQP_URL every cell prints what is stored, and the notebook leaves no queue."""
    command = [
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *("--nbval", str(SOLVED / f"{name}.ipynb"), "--nbval-current-env"),
        *("--nbval-sanitize-with", str(ROOT / "tests" / "nbval.cfg")),
        *("--nbval-cell-timeout", "60"),
    ]
    env = os.environ | {"LAB_AMQP_URL": rabbitmq.url()}
    before = queues(rabbitmq)
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, cwd=ROOT, env=env, timeout=280
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert queues(rabbitmq) == before


def queues(rabbitmq: RabbitMQ) -> set[str]:
    """Return the names of all queues, as erl_call writes them: in codes of their characters."""
    said = rabbitmq.call("rabbit_amqqueue", "list_names", "[]")
    return set(re.findall(r"queue, #Bin<([0-9,]+)>", said))
