from __future__ import annotations

import json

import grpc
import pytest

from labsvc.rpc.errors import StatusError
from labsvc.web.call_problems import error_of, response_of
from labsvc.web.statuses import HTTP_STATUS, code_of

CODES = [code for code in grpc.StatusCode if code.name != "OK"]


def test_every_code_has_a_status() -> None:
    """None is left to a default."""
    assert set(HTTP_STATUS) == set(grpc.StatusCode)


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (400, {"INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"}),
        (401, {"UNAUTHENTICATED"}),
        (403, {"PERMISSION_DENIED"}),
        (404, {"NOT_FOUND"}),
        (409, {"ALREADY_EXISTS", "ABORTED"}),
        (429, {"RESOURCE_EXHAUSTED"}),
        (499, {"CANCELLED"}),
        (500, {"UNKNOWN", "INTERNAL", "DATA_LOSS"}),
        (501, {"UNIMPLEMENTED"}),
        (503, {"UNAVAILABLE"}),
        (504, {"DEADLINE_EXCEEDED"}),
    ],
)
def test_statuses_are_those_of_google(status: int, names: set[str]) -> None:
    """As google/rpc/code.proto writes beside each code."""
    assert {code.name for code, number in HTTP_STATUS.items() if number == status} == names


@pytest.mark.parametrize("code", CODES)
def test_there_and_back(code: grpc.StatusCode) -> None:
    """With a document the code comes back, whatever the status."""
    answer = response_of(StatusError(code, "why"))
    read = error_of(answer.status_code, answer.headers, bytes(answer.body))
    assert read.code is code


def test_details_there_and_back() -> None:
    """Programs read the details on the other side."""
    error = StatusError(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "too much",
        reason="QUOTA",
        domain="shop",
        metadata={"limit": "5"},
        fields={"lines": "at most 5"},
        retry_after=1.2,
    )
    answer = response_of(error)
    read = error_of(answer.status_code, answer.headers, bytes(answer.body))
    assert (read.text, read.reason, read.domain) == ("too much", "QUOTA", "shop")
    assert (read.metadata, read.fields) == ({"limit": "5"}, {"lines": "at most 5"})
    assert read.retry_after == 2  # whole seconds, never too few


@pytest.mark.parametrize("code", CODES)
def test_the_status_alone(code: grpc.StatusCode) -> None:
    """Without a document the status says whose fault it is, at least."""
    guess = code_of(HTTP_STATUS[code])
    assert HTTP_STATUS[guess] == HTTP_STATUS[code]


@pytest.mark.parametrize(
    ("status", "code"),
    [(200, "OK"), (204, "OK"), (302, "UNKNOWN"), (418, "UNKNOWN"), (502, "UNAVAILABLE")],
)
def test_a_status_of_somebody_else(status: int, code: str) -> None:
    """Proxies answer too."""
    assert code_of(status).name == code


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>",
        b"[]",
        b"[" * 100_000,
        b'{"code": 5}',
        b'{"code": "WHAT"}',
        json.dumps({"detail": 1, "errors": [1, {"field": 2}, {"field": "f"}], "metadata": 3}),
        b"\xff",
    ],
)
def test_a_document_of_somebody_else(content: str | bytes) -> None:
    """Anything may stand in the body of an error."""
    raw = content.encode() if isinstance(content, str) else content
    read = error_of(503, {"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, raw)
    assert read.code is grpc.StatusCode.UNAVAILABLE
    assert read.retry_after is None
    assert read.text == "Service Unavailable"
