"""Each change that breaks an old client is named, and no other one is."""

from typing import Annotated, Any, Literal

import pytest
from fastapi import FastAPI, Query
from pydantic import BaseModel, Field, create_model

from labsvc.web.breaking import breaking_changes

Model = type[BaseModel]


class Node(BaseModel):
    """A schema that holds itself."""

    name: str
    inner: "Node | None" = None


def model(**fields: Any) -> Model:
    """Return a model that forbids extra members."""
    return named("Body", "forbid", **fields)


def named(name: str, extra: str, **fields: Any) -> Model:
    """Return a model with a name, and a rule for extra members."""
    config: Any = {"extra": extra}
    made: Model = create_model(name, __config__=config, **fields)
    return made


def taking(body: Any) -> dict[str, Any]:
    """Return the document of an app that takes a body."""
    app = FastAPI()

    @app.post("/x")
    def post(body: body) -> None: ...

    return app.openapi()


def giving(answer: Any) -> dict[str, Any]:
    """Return the document of an app that gives an answer."""
    app = FastAPI()

    @app.get("/x")
    def get() -> answer: ...

    return app.openapi()


A = {"a": (int, ...)}
B = A | {"b": (str, ...)}

TAKES: list[tuple[Any, Any, list[str]]] = [
    (model(**A), model(**A), []),
    (model(**A), model(**A, b=(str, "")), []),
    (model(**B), model(**A, b=(str, "")), []),
    (model(**A), model(**B), ["b is new and required; give it a default"]),
    (model(**A, b=(str, "")), model(**B), ["b is now required; give it a default"]),
    (model(**B), model(**A), ["b removed; go on taking it"]),
    (named("Body", "ignore", **B), named("Body", "ignore", **A), []),
    (
        named("Body", "ignore", **A),
        model(**A),
        ["other members are now refused; go on taking them"],
    ),
    (model(**A), named("Body", "ignore", **A), []),
    (
        model(a=(int, ...)),
        model(a=(str, ...)),
        ["a: type changed from integer to string; add a new field instead"],
    ),
    (model(a=(int, ...)), model(a=(int | None, ...)), []),
    (
        model(a=(int | None, ...)),
        model(a=(int, ...)),
        ["a: null is no longer taken; add a new field instead"],
    ),
    (model(a=(Literal["x"], ...)), model(a=(Literal["x"], ...)), []),
    (
        model(a=(Literal["x", "y"], ...)),
        model(a=(Literal["x", "z"], ...)),
        ["a: y is now refused; add a new field instead"],
    ),
    (
        model(a=(list[int], ...)),
        model(a=(list[str], ...)),
        ["a[]: type changed from integer to string; add a new field instead"],
    ),
    (
        model(a=(Annotated[int, Field(ge=1, le=9)], ...)),
        model(a=(Annotated[int, Field(ge=2, le=8)], ...)),
        [
            "a: minimum is now 2; go on taking what was allowed",
            "a: maximum is now 8; go on taking what was allowed",
        ],
    ),
    (
        model(a=(Annotated[int, Field(ge=2)], ...)),
        model(a=(Annotated[int, Field(ge=1)], ...)),
        [],
    ),
    (
        model(a=(str, ...)),
        model(a=(Annotated[str, Field(max_length=3)], ...)),
        ["a: maxLength is now 3; go on taking what was allowed"],
    ),
    (Node, Node, []),
]


@pytest.mark.parametrize(("old", "new", "said"), TAKES)
def test_requests(old: Any, new: Any, said: list[str]) -> None:
    """A request may ask for less, not for more."""
    found = breaking_changes(taking(old), taking(new))
    assert found == [f"POST /x: request: {each}" for each in said]


