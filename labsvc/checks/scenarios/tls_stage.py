"""The stage of notebook 40's exercise: servers with TLS, each with one thing wrong with it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import trustme

from labsvc.ports import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labsvc.checks.sandbox import Sandbox

ONE_DAY = timedelta(days=1)
ELSEWHERE = "coupons.internal"
IN_TIME = 0.3  # seconds until an answer, well within the second that the exercise gives
TOO_LATE = 2.5  # seconds; a machine that stands still for one of them must not make it in time
TALK = b"certificate has expired, WRONG_VERSION_NUMBER, Server disconnected"
"""What a server may say that has nothing to do with the TLS that carries it."""


class Page:
    """An app that answers each request with a status and a text, and counts them."""

    def __init__(self, status: int = 200, *, after: float = 0) -> None:
        self.asked = 0
        self._status = status
        self._after = after

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer."""
        if scope["type"] == "lifespan":
            return
        self.asked += 1
        await asyncio.sleep(self._after)
        start = {"type": "http.response.start", "status": self._status, "headers": []}
        await send(start)
        await send({"type": "http.response.body", "body": TALK})


@dataclass(frozen=True)
class SetUp:
    """One set-up: what the answer is given, the word for it, and what is so."""

    url: str
    context: ssl.SSLContext
    word: str
    what: str
    page: Page
    hint: str = ""
    """What to say instead of the hint for the word."""


