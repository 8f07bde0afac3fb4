"""TLS: why it failed, a certificate that is renewed while calls run, and who the caller is.

    reason(error)                why a call did not get through, from the text of its error
    credentials = reloading(read)    a server's certificate, read anew for each connection
    peer_names(context)          the names in the caller's certificate, in a handler

Claim C38; notebook 40 shows the use, and what a caller cannot see: a server of gRPC that turns
a client's certificate down says nothing. It closes the connection.
"""

from __future__ import annotations

import logging
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    Pair = tuple[bytes, bytes]

log = logging.getLogger(__name__)

_NEVER_CONNECTED = "failed to connect to all addresses"


class Reason(StrEnum):
    """Why TLS did not come about, as the caller sees it."""

    PLAINTEXT = "the server speaks plaintext"
    WRONG_NAME = "the certificate is for another name"
    EXPIRED = "the certificate has expired"
    NOT_YET_VALID = "the certificate is not valid yet"
    UNKNOWN_CA = "the authority is not trusted"
    BAD_ROOTS = "the trusted certificates cannot be read"
    CLOSED = "closed: it wants TLS, or another client certificate"


# What grpcio 1.85 says, in the order to look for it: the more exact text comes first. The code is
# UNAVAILABLE each time, and neither code nor metadata tells these apart.
_TEXTS = (
    ("WRONG_VERSION_NUMBER", Reason.PLAINTEXT),
    ("Hostname Verification Check failed", Reason.WRONG_NAME),
    ("certificate has expired", Reason.EXPIRED),
    ("certificate is not yet valid", Reason.NOT_YET_VALID),
    ("CERTIFICATE_VERIFY_FAILED", Reason.UNKNOWN_CA),
    ("Failed to create security handshaker", Reason.BAD_ROOTS),
    ("Socket closed", Reason.CLOSED),
    ("Connection reset by peer", Reason.CLOSED),
    ("Broken pipe", Reason.CLOSED),
)


def reason(error: grpc.RpcError | None) -> Reason | None:
    """Return why TLS failed, or None where that is not what happened.

    Takes what a call raised, of a sync channel or a grpc.aio one. With `wait_for_ready` there is
    nothing to read: such a call ends with DEADLINE_EXCEEDED and says no more. With several
    addresses gRPC tells of the last one only. What a service says itself is passed over, unless it
    begins as gRPC's own text does.
    """
    if error is None:
        return None
    call: Any = error
    text = call.details() or ""
    if call.code() is not grpc.StatusCode.UNAVAILABLE or not text.startswith(_NEVER_CONNECTED):
        return None
    return next((found for known, found in _TEXTS if known in text), None)


def reloading(read: Callable[[], Pair], *, clients: bytes | None = None) -> grpc.ServerCredentials:
    """Return a server's credentials whose certificate can be renewed while it serves.

    gRPC calls `read` for each new connection, on a thread of its own, so keep it short; connections
    that are open stay. If `read` raises, that is logged and the certificate before is used on. So
    it is, without a word, if key and certificate are no pair, as between the writes of two files:
    look at the expiry from outside (`ssl.get_server_certificate`).

    Args:
        read: returns the private key and the chain of certificates, both in PEM.
        clients: the authorities of the clients, in PEM; with them each client needs a certificate.

    """

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration([read()], clients)

    newest = configuration()

    def fetch() -> grpc.ServerCertificateConfiguration:
        nonlocal newest
        try:
            newest = configuration()
        except Exception:
            log.exception("the certificate could not be read; the one before is used on")
        return newest

    return grpc.dynamic_ssl_server_credentials(newest, fetch, clients is not None)


def peer_names(context: Any) -> tuple[str, ...]:
    """Return the names in the certificate of a handler's caller; empty if it has shown none.

    They are the subject alternative names (RFC 5280, 4.2.1.6), of which a certificate may have
    several. gRPC has checked them only if the server asks for certificates of clients.
    """
    names = context.auth_context().get("x509_subject_alternative_name", ())
    return tuple(name.decode() for name in names)
