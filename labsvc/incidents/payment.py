"""The payment service over gRPC with TLS: takes the price of each order once."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import trustme

from labsvc.ports import HOST
from labsvc.rpc import tls
from labsvc.shop.v1 import payment_pb2, payment_pb2_grpc

SECONDS = 0.01
HANG_SECONDS = 20.0
EVERY = 6  # when it hangs, the first call for one order in so many does


class Payment(payment_pb2_grpc.PaymentServiceServicer):
    """Charges an order, once for each order id.

    `hangs` says whether the first call for one order in `EVERY` never gets an answer.
    """

    def __init__(self) -> None:
        self.hangs = False
        self._charged: set[str] = set()
        self._known: set[str] = set()
        self._lock = threading.Lock()

    @property
    def charged(self) -> set[str]:
        """The orders for which money was taken."""
        return self._charged

    def Charge(
        self, request: payment_pb2.ChargeRequest, context: Any
    ) -> payment_pb2.ChargeResponse:
        """Take the money, if it is not taken yet."""
        with self._lock:
            new = request.order_id not in self._known
            self._known.add(request.order_id)
            hung = self.hangs and new and len(self._known) % EVERY == 0
        if hung:
            left = threading.Event()
            if context.add_callback(left.set):
                left.wait(HANG_SECONDS)
        time.sleep(SECONDS)
        with self._lock:
            self._charged.add(request.order_id)
        return payment_pb2.ChargeResponse()


class Certificate:
    """The certificate of the payment service, read anew for each connection."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self._pair = (b"", b"")
        self.renew()

    @property
    def roots(self) -> bytes:
        """What a client has to trust, in PEM."""
        return self._authority.cert_pem.bytes()

    @property
    def credentials(self) -> Any:
        """The credentials of the server."""
        return tls.reloading(lambda: self._pair)

    def renew(self, days: float = 30) -> None:
        """Issue a certificate that ends in so many days; with -1, one that ended yesterday."""
        now = datetime.now(UTC)
        leaf = self._authority.issue_cert(HOST, not_after=now + timedelta(days))
        chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
        self._pair = leaf.private_key_pem.bytes(), chain
