"""One process of a checkout, to be killed: a service, the orchestrator under load, or its end.

python -m tests.delivery.saga_process FOLDER stock|payment|orders|load|settle

They meet at sockets in FOLDER, and say a line when they are at work.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.delivery.saga import Saga
from labsvc.shop.books import open_book
from labsvc.shop.checkout import AioCheckout, AioPayment, AioStock
from labsvc.shop.steps import checkout_steps
from labsvc.shop.v1 import checkout_pb2_grpc, inventory_pb2_grpc, payment_pb2_grpc

if TYPE_CHECKING:
    from labsvc.shop.books import Service

THREADS = 4
DICE = random.SystemRandom()
TIMEOUT = 5.0  # seconds for a call; a service that was killed is UNAVAILABLE at once
SERVICES: dict[Service, Any] = {
    "stock": (AioStock, inventory_pb2_grpc.add_InventoryServiceServicer_to_server),
    "payment": (AioPayment, payment_pb2_grpc.add_PaymentServiceServicer_to_server),
    "orders": (AioCheckout, checkout_pb2_grpc.add_CheckoutServiceServicer_to_server),
}
QUICK = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
]


def say(what: object) -> None:
    """Write a line for whoever has started us."""
    print(what, flush=True)  # noqa: T201  # a pipe


async def serve(folder: Path, name: Service) -> None:
    """Serve one of the three until the end."""
    servicer, add = SERVICES[name]
    server = grpc.aio.server()
    add(servicer(open_book(folder, name)), server)
    server.add_insecure_port(f"unix:{folder}/{name}")
    await server.start()
    say("ready")
    await server.wait_for_termination()


def orchestrator(folder: Path) -> Saga:
    """Return the saga on its journal, with channels to the three."""
    channels = [grpc.insecure_channel(f"unix:{folder}/{name}", options=QUICK) for name in SERVICES]
    db = sqlite3.connect(folder / "sagas.db", timeout=5, check_same_thread=False)
    return Saga(db, checkout_steps(*channels, timeout=TIMEOUT))


def order(saga: Saga) -> None:
    """Place orders for ever; some users have no money, and some goods run out."""
    while True:
        user_id, sku = DICE.choice(["rich"] * 4 + ["poor"]), DICE.choice(["many", "few"])
        data = {"user_id": user_id, "sku": sku, "pieces": DICE.randint(1, 3), "cents": 100}
        saga.run(str(uuid.uuid4()), data)


def load(folder: Path) -> None:
    """Go on with what was left, and with new orders beside it."""
    saga = orchestrator(folder)
    say(len(saga.unfinished()))
    recovery = threading.Thread(target=saga.recover)
    recovery.start()
    for _ in range(THREADS):
        threading.Thread(target=order, args=(saga,)).start()


def settle(folder: Path) -> None:
    """Go on with what was left until nothing is."""
    saga = orchestrator(folder)
    say(len(saga.unfinished()))
    while saga.unfinished():
        saga.recover()


if __name__ == "__main__":
    place, role = Path(sys.argv[1]), sys.argv[2]
    if role == "load":
        load(place)
    elif role == "settle":
        settle(place)
    else:
        asyncio.run(serve(place, role))  # type: ignore[arg-type]
