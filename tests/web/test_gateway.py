from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

import grpc
import httpx2
import pytest

from labsvc.web.gateway import Gateway
from labsvc.web.routes import RuleError, routes_of
from labsvc.web.statuses import HTTP_STATUS
from tests.patience import patience
from tests.web.conftest import HOST, OPTIONS, PREFIX
from tests.web.service import SERVICE, Thing, compiled

if TYPE_CHECKING:
    from tests.web.conftest import Faces


EMPTY: tuple[Any, ...] = ("", "0", 0, False, [], {}, None, "COLOUR_UNSPECIFIED")


def fields(answer: httpx2.Response) -> dict[str, Any]:
    """Return what an answer holds, without what is zero or empty."""
    assert answer.status_code == 200, answer.text
    return {k: v for k, v in answer.json().items() if v not in EMPTY}


def wrong(answer: httpx2.Response, status: int) -> dict[str, Any]:
    """Return the problem document of an answer."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    return document


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/things/t-1", {"id": "t-1"}),
        ("/v1/things/a%2Fb%20c", {"id": "a/b c"}),
        ("/v1/things/%C3%A9", {"id": "é"}),
        ("/v1/things/x:y", {"id": "x:y"}),
        ("/v1/things/x?big=9007199254740993", {"id": "x", "big": "9007199254740993"}),
        ("/v1/things/x?small=7&ratio=.5&ready=true", {"small": 7, "ratio": 0.5, "ready": True}),
        ("/v1/things/x?tags=a&tags=b+c", {"tags": ["a", "b c"]}),
        ("/v1/things/x?colour=COLOUR_RED&raw=AQI=", {"colour": "COLOUR_RED", "raw": "AQI="}),
        ("/v1/things/x?at=2026-01-02T03:04:05Z", {"at": "2026-01-02T03:04:05Z"}),
        ("/v1/things/x?maybe=true&called=c", {"maybe": True, "called": "c"}),
        ("/v1/things/x?other_name=c", {"called": "c"}),
    ],
)
def test_path_and_query(faces: Faces, path: str, expected: dict[str, Any]) -> None:
    """Fields come from the path, decoded, and from the query."""
    found = fields(faces.client.get(path))
    assert {"id": found["id"], **expected} == found


def test_a_field_of_a_field(faces: Faces) -> None:
    """A dot goes into a message."""
    found = fields(faces.client.get("/v1/things/x?inner.name=n&inner.inner.size=2"))
    assert found["inner"]["name"] == "n"
    assert found["inner"]["inner"]["size"] == 2


def test_zero_is_written(faces: Faces) -> None:
    """What is zero or empty can be told from what is not there."""
    answer = faces.client.get("/v1/things/x").json()
    assert answer["small"] == 0
    assert answer["tags"] == []
    assert "size" not in answer  # `optional`, and not set


def test_body(faces: Faces) -> None:
    """The body is the message, and the path has its say."""
    found = fields(faces.client.put("/v1/things/x", json={"big": "5", "tags": ["t"]}))
    assert found == {"id": "x", "big": "5", "tags": ["t"]}


def test_one_field_is_the_body(faces: Faces) -> None:
    """`body` and `response_body` name a field; the rest may stand in the query."""
    answer = faces.client.patch("/v1/things/x/inner?small=3", json={"name": "n"})
    assert fields(answer) == {"name": "n"}


def test_a_custom_verb_and_another_way(faces: Faces) -> None:
    """A rule may bind other ways, with verbs of its own."""
    answer = faces.client.request("TRACE-IT", "/v1/traced/n", json={"small": 1})
    found = fields(answer)
    assert (found["inner"]["name"], found["small"]) == ("n", 1)


def test_several_segments(faces: Faces) -> None:
    """A field may be several segments, whose inner slashes stay encoded."""
    found = fields(faces.client.delete("/v1/shelves/1/things/a/b%2Fc"))
    assert found["id"] == "shelves/1/things/a/b%2Fc"


def test_a_verb_at_the_end(faces: Faces) -> None:
    """It is not taken for a part of the id."""
    assert fields(faces.client.post("/v1/things/x:touch")) == {"id": "x"}


@pytest.mark.parametrize("prefix", ["", PREFIX])
def test_mounted_anywhere(faces: Faces, prefix: str) -> None:
    """A gateway serves the same below a prefix."""
    assert fields(faces.client.get(f"{prefix}/v1/things/t%2F1")) == {"id": "t/1"}
    document = wrong(faces.client.get(f"{prefix}/v1/nothing"), 404)
    assert document["code"] == "UNIMPLEMENTED"


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code.name != "OK"])
def test_statuses(faces: Faces, code: grpc.StatusCode) -> None:
    """Each code has its status, and the document names the code."""
    document = wrong(faces.client.get(f"/v1/things/{code.name}"), HTTP_STATUS[code])
    assert document["code"] == code.name


def test_texts(faces: Faces) -> None:
    """A text for the caller is told; that of a failure stays inside."""
    assert wrong(faces.client.get("/v1/things/NOT_FOUND"), 404)["detail"] == "why"
    for name in ("UNKNOWN", "INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED"):
        answer = faces.client.get(f"/v1/things/{name}?ready=true")
        assert "secret" not in answer.text


def test_a_method_without_a_rule_is_not_there(faces: Faces) -> None:
    """Nothing is served that the contract does not say."""
    for path in ("/labsvc.tests.web.Things/Hidden", "/v1/hidden"):
        wrong(faces.client.post(path, json={}), 404)


def test_another_verb(faces: Faces) -> None:
    """405 says which verbs there are."""
    answer = faces.client.post("/v1/things/x", json={})
    wrong(answer, 405)
    assert {each.strip() for each in answer.headers["allow"].split(",")} == {"GET", "PUT"}


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("GET", "/v1/things/%ff", None, 400),
        ("GET", "/v1/things/x?nothing=1", None, 400),
        ("GET", "/v1/things/x?id=y", None, 400),
        ("GET", "/v1/things/x?big=1&big=2", None, 400),
        ("GET", "/v1/things/x?big=1.5", None, 400),
        ("GET", "/v1/things/x?big=9223372036854775808", None, 400),
        ("GET", "/v1/things/x?small=-1", None, 400),
        ("GET", "/v1/things/x?ready=yes", None, 400),
        ("GET", "/v1/things/x?inner=n", None, 400),
        ("GET", "/v1/things/x?inner.nothing=n", None, 400),
        ("GET", "/v1/things/x?big.inner=n", None, 400),
        ("GET", "/v1/things/x?counts=1", None, 400),
        ("GET", "/v1/things/x?at=yesterday", None, 400),
        ("GET", "/v1/things/x?called=1&other_name=2", None, 400),
        ("GET", "/v1/things/x?big=" + "9" * 5000, None, 400),
        ("GET", "/v1/things/x?" + "tags=a&" * 1100, None, 400),
        ("GET", "/v1/things/x?called=%ff", None, 400),
        ("PUT", "/v1/things/x", b"", 400),
        ("PUT", "/v1/things/x", b"{", 400),
        ("PUT", "/v1/things/x", b"\xff", 400),
        ("PUT", "/v1/things/x", b"null", 400),
        ("PUT", "/v1/things/x", b"[]", 400),
        ("PUT", "/v1/things/x", b"[" * 100_000, 400),
        ("PUT", "/v1/things/x", b'{"inner":' * 900 + b"1" + b"}" * 900, 400),
        ("PUT", "/v1/things/x", b'{"ratio": NaN}', 400),
        ("PUT", "/v1/things/x", b'{"big": 1, "big": 2}', 400),
        ("PUT", "/v1/things/x", b'{"nothing": 1}', 400),
        ("PUT", "/v1/things/x", b'{"big": ' + b"9" * 5000 + b"}", 400),
        ("PUT", "/v1/things/x", b'{"called": "\\ud800"}', 400),
        ("PUT", "/v1/things/x", b'{"\\ud800": 1}', 400),
        ("PUT", "/v1/things/x", b'{"id": "y"}', 400),
        ("PUT", "/v1/things/x?big=1", b"{}", 400),
        ("PATCH", "/v1/things/x/inner", b"1", 400),
        ("PUT", "/v1/things/x", b" " * (4 * 1024 * 1024 + 1), 413),
    ],
)
def test_bad_input(faces: Faces, verb: str, path: str, body: bytes | None, status: int) -> None:
    """What is no message is the caller's fault, and said."""
    json_type = {"content-type": "application/json"}
    wrong(faces.client.request(verb, path, content=body, headers=json_type), status)


