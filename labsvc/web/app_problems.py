"""Every error of a FastAPI app as a problem document, notebook 31.

    app = FastAPI()
    answer_with_problems(app)

    @app.get("/stock/{sku}")
    async def get_stock(sku: str) -> Stock:
        raise ProblemError(404, "no such goods", code="NO_SUCH_GOODS")

What the client sent is never sent back, for it may be no valid JSON. An exception that nobody
caught becomes a 500 with an id; its text stays in the server's log.
"""

from __future__ import annotations

import logging
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import Response

from labsvc.web.problem import MEDIA_TYPE, ProblemError, problem, problem_response

if TYPE_CHECKING:
    from fastapi import FastAPI, Request

__all__ = ["InvalidField", "Problem", "answer_with_problems"]

MOST_FIELDS = 20
_ERRORS = ("4XX", "5XX")
_OURS = "#/components/schemas/Problem"

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class InvalidField(_Model):
    """One member of the request that is wrong, and why."""

    field: str
    problem: str


class Problem(_Model):
    """What went wrong (RFC 9457), as the OpenAPI document tells it."""

    type: Literal["about:blank"] = "about:blank"
    title: str
    status: int
    detail: str
    code: str | None = None
    errors: list[InvalidField] | None = None


def answer_with_problems(app: FastAPI) -> None:
    """Make every error of the app a problem document, and say so in its OpenAPI document.

    Call it before the routes are added: those that are there already keep what they said.
    """
    app.router.responses |= {
        status: {"model": Problem, "description": "A problem"} for status in _ERRORS
    }
    _say_media_type(app)
    app.add_exception_handler(ProblemError, _problem_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected)


def _say_media_type(app: FastAPI) -> None:
    """Name the problems' media type in the document: FastAPI writes that of the good answers."""
    written = app.openapi

    def openapi() -> dict[str, Any]:
        document = written()
        for item in document["paths"].values():
            for operation in item.values():
                for status in _ERRORS:
                    answer = operation["responses"].get(status, {})
                    for content in [*answer.get("content", {}).values()]:
                        if content.get("schema", {}).get("$ref") == _OURS:
                            answer["content"] = {MEDIA_TYPE: content}
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


async def _problem_error(_: Request, error: Any) -> Response:
    response: Response = error.response()
    return response


async def _validation_error(_: Request, error: Any) -> Response:
    """Name the first members that are wrong, without their values."""
    wrong = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors()]
    detail = "the request does not match the schema"
    return problem_response(
        problem(422, detail, code="INVALID_ARGUMENT", errors=wrong[:MOST_FIELDS])
    )


async def _http_error(_: Request, error: Any) -> Response:
    if error.status_code < HTTPStatus.BAD_REQUEST:  # no error, such as 304
        return Response(status_code=error.status_code, headers=error.headers)
    return problem_response(problem(error.status_code, str(error.detail)), error.headers)


async def _unexpected(_: Request, error: Exception) -> Response:
    name = uuid.uuid4()
    log.error("error %s", name, exc_info=error)
    return problem_response(problem(500, f"internal error, id={name}", code="INTERNAL"))
