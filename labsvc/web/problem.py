"""The one form of an error over HTTP: a problem document (RFC 9457).

`app_problems` writes every error of a FastAPI app so, `call_problems` the error of a gRPC call.
`status` and `code` are for programs, `detail` is for people: a client never reads it to decide.
`code`, `errors` and all that a caller of `problem` adds are extension members (section 3.2).
"""

from __future__ import annotations

import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MEDIA_TYPE = "application/problem+json"
LONGEST_NAME = 80

_NAMES = {  # of RFC 9110, section 15.5, which Python before 3.13 does not know; 499 has none there
    413: "Content Too Large",
    414: "URI Too Long",
    416: "Range Not Satisfiable",
    422: "Unprocessable Content",
    499: "Client Closed Request",
}


class ProblemError(Exception):
    """Raise it where a request is served, to answer with a problem document."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code
        self.headers = headers

    def response(self) -> Response:
        """Return the answer that says it."""
        return problem_response(problem(self.status, self.detail, code=self.code), self.headers)


def problem(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    errors: Iterable[tuple[str, str]] = (),
    **more: Any,
) -> dict[str, Any]:
    """Return the document; extension members that are empty are left out.

    Args:
        status: the HTTP status.
        detail: what went wrong, for people.
        code: what went wrong, for programs.
        errors: each wrong member of the request, and why. A client may have chosen its name, so
            that is cut where it gets long.
        more: further extension members.

    """
    wrong = [{"field": name[:LONGEST_NAME], "problem": said} for name, said in errors]
    told = {"type": "about:blank", "title": title_of(status), "status": status, "detail": detail}
    extensions = {"code": code, "errors": wrong, **more}
    return told | {name: value for name, value in extensions.items() if value}


def problem_response(
    document: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer with a document."""
    return Response(json.dumps(document), document["status"], headers, MEDIA_TYPE)


def title_of(status: int) -> str:
    """Return the words for a status."""
    try:
        return _NAMES.get(status) or HTTPStatus(status).phrase
    except ValueError:
        return "?"