def test_a_form_is_no_json(faces: Faces) -> None:
    """A body of another type is not guessed at."""
    wrong(faces.client.put("/v1/things/x", data={"big": "1"}), 415)


def test_deadline_and_metadata_go_on(faces: Faces) -> None:
    """The service sees what its caller's caller waits, and who asks."""
    faces.things.seen.clear()
    sent = {"grpc-timeout": "1500m", "traceparent": "00-1-2-01", "X-Request-ID": "r-0"}
    more = {"authorization": "Bearer t", "x-user-id": "u-1", "grpc-x": "y"}
    answer = faces.client.get("/v1/things/x", headers=sent | more)
    [(metadata, left)] = faces.things.seen
    assert left is not None
    assert 0.5 < left <= 1.6
    assert metadata["traceparent"] == "00-1-2-01"
    assert metadata["x-request-id"] == "r-0"
    assert metadata["authorization"] == "Bearer t"
    assert not {"x-user-id", "grpc-x"} & set(metadata)
    assert answer.headers["x-request-id"] == "r-1"
    assert "x-inner" not in answer.headers


@pytest.mark.parametrize("asked", [{}, {"grpc-timeout": "1H"}])
def test_no_call_has_more_than_the_gateway_allows(faces: Faces, asked: dict[str, str]) -> None:
    """A caller may shorten it only."""
    faces.things.seen.clear()
    faces.client.get("/v1/things/x", headers=asked)
    [(_, left)] = faces.things.seen
    assert left is not None
    assert left <= 2.1