GIVES: list[tuple[Any, Any, list[str]]] = [
    (model(**A), model(**B), []),
    (model(**B), model(**A), ["b removed; go on sending it"]),
    (
        named("Body", "ignore", **B),
        named("Body", "ignore", **A),
        ["b removed; go on sending it"],
    ),
    (model(**A, b=(str, "")), model(**B), []),
    (model(a=(int | None, ...)), model(a=(int, ...)), []),
    (
        model(a=(int, ...)),
        model(a=(int | None, ...)),
        ["a: null can now be sent; add a new field instead"],
    ),
    (model(a=(Literal["x", "y"], ...)), model(a=(Literal["x", "y"], ...)), []),
    (model(a=(Literal["x", "y", "z"], ...)), model(a=(Literal["x", "y"], ...)), []),
    (
        model(a=(Literal["x", "y"], ...)),
        model(a=(Literal["x", "y", "z"], ...)),
        ["a: z can now be sent; add a new field instead"],
    ),
    (
        model(a=(Literal["x", "y"], ...)),
        model(a=(str, ...)),
        ["a: any value can now be sent; add a new field instead"],
    ),
    (model(a=(int, ...)), model(a=(Annotated[int, Field(ge=2)], ...)), []),
    (
        list[int],
        list[str],
        ["[]: type changed from integer to string; add a new field instead"],
    ),
    (Node, Node, []),
]


@pytest.mark.parametrize(("old", "new", "said"), GIVES)
def test_answers(old: Any, new: Any, said: list[str]) -> None:
    """An answer may promise more, not less."""
    found = breaking_changes(giving(old), giving(new))
    assert [each.replace(": [", "[") for each in found] == [
        f"GET /x: answer 200: {each}".replace(": [", "[") for each in said
    ]


def test_a_member_that_may_stay_away() -> None:
    """An answer's member that was always there has to stay."""
    old, new = giving(model(**B)), giving(model(**B))
    new["components"]["schemas"]["Body"]["required"] = ["a"]
    said = "GET /x: answer 200: b is no longer sent each time; go on sending it"
    assert breaking_changes(old, new) == [said]
    assert breaking_changes(new, old) == []


def with_parameter(kind: Any) -> dict[str, Any]:
    """Return the document of an app with a parameter, or with none."""
    app = FastAPI()
    if kind is None:

        @app.get("/x")
        def plain() -> None: ...

    else:

        @app.get("/x")
        def get(size: kind) -> None: ...

    return app.openapi()


NEEDED, OPTIONAL = Annotated[int, Query()], Annotated[int | None, Query()]


def test_parameters() -> None:
    """One that goes, and one that is asked for."""
    needed, none = with_parameter(NEEDED), with_parameter(None)
    assert "GET /x: query size removed; go on taking it" in breaking_changes(needed, none)
    said = "GET /x: query size is now required; give it a default"
    assert said in breaking_changes(none, needed)
    other = with_parameter(Annotated[str, Query()])
    said = "GET /x: query size: type changed from integer to string; add a new field instead"
    assert breaking_changes(needed, other) == [said]


def test_operations_and_answers_that_go() -> None:
    """A path, a method or an answer that is no longer there."""
    old = giving(model(**A))
    assert breaking_changes(old, {"paths": {}}) == ["GET /x: removed; keep it beside the new one"]
    new = giving(model(**A))
    new["paths"]["/x"]["get"]["responses"] = {}
    assert breaking_changes(old, new) == ["GET /x: answer 200 removed; keep it"]
    new["paths"]["/x"]["get"]["responses"] = {"200": {"content": {"text/csv": {}}}}
    assert breaking_changes(old, new) == ["GET /x: answer 200: application/json removed; keep it"]
    assert breaking_changes({"paths": {}}, old) == []


def test_a_body_that_becomes_required() -> None:
    """Old clients send none."""
    old, new = taking(model(**A)), taking(model(**A))
    old["paths"]["/x"]["post"]["requestBody"].pop("required")
    assert breaking_changes(old, new) == ["POST /x: a body is now required; make it optional"]
    assert breaking_changes(new, old) == []


def test_words_for_people_do_not_count() -> None:
    """Titles, descriptions and the names of schemas may change."""
    old = taking(model(a=(Annotated[int, Field(description="one")], ...)))
    assert breaking_changes(old, taking(named("Other", "forbid", **A))) == []
