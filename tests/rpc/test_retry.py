from __future__ import annotations

import json
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived, StreamEnded

from labsvc.lab import Lab
from labsvc.rpc import recovery
from labsvc.rpc.errors import StatusError
from labsvc.rpc.retry import RetryPolicy, RetryThrottling, complaints, service_config
from labsvc.shop.v1 import order_pb2, order_pb2_grpc, user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

CODE = grpc.StatusCode
METHOD = "labsvc.shop.v1.UserService/GetUser"
QUICK = RetryPolicy(max_attempts=4, initial_backoff=0.005, max_backoff=0.01)
ASKED = user_pb2.GetUserRequest(user_id="u-1")


class Flaky(user_pb2_grpc.UserServiceServicer):
    """Fails the first calls."""

    def __init__(self, failures: int, code: grpc.StatusCode = CODE.UNAVAILABLE) -> None:
        self.left = failures
        self.error = StatusError(code, "flaky")

    def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Return a user, at last."""
        if self.left:
            self.left -= 1
            raise self.error
        return user_pb2.GetUserResponse()


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


def tries(lab: Lab, config: str, flaky: Flaky, calls: int = 1) -> tuple[int, str]:
    """Return how many tries the server saw, and how the last call ended."""
    server = lab.serve_grpc(flaky, name="flaky", workers=4, interceptors=[recovery.server()])
    options = [("grpc.service_config", config), ("grpc.use_local_subchannel_pool", 1)]
    code = "OK"
    with grpc.insecure_channel(server.target, options) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        for _ in range(calls):
            try:
                stub.GetUser(ASKED, timeout=10)
            except grpc.RpcError as error:
                code = StatusError.of(error).code.name
    return server.stats.calls, code


@pytest.mark.parametrize("name", ["", METHOD, METHOD.partition("/")[0]])
def test_retries_until_it_works(lab: Lab, name: str) -> None:
    """A policy for all methods, one service or one method brings the answer."""
    assert tries(lab, service_config({name: QUICK}), Flaky(2)) == (3, "OK")


@pytest.mark.parametrize("attempts", [2, 3, 4, 5])
def test_max_attempts_is_what_the_core_does(lab: Lab, attempts: int) -> None:
    """No policy that can be built is cut by the core."""
    policy = RetryPolicy(max_attempts=attempts, initial_backoff=0.005, max_backoff=0.01)
    assert tries(lab, service_config({"": policy}), Flaky(99)) == (attempts, "UNAVAILABLE")


def test_only_the_codes_that_are_named(lab: Lab) -> None:
    """Another code is not tried again."""
    config = service_config({"": QUICK})
    assert tries(lab, config, Flaky(99, CODE.ABORTED)) == (1, "ABORTED")
    both = RetryPolicy(
        max_attempts=4, initial_backoff=0.005, codes=frozenset({CODE.ABORTED, CODE.UNAVAILABLE})
    )
    assert tries(lab, service_config({"": both}), Flaky(99, CODE.ABORTED)) == (4, "ABORTED")


def test_other_methods_are_tried_once(lab: Lab) -> None:
    """A policy for one method leaves the others alone; the most exact name counts."""
    other = "labsvc.shop.v1.UserService/Other"
    assert tries(lab, service_config({other: QUICK}), Flaky(99)) == (1, "UNAVAILABLE")
    twice = RetryPolicy(max_attempts=2, initial_backoff=0.005)
    assert tries(lab, service_config({"": QUICK, METHOD: twice}), Flaky(99))[0] == 2


def test_throttling_ends_the_storm(lab: Lab) -> None:
    """With ten tokens the retries stop after five failed tries, where 20 calls made 80."""
    free = service_config({"": QUICK})
    throttled = service_config({"": QUICK}, RetryThrottling(max_tokens=10, token_ratio=0.1))
    assert tries(lab, free, Flaky(999), calls=20)[0] == 80
    assert tries(lab, throttled, Flaky(999), calls=20)[0] == 23


class Starts(order_pb2_grpc.OrderServiceServicer):
    """Fails each stream at once, after its headers, or after its first message."""

    def __init__(self, fails_after: str) -> None:
        self.fails_after = fails_after
        self.seen = threading.Event()  # the client has the headers, not with the status in one

    def StreamOrders(self, requests: Any, context: Any) -> Iterator[Any]:
        """Begin, and fail."""
        if self.fails_after == "headers":
            context.send_initial_metadata(())
            self.seen.wait(10)
        if self.fails_after == "a message":
            yield order_pb2.StreamOrdersResponse()
        context.abort(CODE.UNAVAILABLE, "flaky")


@pytest.mark.parametrize(("after", "made"), [("nothing", 4), ("headers", 1), ("a message", 1)])
def test_no_retry_once_an_answer_began(lab: Lab, after: str, made: int) -> None:
    """Headers commit a call: what fails later is not tried again, whatever the policy (A6)."""
    starts = Starts(after)
    server = lab.serve_grpc(starts, name="starts", workers=4)
    options = [
        ("grpc.service_config", service_config({"": QUICK})),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    with grpc.insecure_channel(server.target, options) as channel:
        stub = order_pb2_grpc.OrderServiceStub(channel)
        call = stub.StreamOrders(iter([order_pb2.StreamOrdersRequest()]), timeout=10)
        if after == "headers":
            call.initial_metadata()
            starts.seen.set()
        with pytest.raises(grpc.RpcError) as caught:
            list(call)
    assert caught.value.code() is CODE.UNAVAILABLE
    assert server.stats.calls == made


def refuse_then_answer(listener: socket.socket, refusals: int, seen: list[int]) -> None:
    """Speak HTTP/2 as a gRPC server that refuses its first streams before it looks at them."""
    peer, _ = listener.accept()
    h2 = H2Connection(H2Configuration(client_side=False))
    h2.initiate_connection()
    with peer, suppress(ConnectionError):  # the client may leave while this still writes
        peer.sendall(h2.data_to_send())
        while data := peer.recv(65536):
            for event in h2.receive_data(data):
                if isinstance(event, RequestReceived):
                    seen.append(event.stream_id)
                    if len(seen) <= refusals:
                        h2.reset_stream(event.stream_id, ErrorCodes.REFUSED_STREAM)
                elif isinstance(event, StreamEnded) and len(seen) > refusals:
                    headers = [(":status", "200"), ("content-type", "application/grpc")]
                    h2.send_headers(event.stream_id, headers)
                    h2.send_data(event.stream_id, bytes(5))  # an empty message
                    h2.send_headers(event.stream_id, [("grpc-status", "0")], end_stream=True)
            peer.sendall(h2.data_to_send())


@pytest.mark.parametrize(("policy", "code", "made"), [(None, "UNAVAILABLE", 1), (QUICK, "OK", 2)])
def test_a_refused_stream_is_left_to_the_policy(policy: Any, code: str, made: int) -> None:
    """Although no handler saw the call, the core makes no transparent retry of its own (A6)."""
    seen: list[int] = []
    options: list[tuple[str, Any]] = [("grpc.enable_http_proxy", 0)]
    if policy:
        options.append(("grpc.service_config", service_config({"": policy})))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=refuse_then_answer, args=(listener, 1, seen))
        server.start()
        target = f"127.0.0.1:{listener.getsockname()[1]}"
        with grpc.insecure_channel(target, options) as channel:
            call = user_pb2_grpc.UserServiceStub(channel).GetUser.future(ASKED, timeout=10)
            assert call.code().name == code
        server.join()
    assert len(seen) == made


def test_pushback_of_a_status_error_is_obeyed(lab: Lab) -> None:
    """retry_after reaches the core: it waits so long, where the policy alone would not."""
    slow = Flaky(1)
    slow.error = StatusError(CODE.UNAVAILABLE, "later", retry_after=30)
    server = lab.serve_grpc(slow, name="slow", workers=2, interceptors=[recovery.server()])
    options = [("grpc.service_config", service_config({"": QUICK}))]
    channel = grpc.insecure_channel(server.target, options)
    with channel, pytest.raises(grpc.RpcError) as caught:
        user_pb2_grpc.UserServiceStub(channel).GetUser(ASKED, timeout=0.5)
    assert StatusError.of(caught.value).code is CODE.DEADLINE_EXCEEDED
    assert server.stats.calls == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_attempts": 1}, "max_attempts must be 2 to 5, not 1"),
        ({"max_attempts": 6}, "max_attempts must be 2 to 5, not 6"),
        ({"initial_backoff": 0}, "initial_backoff must be 0.001 or more"),
        ({"max_backoff": float("inf")}, "max_backoff must be 0.001 or more"),
        ({"multiplier": -1}, "multiplier must be 0.001 or more"),
        ({"multiplier": float("nan")}, "multiplier must be 0.001 or more"),
        ({"codes": frozenset()}, "must name a status code"),
        ({"codes": frozenset({CODE.NOT_FOUND, CODE.OK})}, "NOT_FOUND, OK: the same request fails"),
    ],
)
def test_policy_out_of_bounds(settings: dict[str, Any], message: str) -> None:
    """What the core would refuse or change cannot be built."""
    with pytest.raises(ValueError, match=message):
        RetryPolicy(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_tokens": 0}, "max_tokens must be 1 to 1000"),
        ({"max_tokens": 1001}, "max_tokens must be 1 to 1000"),
        ({"token_ratio": 0}, "token_ratio must be 0.001 or more"),
        ({"token_ratio": float("nan")}, "token_ratio must be 0.001 or more"),
        ({"token_ratio": 0.0015}, "more than three places"),
    ],
)
def test_throttling_out_of_bounds(settings: dict[str, Any], message: str) -> None:
    """What the core would refuse or cut cannot be built."""
    with pytest.raises(ValueError, match=message):
        RetryThrottling(**settings)


@pytest.mark.parametrize("name", ["/a.B/C", "a.B/", "/C", "a.B/C/D", "a b"])
def test_name_of_another_form(name: str) -> None:
    """A name that would match nothing is refused."""
    with pytest.raises(ValueError, match="is no method"):
        service_config({name: QUICK})


def test_nothing_to_retry() -> None:
    """A config without a policy is a mistake."""
    with pytest.raises(ValueError, match="nothing to retry"):
        service_config({})


def test_the_config_word_for_word() -> None:
    """Seconds are decimal texts with an s, names are split, keys are camelCase."""
    config = service_config(
        {"a.B/C": RetryPolicy(initial_backoff=0.00025 * 4, max_backoff=20)},
        RetryThrottling(max_tokens=7, token_ratio=0.125),
    )
    assert json.loads(config) == {
        "methodConfig": [
            {
                "name": [{"service": "a.B", "method": "C"}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.001s",
                    "maxBackoff": "20s",
                    "backoffMultiplier": 2.0,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ],
        "retryThrottling": {"maxTokens": 7, "tokenRatio": 0.125},
    }


def written(**changes: Any) -> str:
    """Return a config as people write it, with changes to its one method."""
    policy = json.loads(service_config({"": QUICK}))["methodConfig"][0]
    return json.dumps({"methodConfig": [policy | changes]})


RETRY = json.loads(written())["methodConfig"][0]["retryPolicy"]


@pytest.mark.parametrize(
    ("config", "said", "made"),
    [
        (written(retryPolicy=RETRY | {"maxAttempts": 10}), "the core makes 5 tries", 5),
        (written(hedgingPolicy={"maxAttempts": 3}), "the C core has no hedging", 4),
        (written(retryPolicy=RETRY | {"max_attempts": 5}), "ignored; write maxAttempts", 4),
        (written(retryPolicy=RETRY | {"perAttempt": "1s"}), "there is no such key", 4),
        (written(retryPolicy={}, retry_policy=RETRY), "ignored; write retryPolicy", 0),
        (json.dumps({"method_config": [{}]}), "ignored; write methodConfig", 1),
        (json.dumps({"methodconfig": [{}]}), "methodconfig: ignored", 1),
        (written(name=[]), "applies to no method", 1),
        (written(name=[{"service": "/labsvc.shop.v1.UserService"}]), "matches no service", 1),
        (written(timeout="9s"), "may fire up to two seconds early", None),
    ],
)
def test_what_the_core_takes_in_silence(lab: Lab, config: str, said: str, made: int | None) -> None:
    """Each silent change is named, and the core really does it."""
    assert any(said in line for line in complaints(config))
    if made is not None:
        assert tries(lab, config, Flaky(99))[0] == made


def test_a_built_config_has_no_complaints() -> None:
    """The builder makes nothing that the core changes."""
    assert complaints(service_config({"": QUICK, METHOD: QUICK}, RetryThrottling())) == []


def test_keys_that_the_core_knows_are_no_strangers() -> None:
    """What the builder does not write, and the core obeys, may be written by hand."""
    method = {"waitForReady": True, "maxRequestMessageBytes": 9, "maxResponseMessageBytes": 9}
    config = json.loads(written(**method))
    config |= {"loadBalancingConfig": [{"round_robin": {}}], "healthCheckConfig": {}}
    assert complaints(json.dumps(config)) == []


@pytest.mark.parametrize("config", ["[]", "{", "3"])
def test_no_service_config(config: str) -> None:
    """What is no JSON object is refused."""
    with pytest.raises(ValueError, match=r"."):
        complaints(config)
