"""What the HTTP fixes cost: a gateway before a gRPC service, and a generated client."""

from __future__ import annotations

import importlib
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import httpx2
from fastapi import FastAPI
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.routing import Mount

from labsvc import Lab, compare
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from labsvc.web import transcoding
from labsvc.web.asgi import nothing, unless_left
from labsvc.web.gateway import Gateway
from labsvc.web.headers import metadata_of
from labsvc.web.routes import Routes
from tests.bench.bench_row import Row

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

CALLS = 3000
ROUNDS = 30
SERVICE = user_pb2.DESCRIPTOR.services_by_name["UserService"]
PATH = "/v1/users/u-1"
REQUEST = user_pb2.GetUserRequest(user_id="u-1")
REPLY = user_pb2.GetUserResponse(user=user_pb2.User(user_id="u-1", name="n" * 16, email="e" * 24))


class Echo(user_pb2_grpc.UserServiceServicer):
    """The same message for every call."""

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Answer at once."""
        return REPLY


class User(BaseModel):
    """The same message over HTTP."""

    user_id: str
    name: str
    email: str


def users_app() -> FastAPI:
    """Return an app that answers at once, and its contract."""
    app = FastAPI(title="Users", version="1")

    @app.get("/v1/users/{user_id}", operation_id="get_user")
    async def get_user(user_id: str) -> User:
        return User(user_id=user_id, name="n" * 16, email="e" * 24)

    return app


def before(target: str) -> Starlette:
    """Return a gateway before a gRPC service."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with grpc.aio.insecure_channel(target) as channel:
            app.router.routes = [Mount("/", Gateway(channel, [SERVICE]))]
            yield

    return Starlette(lifespan=lifespan)


def gateway() -> Iterator[Row]:
    """Hold a call through the gateway against a bare call and a bare HTTP server together."""
    with Lab() as lab:
        service = lab.serve_grpc(Echo())
        face, bare = lab.serve_http(before(service.target), "face"), lab.serve_http(users_app())
        with (
            grpc.insecure_channel(service.target, [("grpc.enable_http_proxy", 0)]) as channel,
            httpx2.Client(base_url=face.url, trust_env=False) as through,
            httpx2.Client(base_url=bare.url, trust_env=False) as beside,
        ):
            stub = user_pb2_grpc.UserServiceStub(channel)
            assert through.get(PATH).json()["name"] == beside.get(PATH).json()["name"]
            measured = compare(
                {
                    "gateway": lambda: through.get(PATH),
                    "gRPC": lambda: stub.GetUser(REQUEST, timeout=5),
                    "FastAPI": lambda: beside.get(PATH),
                },
                calls=CALLS,
                rounds=ROUNDS,
            )
        inside = lab.loop.run(parts())
    p50 = {name: each.p50 * 1e6 for name, each in measured.quantiles.items()}
    least = p50["gRPC"] + p50["FastAPI"]
    detail = ", ".join(f"{name} {each:.0f} us" for name, each in (p50 | inside).items())
    yield Row(
        "gateway, over a gRPC call and bare FastAPI", p50["gateway"] / least, 1.6, "x", detail
    )


async def parts() -> dict[str, float]:
    """Time what the gateway itself does in a call: microseconds by its name."""
    routes = Routes([SERVICE])
    route, values = routes.at(PATH)["GET"]
    headers = [(b"host", b"h"), (b"accept", b"*/*"), (b"user-agent", b"u"), (b"x-request-id", b"r")]

    async def idle() -> None:
        return None

    found = {
        "find": timed(lambda: routes.at(PATH)),
        "read": timed(lambda: transcoding.read(route, values, b"", b"")),
        "metadata": timed(lambda: metadata_of(headers)),
        "write": timed(lambda: transcoding.write(REPLY, route.response_body)),
    }
    taken = []
    for _ in range(1000):
        start = time.perf_counter()
        await unless_left(nothing, idle())
        taken.append(time.perf_counter() - start)
    return found | {"watch the caller": statistics.median(taken) * 1e6}


def timed(step: Callable[[], object]) -> float:
    """Return the microseconds that a step takes: the median of some."""
    taken = []
    for _ in range(1000):
        start = time.perf_counter()
        step()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) * 1e6


@contextmanager
def generated(url: str) -> Iterator[Callable[[], Any]]:
    """Generate a client for the app at `url`; yield a function that makes one call with it."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder, "generate.yaml")
        config.write_text("post_hooks: []")
        command = [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--meta", "none"),
            *("--url", f"{url}/openapi.json", "--config", str(config)),
            *("--output-path", str(Path(folder, "users_client"))),
        ]
        subprocess.run(command, check=True, capture_output=True)
        sys.path.insert(0, folder)
        try:
            made = importlib.import_module("users_client")
            call = importlib.import_module("users_client.api.default.get_user")
        finally:
            sys.path.remove(folder)
        with made.Client(url, httpx_args={"trust_env": False}) as client:
            yield lambda: call.sync("u-1", client=client)


def generated_client() -> Iterator[Row]:
    """Put a generated client beside httpx2 and a model by hand."""
    with Lab() as lab:
        url = lab.serve_http(users_app()).url
        with generated(url) as by_generator, httpx2.Client(base_url=url, trust_env=False) as http:

            def by_hand() -> User:
                return User.model_validate_json(http.get(PATH).raise_for_status().content)

            assert by_generator().to_dict() == by_hand().model_dump()
            ways = {"generated": by_generator, "by hand": by_hand}
            measured = compare(ways, calls=CALLS, rounds=100)  # the two lie close together
    ratio, q = measured.ratio("generated", "by hand"), measured.quantiles
    detail = (
        f"p50 {q['generated'].p50 * 1e6:.0f} us against {q['by hand'].p50 * 1e6:.0f} us,"
        f" 95 % interval {ratio.low:.2f} to {ratio.high:.2f}"
    )
    yield Row("generated client, over httpx2 by hand", ratio.value, 1.1, "x", detail)


PARTS = [gateway, generated_client]
