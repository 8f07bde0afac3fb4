"""The map of a lab: what runs, and who talks to whom."""

from __future__ import annotations

import io
import socket
import warnings
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from PIL import Image

from labsvc import Lab, until
from labsvc.lab_map import Arrow, Box, Chart, chart, connections
from labsvc.lab_map_picture import png
from labsvc.shop.hops import serve_hops
from labsvc.shop.services import AioUserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = user_pb2.GetUserRequest(user_id="u-1")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab for each test."""
    with Lab() as running:
        yield running


def relay(hop: Any, request: Any, _: Any) -> Any:
    """Ask the next hop; the last one answers."""
    return user_pb2.GetUserResponse() if hop.next is None else hop.next.GetUser(request)


def test_an_empty_lab(lab: Lab) -> None:
    """It says so."""
    assert repr(lab.map()) == "Map: nothing runs"
    assert "Nothing runs" in lab.map().alt


def test_services_that_nobody_has_called(lab: Lab) -> None:
    """They stand alone, whatever they are; a stopped one is said to be so."""
    lab.serve_grpc(AioUserService(Store.seeded()), name="users")
    lab.serve_queue(name="jobs", embedded=True).stop()
    assert repr(lab.map()) == "Map: jobs; users; jobs is stopped"
    assert "Running: users (gRPC)" in lab.map().alt


def test_a_timeline_shows_who_calls_whom(lab: Lab) -> None:
    """Through proxies too; the map keeps it when the recording has ended."""
    chain = serve_hops(lab, relay)
    with lab.timeline():
        chain.stub.GetUser(REQUEST, timeout=5)
    assert repr(lab.map()) == (
        "Map: caller -> hops-to-gateway -> hops-gateway -> hops-to-orders -> hops-orders"
        " -> hops-to-inventory -> hops-inventory -> hops-to-users -> hops-users"
    )
    first, second = lab.map().alt.split(". ", 1)[1].rstrip(".").split(". ")
    assert first.startswith("Running: hops-to-gateway (proxy), hops-gateway (gRPC)")
    assert second.startswith("caller talks to hops-to-gateway; hops-to-gateway talks to hops-gate")
    lab.remove("hops-users")
    assert repr(lab.map()).endswith("hops-to-users -> 127.0.0.1")


def test_a_proxy_before_something_outside(lab: Lab) -> None:
    """It has a box of its own, named by its host: a port may differ from run to run."""
    lab.proxy("example.com:9", name="network")
    assert repr(lab.map()) == "Map: network -> example.com"
    assert "example.com (outside)" in lab.map().alt
    lab.serve_grpc(AioUserService(Store.seeded()), name="example.com")
    assert repr(lab.map()) == "Map: network -> example.com outside; example.com"


def test_connections_that_are_open_now(lab: Lab) -> None:
    """All that is known without a recording; the text does not depend on them."""
    users = lab.serve_grpc(AioUserService(Store.seeded()), name="users")
    with grpc.insecure_channel(users.target) as channel:
        user_pb2_grpc.UserServiceStub(channel).GetUser(REQUEST, timeout=5)
        assert "this kernel has connections to users: 1" in lab.map().alt
        assert repr(lab.map()) == "Map: users"
        gone = lab.serve_grpc(AioUserService(Store.seeded()), name="a")
        lab.proxy(gone, name="network")
        for each in (gone, lab.serve_queue(name="z", embedded=True)):
            each.stop()
        connected = repr(lab.map())
    until(lambda: not connections()[users.target])
    assert repr(lab.map()) == connected == "Map: network -> a; users; z; z is stopped; a is stopped"


def test_connections_to_a_child_process(lab: Lab) -> None:
    """The ends that are in this kernel count."""
    etcd = lab.serve_etcd(embedded=True)
    host, _, port = etcd.target.rpartition(":")
    with socket.create_connection((host, int(port))):
        assert "this kernel has connections to etcd: " in lab.map().alt
    assert repr(lab.map()) == "Map: etcd"


def test_callers_have_the_first_column(lab: Lab) -> None:
    """A proxy that nobody has called stands behind them, before its upstream."""
    users = lab.serve_grpc(AioUserService(Store.seeded()), name="users")
    network = lab.proxy(users, name="network")
    columns = chart({"users": users, "network": network}, [("caller", "users")]).columns
    assert [[box.name for box in column] for column in columns] == [
        ["caller"],
        ["network"],
        ["users"],
    ]


def test_a_circle_has_columns_too(lab: Lab) -> None:
    """The arrow that closes it puts nobody further to the right."""
    services = {
        name: lab.serve_grpc(AioUserService(Store.seeded()), name=name) for name in ("a", "b", "c")
    }
    seen = [("caller", "a"), ("a", "b"), ("b", "a"), ("b", "b"), ("b", "c")]
    columns = chart(services, seen).columns
    assert ["".join(box.name for box in column) for column in columns] == ["caller", "a", "b", "c"]


@pytest.mark.parametrize("name", [r"$\frac$", "注文", "a\nb", " ", "<b>&", "W" * 99])
def test_odd_names(name: str) -> None:
    """They are neither formulas nor a reason to warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert png(Chart(((Box(name, "gRPC", running=False),),), ()), "Odd", "one service")


def test_the_picture_fits_a_page(lab: Lab) -> None:
    """Also with many boxes and odd names; it has its words inside."""
    for number in range(12):
        lab.serve_grpc(AioUserService(Store.seeded()), name=f"$a_{number}<b>&" + "x" * 3 * number)
    plot = lab.map()
    image = Image.open(io.BytesIO(plot.png))
    assert image.width == 1800
    assert image.info["Description"] == plot.alt
    assert len(plot.png) < 200_000


def test_a_circle_is_drawn() -> None:
    """Two services that call each other, and one that calls itself."""
    boxes = ((Box("caller"),), (Box("a", "gRPC"),), (Box("b", "gRPC"),))
    arrows = (Arrow("caller", "a"), Arrow("a", "b"), Arrow("b", "a"), Arrow("b", "b"))
    drawn = Chart(boxes, arrows)
    assert str(drawn) == "caller -> a -> b -> a; b -> b"
    assert png(drawn, "A circle", "two services")
