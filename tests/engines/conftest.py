"""The real engines, started once per test process and ended with it."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.amqp.tools import quiet_loop
from tests.engines.clients import AioPikaClient, PikaClient
from tests.engines.engine import LabsvcEngine, RabbitEngine
from tests.engines.rabbit import RabbitMQ, missing
from tests.engines.raw import Raw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labsvc.loop import Loop
    from tests.engines.clients import Channel, Client
    from tests.engines.engine import Engine


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[RabbitMQ]:
    """Run a RabbitMQ for all tests of this process; skip where none is installed."""
    why_not = missing()
    if why_not:
        pytest.skip(why_not)
    server = RabbitMQ()
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def rabbitmq_url(rabbitmq: RabbitMQ) -> str:
    """Return the address of the RabbitMQ, user and password included."""
    return rabbitmq.url()


@pytest.fixture(scope="session")
def labsvc_engine() -> Iterator[LabsvcEngine]:
    """Run our broker for all tests of this process; it must not log anything."""
    engine = LabsvcEngine()
    yield engine
    engine.stop()
    assert list(engine.loop.log) == []


@pytest.fixture(scope="session", params=["rabbitmq", "labsvc"])
def engine(request: pytest.FixtureRequest) -> Engine:
    """Run one of the two brokers."""
    if request.param == "rabbitmq":
        return RabbitEngine(request.getfixturevalue("rabbitmq"))
    ours: LabsvcEngine = request.getfixturevalue("labsvc_engine")
    return ours


@pytest.fixture(scope="session")
def broker_url(engine: Engine) -> str:
    """Return the address of one of the two brokers, user and password included."""
    return engine.url()


@pytest.fixture(scope="session")
def client_loop() -> Iterator[Loop]:
    """Run the loop that carries aio-pika."""
    with quiet_loop() as loop:
        yield loop


@pytest.fixture(params=[PikaClient, AioPikaClient], ids=["pika", "aio-pika"])
def connect(
    request: pytest.FixtureRequest, engine: Engine, client_loop: Loop
) -> Iterator[Callable[..., Client]]:
    """Return a function that opens a connection, by `url=` to another virtual host."""
    with ExitStack() as clients:

        def opened(url: str = "") -> Client:
            made: Client = request.param(url or engine.url(), client_loop)
            return clients.enter_context(made)

        yield opened


@pytest.fixture
def client(connect: Callable[..., Client]) -> Client:
    """Open a connection."""
    return connect()


@pytest.fixture
def channel(client: Client) -> Channel:
    """Open a channel that confirms what is published."""
    return client.channel()


@pytest.fixture
def raw(engine: Engine) -> Iterator[Raw]:
    """Open a socket, log in, and open channel 1."""
    with Raw(engine.url()) as opened:
        opened.log_in()
        opened.open_channel()
        yield opened


@pytest.fixture
def new() -> Callable[[str], str]:
    """Return a function that makes a name which no other test uses."""
    ending = secrets.token_hex(4)
    return lambda name: f"{name}-{ending}"
