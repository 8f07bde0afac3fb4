from __future__ import annotations

import asyncio
import socket
import ssl
import urllib.error
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("answers_have_ended")

CHECK = "40-diagnosis"
EXPIRED, EARLY, NO_NAME = 10, 9, (62, 64)  # OpenSSL's X509_V_ERR_…


def get(url: str, context: ssl.SSLContext, timeout: float | None = 1) -> httpx2.Response:
    """Ask once."""
    return httpx2.get(url, verify=context, timeout=timeout, trust_env=False)


def word(error: Exception, url: str) -> str:
    """Return the word for an error of httpx2, by its text."""
    words = {
        "expired": "time",
        "not yet valid": "time",
        "not valid for": "name",
        "VERIFY_FAILED": "authority",
        "SSL": "plaintext",
    }
    if isinstance(error, httpx2.TimeoutException):
        return "silent"
    if not isinstance(error, httpx2.ConnectError):
        return "client" if url.startswith("https:") else "tls"
    return next((words[each] for each in words if each in str(error)), "down")


def stub_only(url: str, context: ssl.SSLContext) -> str:
    """Do nothing yet."""
    raise NotImplementedError("write this, then run the check below")  # noqa: EM101


def by_text(url: str, context: ssl.SSLContext, timeout: float = 1) -> str:
    """Solve the exercise."""
    try:
        get(url, context, timeout)
    except httpx2.TransportError as error:
        return word(error, url)
    return "fine"


async def on_asyncio(url: str, context: ssl.SSLContext) -> str:
    """Solve it as a coroutine, with one deadline for all of it."""
    try:
        async with (
            asyncio.timeout(1.5),
            httpx2.AsyncClient(verify=context, timeout=1, trust_env=False) as client,
        ):
            await client.get(url)
    except TimeoutError:
        return "silent"
    except httpx2.HTTPError as error:
        return word(error, url)
    return "fine"


def by_number(error: ssl.SSLCertVerificationError) -> str:
    """Return the word for a certificate that OpenSSL turned down."""
    if error.verify_code in (EXPIRED, EARLY):
        return "time"
    return "name" if error.verify_code in NO_NAME else "authority"


def on_sockets(url: str, context: ssl.SSLContext) -> str:
    """Solve it with Python's own sockets."""
    parts = urlsplit(url)
    mute = "client" if parts.scheme == "https" else "tls"
    try:
        with socket.create_connection((parts.hostname, parts.port), timeout=1) as plain:
            line = plain
            if parts.scheme == "https":
                line = context.wrap_socket(plain, server_hostname=parts.hostname)
            with line:
                line.sendall(b"GET / HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n")
                return "fine" if line.recv(100) else mute
    except ssl.SSLCertVerificationError as error:
        return by_number(error)
    except TimeoutError:
        return "silent"
    except ConnectionRefusedError:
        return "down"
    except ssl.SSLError:
        return "plaintext"
    except ConnectionError:
        return mute


def with_urllib(url: str, context: ssl.SSLContext) -> str:
    """Solve it with what Python brings along."""
    mute = "client" if url.startswith("https:") else "tls"
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
    )
    try:
        with suppress(urllib.error.HTTPError):
            opener.open(url, timeout=1).close()
    except urllib.error.URLError as error:
        cause = error.reason
        if isinstance(cause, ssl.SSLCertVerificationError):
            return by_number(cause)
        words = {TimeoutError: "silent", ssl.SSLError: "plaintext"}
        return next((words[kind] for kind in words if isinstance(cause, kind)), "down")
    except (TimeoutError, ConnectionError) as error:
        return "silent" if isinstance(error, TimeoutError) else mute
    return "fine"


def says_fine(url: str, context: ssl.SSLContext) -> str:
    """Ask nobody."""
    return "fine"


def trusts_everybody(url: str, context: ssl.SSLContext) -> str:
    """Turn the check off in a context of its own."""
    try:
        httpx2.get(url, verify=False, timeout=1, trust_env=False)
    except httpx2.TransportError as error:
        return word(error, url)
    return "fine"


def spoils_the_context(url: str, context: ssl.SSLContext) -> str:
    """Turn the check off for all."""
    context.check_hostname = False
    return by_text(url, context)


def own_context(url: str, context: ssl.SSLContext) -> str:
    """Trust what the system trusts."""
    return by_text(url, ssl.create_default_context())


def older_tls(url: str, context: ssl.SSLContext) -> str:
    """Make all others speak TLS 1.2 too."""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return by_text(url, context)


def in_a_hurry(url: str, context: ssl.SSLContext) -> str:
    """Wait for a tenth of a second."""
    return by_text(url, context, timeout=0.1)


def takes_three_seconds(url: str, context: ssl.SSLContext) -> str:
    """Take the limit of the function for that of the server."""
    return by_text(url, context, timeout=2.9)


def forbidden_is_client(url: str, context: ssl.SSLContext) -> str:
    """Take a 403 for a certificate turned down."""
    try:
        return "client" if get(url, context).status_code == 403 else "fine"
    except httpx2.TransportError as error:
        return word(error, url)


def bad_request_is_tls(url: str, context: ssl.SSLContext) -> str:
    """Take a 400 for a server that wants TLS."""
    try:
        return "tls" if get(url, context).status_code == 400 else "fine"
    except httpx2.TransportError as error:
        return word(error, url)