@pytest.mark.parametrize("timeout", ["100m", "0S"])
def test_the_time_is_up(faces: Faces, timeout: str) -> None:
    """504, and the service has stopped."""
    before = faces.things.waiting
    answer = faces.client.get("/v1/things/wait", headers={"grpc-timeout": timeout})
    assert wrong(answer, 504)["code"] == "DEADLINE_EXCEEDED"
    _until(lambda: faces.things.ended == faces.things.waiting)
    assert faces.things.waiting == before + (timeout == "100m")


@pytest.mark.parametrize(
    "headers",
    [
        {"grpc-timeout": "1"},
        {"grpc-timeout": "-1S"},
        {"grpc-timeout": "999999999S"},
        {"authorization": b"\xff".decode("latin-1")},
        {"authorization": "a\tb"},
        {"traceparent": "a" * 4500},
    ],
)
def test_bad_headers(faces: Faces, headers: dict[str, str]) -> None:
    """A header that cannot go on is the caller's fault."""
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    wrong(faces.client.get("/v1/things/x", headers=raw), 400)


@pytest.mark.parametrize("path", ["/v1/things/wait", "/v1/things/wait:watch?small=1"])
def test_a_caller_who_leaves_ends_the_call(faces: Faces, path: str) -> None:
    """Nobody works for nobody."""
    waiting = faces.things.waiting

    with socket.create_connection((HOST, faces.port)) as line:
        line.sendall(f"GET {path} HTTP/1.1\r\nhost: gateway\r\n\r\n".encode())
        _until(lambda: faces.things.waiting > waiting)
    _until(lambda: faces.things.ended == faces.things.waiting)