class Stage:
    """Makes set-ups: certificates of its own, and a server for each."""

    def __init__(self, room: Sandbox) -> None:
        self._room = room
        self._ours = trustme.CA()
        self._stranger = trustme.CA()
        self._number = 0

    def quick(self) -> list[SetUp]:
        """Return the set-ups in which there is an end soon, always in the same order."""
        makers: Sequence[Callable[[], SetUp]] = (
            self._fine, self._takes_time, self._refuses, self._knows_us, self._needs_none,
            self._plaintext, self._wants_tls, self._wants_tls_and_us, self._other_name,
            self._expired, self._early, self._unknown, self._signed_by_itself, self._no_client,
            self._foreign_client, self._old_client, self._down, self._down_in_plaintext,
        )  # fmt: skip
        return [make() for make in makers]

    def trusting(self, client: trustme.LeafCert | None = None) -> ssl.SSLContext:
        """Return a client's context that trusts our authority."""
        context = ssl.create_default_context(cadata=self._ours.cert_pem.bytes().decode())
        if client is not None:
            client.configure_cert(context)
        return context

    def _serve(
        self, page: Page, certificate: trustme.LeafCert | None = None, *, mutual: bool = False
    ) -> str:
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            if mutual:
                self._ours.configure_trust(context)
                context.verify_mode = ssl.CERT_REQUIRED
        return self._host(page, context)

    def _host(self, page: Page, context: ssl.SSLContext | None) -> str:
        self._number += 1
        return self._room.serve_http(page, name=f"page-{self._number}", tls=context).url

    def _ours_for(self, name: str = HOST, **validity: Any) -> trustme.LeafCert:
        return self._ours.issue_cert(name, **validity)

    def _fine(self) -> SetUp:
        page = Page()
        url = self._serve(page, self._ours_for())
        return SetUp(url, self.trusting(), "fine", "all was well", page)

    def _takes_time(self) -> SetUp:
        page = Page(after=IN_TIME)
        url = self._serve(page, self._ours_for())
        what = f"the server answered after {IN_TIME} seconds"
        hint = "Silence is no answer within a second: how long does your call wait?"
        return SetUp(url, self.trusting(), "fine", what, page, hint)

    def _refuses(self) -> SetUp:
        page = Page(503)
        url = self._serve(page, self._ours_for())
        return SetUp(url, self.trusting(), "fine", "the server answered 503, over TLS", page)

    def _knows_us(self) -> SetUp:
        page = Page(403)
        url = self._serve(page, self._ours_for(), mutual=True)
        context = self.trusting(self._ours_for("orders.internal"))
        what = "the context had the certificate that is wanted, and the server answered 403"
        return SetUp(url, context, "fine", what, page)

    def _needs_none(self) -> SetUp:
        page = Page(400)
        url = self._serve(page)
        what = "both sides spoke plaintext, and the server answered 400"
        return SetUp(url, self.trusting(), "fine", what, page)

    def _plaintext(self) -> SetUp:
        page = Page()
        url = self._serve(page).replace("http:", "https:")
        return SetUp(url, self.trusting(), "plaintext", "the server spoke plaintext", page)

    def _wants_tls(self) -> SetUp:
        page = Page()
        url = self._serve(page, self._ours_for()).replace("https:", "http:")
        return SetUp(url, self.trusting(), "tls", "the URL said http, and the server TLS", page)

    def _wants_tls_and_us(self) -> SetUp:
        page = Page()
        url = self._serve(page, self._ours_for(), mutual=True).replace("https:", "http:")
        what = "the URL said http, and the server wanted mTLS"
        return SetUp(url, self.trusting(self._ours_for("orders.internal")), "tls", what, page)

    def _other_name(self) -> SetUp:
        page = Page()
        url = self._serve(page, self._ours_for(ELSEWHERE))
        return SetUp(url, self.trusting(), "name", f"the certificate was for {ELSEWHERE}", page)

    def _expired(self) -> SetUp:
        page = Page()
        url = self._serve(page, self._ours_for(not_after=datetime.now(UTC) - ONE_DAY))
        return SetUp(url, self.trusting(), "time", "the certificate had expired", page)

    def _early(self) -> SetUp:
        page = Page()
        url = self._serve(page, self._ours_for(not_before=datetime.now(UTC) + ONE_DAY))
        return SetUp(url, self.trusting(), "time", "the certificate was not valid yet", page)

    def _unknown(self) -> SetUp:
        page = Page()
        url = self._serve(page, self._stranger.issue_cert(HOST))
        what = "an authority that we do not know had signed the certificate"
        return SetUp(url, self.trusting(), "authority", what, page)

    def _signed_by_itself(self) -> SetUp:
        page, context = Page(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        key, certificate = self._stranger.private_key_pem, self._stranger.cert_pem
        with trustme.Blob(key.bytes() + certificate.bytes()).tempfile() as file:
            context.load_cert_chain(file)
        url = self._host(page, context)
        what = "the certificate was signed by itself"
        return SetUp(url, self.trusting(), "authority", what, page)

    def _no_client(self) -> SetUp:
        page = Page()
        url = self._serve(page, self._ours_for(), mutual=True)
        what = "the server wanted a certificate, and the context had none"
        return SetUp(url, self.trusting(), "client", what, page)

    def _foreign_client(self) -> SetUp:
        page = Page()
        url = self._serve(page, self._ours_for(), mutual=True)
        context = self.trusting(self._stranger.issue_cert("orders.internal"))
        what = "the server did not know who had signed our certificate"
        return SetUp(url, context, "client", what, page)

    def _old_client(self) -> SetUp:
        page = Page()
        url = self._serve(page, self._ours_for(), mutual=True)
        old = self._ours_for("orders.internal", not_after=datetime.now(UTC) - ONE_DAY)
        return SetUp(url, self.trusting(old), "client", "our own certificate had expired", page)

    def _down(self) -> SetUp:
        page = Page()
        service = self._room.serve_http(page, name="down")
        service.stop()
        url = service.url.replace("http:", "https:")
        return SetUp(url, self.trusting(), "down", "nobody listened", page)

    def _down_in_plaintext(self) -> SetUp:
        page = Page()
        service = self._room.serve_http(page, name="down-too")
        service.stop()
        return SetUp(service.url, self.trusting(), "down", "nobody listened", page)

    def is_late(self) -> SetUp:
        """Return a server that takes a request, over TLS, and answers too late."""
        page = Page(after=TOO_LATE)
        url = self._serve(page, self._ours_for())
        what = f"the server answered after {TOO_LATE} seconds"
        return SetUp(url, self.trusting(), "silent", what, page)

    def is_mute(self) -> SetUp:
        """Return a server that takes a connection, and never says a word."""
        listening = socket.create_server((HOST, 0))
        self._room.enter(closing(listening))
        url = f"https://{HOST}:{listening.getsockname()[1]}"
        what = "the server took the connection and said nothing"
        return SetUp(url, self.trusting(), "silent", what, Page())