def any_failure_is_down(url: str, context: ssl.SSLContext) -> str:
    """Go by the class alone."""
    try:
        get(url, context)
    except httpx2.TimeoutException:
        return "silent"
    except httpx2.TransportError:
        return "down"
    return "fine"


def closed_is_client(url: str, context: ssl.SSLContext) -> str:
    """Do not look at the URL."""
    found = by_text(url, context)
    return "client" if found == "tls" else found


def closed_is_tls(url: str, context: ssl.SSLContext) -> str:
    """Take each hang-up for a server that wants TLS."""
    found = by_text(url, context)
    return "tls" if found == "client" else found


def only_expired(url: str, context: ssl.SSLContext) -> str:
    """Know one end of a certificate's time."""
    try:
        get(url, context)
    except httpx2.TransportError as error:
        return "authority" if "not yet valid" in str(error) else word(error, url)
    return "fine"


def one_text_of_authorities(url: str, context: ssl.SSLContext) -> str:
    """Know one text, and take the others for plaintext."""
    try:
        get(url, context)
    except httpx2.TransportError as error:
        found = word(error, url)
        known = "unable to get local issuer" in str(error)
        return "plaintext" if found == "authority" and not known else found
    return "fine"


def verify_failed_is_authority(url: str, context: ssl.SSLContext) -> str:
    """Read the first words only."""
    try:
        get(url, context)
    except httpx2.TransportError as error:
        return "authority" if "VERIFY_FAILED" in str(error) else word(error, url)
    return "fine"


def a_status_is_a_failure(url: str, context: ssl.SSLContext) -> str:
    """Take a 503 for a server that is down."""
    try:
        return "fine" if get(url, context).is_success else "down"
    except httpx2.TransportError as error:
        return word(error, url)


def reads_the_page(url: str, context: ssl.SSLContext) -> str:
    """Believe what the server says."""
    try:
        return "time" if "expired" in get(url, context).text else "fine"
    except httpx2.TransportError as error:
        return word(error, url)


def waits_for_ever(url: str, context: ssl.SSLContext) -> str:
    """Have no timeout."""
    try:
        get(url, context, timeout=4.4)
    except httpx2.TransportError as error:
        return word(error, url)
    return "fine"


def raises(url: str, context: ssl.SSLContext) -> str:
    """Let errors through."""
    get(url, context)
    return "fine"


def raises_on_status(url: str, context: ssl.SSLContext) -> str:
    """Let a status through."""
    try:
        get(url, context).raise_for_status()
    except httpx2.TransportError as error:
        return word(error, url)
    return "fine"


def asks_twice(url: str, context: ssl.SSLContext) -> str:
    """Make sure."""
    with suppress(httpx2.TransportError):
        get(url, context)
    return by_text(url, context)


def shouts(url: str, context: ssl.SSLContext) -> str:
    """Write the words otherwise."""
    return by_text(url, context).upper()


def slow_is_down(url: str, context: ssl.SSLContext) -> str:
    """Make one word of two."""
    found = by_text(url, context)
    return "down" if found == "silent" else found


def test_the_stub_is_no_attempt() -> None:
    """The stub is told apart."""
    assert_not_attempted(CHECK, stub_only)


@pytest.mark.parametrize("answer", [by_text, on_asyncio, on_sockets, with_urllib])
def test_right_answers_are_solved(answer: Callable[..., object]) -> None:
    """Every form that says what is so is right."""
    assert_solved(CHECK, answer)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (says_fine, "spoke plaintext, and your function says 'fine'", "what came back was no"),
        (trusts_everybody, "and your function says 'client'", "use the `context`"),
        (spoils_the_context, "has changed the context", "Only use it"),
        (older_tls, "has changed the context", "Only use it"),
        (in_a_hurry, "answered after 0.3 seconds, and your function says 'silent'", "how long"),
        (takes_three_seconds, "answered after 2.5 seconds, and your", "A second is the limit"),
        (forbidden_is_client, "answered 403, and your function says 'client'", "has carried it"),
        (bad_request_is_tls, "answered 400, and your function says 'tls'", "has carried it"),
        (own_context, "and your function says 'authority'", "use the `context`"),
        (any_failure_is_down, "and your function says 'down'", "what came back was no TLS"),
        (closed_is_client, "the URL said http, and the server TLS", "what does the URL say?"),
        (closed_is_tls, "and your function says 'tls'", "the URL said https"),
        (only_expired, "was not valid yet, and your function says 'authority'", "before a"),
        (one_text_of_authorities, "was signed by itself", "what is left of VERIFY_FAILED"),
        (verify_failed_is_authority, "was for coupons.internal, and", "not valid"),
        (a_status_is_a_failure, "and your function says 'down'", "TLS has carried it"),
        (reads_the_page, "and your function says 'time'", "TLS has carried it"),
        (waits_for_ever, "took longer than three seconds", "How long does your call wait"),
        (raises, "and your function raised", "the word is the answer"),
        (raises_on_status, "raised HTTPStatusError", "TLS has carried it"),
        (asks_twice, "was asked 2 times", "Ask once"),
        (shouts, "none of the words", "small letters"),
        (slow_is_down, "and your function says 'down'", "a timeout may strike"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_wrong_answers_are_told_what_broke(
    answer: Callable[..., object], guarantee: str, hint: str
) -> None:
    """Each mistake has its sentence and its hint."""
    assert_wrong(CHECK, answer, guarantee, hint)