def test_stream(faces: Faces) -> None:
    """Each message is a line."""
    answer = faces.client.get("/v1/things/x:watch?small=3")
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.headers["x-accel-buffering"] == "no"  # nginx would hold the lines back
    lines = [json.loads(line)["result"]["big"] for line in answer.text.splitlines()]
    assert lines == ["0", "1", "2"]


def test_a_stream_that_fails(faces: Faces) -> None:
    """Before the first message it is a status, after it a last line."""
    assert wrong(faces.client.get("/v1/things/ABORTED:watch"), 409)["code"] == "ABORTED"
    answer = faces.client.get("/v1/things/ABORTED:watch?small=2")
    assert answer.status_code == 200
    *results, last = [json.loads(line) for line in answer.text.splitlines()]
    assert ["result" in each for each in results] == [True, True]
    assert last["error"]["code"] == "ABORTED"


def test_a_stream_has_the_time_of_its_caller(faces: Faces) -> None:
    """It ends at the deadline, in good order, and has none of its own."""
    faces.things.seen.clear()
    answer = faces.client.get("/v1/things/wait:watch?small=1", headers={"grpc-timeout": "200m"})
    last = json.loads(answer.text.splitlines()[-1])
    assert last["error"]["code"] == "DEADLINE_EXCEEDED"
    faces.client.get("/v1/things/x:watch")
    assert faces.things.seen[-1][1] is None


def test_the_same_by_stub(faces: Faces) -> None:
    """Both faces say the same."""
    path = f"/{SERVICE.full_name}/Get"
    with grpc.insecure_channel(f"{HOST}:{faces.grpc_port}", OPTIONS) as channel:
        get = channel.unary_unary(
            path, request_serializer=Thing.SerializeToString, response_deserializer=Thing.FromString
        )
        by_stub = get(Thing(id="x", big=2**53 + 1), timeout=5)
    by_http = faces.client.get(f"/v1/things/x?big={2**53 + 1}").json()
    assert (by_stub.id, str(by_stub.big)) == (by_http["id"], by_http["big"])


RULES = """
package labsvc.tests.web.wrong{number};
message M {{ string id = 1; }}
service S {{ rpc Do({stream} M) returns (M) {{ option (google.api.http) = {{{rule}}}; }} }}
"""


@pytest.mark.parametrize(
    ("number", "stream", "rule", "said"),
    [
        (1, "", 'get: "/v1/{name}"', "names name"),
        (2, "", 'get: "/v1/{id.name}"', "names id.name"),
        (3, "", 'post: "/v1" body: "name"', "names name"),
        (4, "", 'get: "/v1" response_body: "name"', "names name"),
        (5, "stream", 'get: "/v1"', "takes a stream"),
        (6, "", 'body: "*"', "without a path"),
    ],
)
def test_rules_that_cannot_be_served(number: int, stream: str, rule: str, said: str) -> None:
    """They are found when the gateway is made, not when it is asked."""
    service = compiled(
        RULES.format(number=number, stream=stream, rule=rule), f"labsvc_tests_web_{number}.proto"
    )
    with pytest.raises(RuleError, match=said):
        routes_of(service)


def test_an_inner_failure_is_told_as_such(faces: Faces) -> None:
    """A closed channel is no fault of the caller, and no hang."""

    async def closed() -> Any:
        channel = grpc.aio.insecure_channel(f"{HOST}:{faces.grpc_port}", OPTIONS)
        gateway = Gateway(channel, [SERVICE])
        await channel.close()
        transport = httpx2.ASGITransport(gateway)
        async with httpx2.AsyncClient(transport=transport, base_url="http://gateway") as client:
            return await client.get("/v1/things/x")

    assert wrong(faces.loop.run(closed()), 500)["code"] == "INTERNAL"


def _until(condition: Any) -> None:
    give_up_at = time.monotonic() + patience(5)
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
