"""Tests of the lab's DNS server, with gRPC's own resolver and with plain messages."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.lab import Lab
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.hosts.dns import DnsService


class Users(user_pb2_grpc.UserServiceServicer):
    """Answers."""

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Answer at once."""
        return user_pb2.GetUserResponse()


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab."""
    with Lab() as running:
        yield running


def question(name: str, kind: int = 1) -> bytes:
    """Return the message that asks for a name."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    return struct.pack(">HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + struct.pack(">xHH", kind, 1)


def ask(dns: DnsService, message: bytes) -> bytes:
    """Send one message and return the answer."""
    host, _, port = dns.target.partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(message, (host, int(port)))
        return client.recv(512)


def test_grpc_finds_a_service_by_name(lab: Lab) -> None:
    """A channel to dns://server/name calls the address that the server names."""
    users = lab.serve_grpc(Users(), name="users")
    dns = lab.serve_dns({"Users.test": ["127.0.0.1"]})
    port = users.target.partition(":")[2]
    with grpc.insecure_channel(f"dns://{dns.target}/users.test:{port}") as channel:
        user_pb2_grpc.UserServiceStub(channel).GetUser(user_pb2.GetUserRequest(), timeout=20)
    assert dns.asked == {"users.test": 1}
    assert users.stats.calls == 1


def test_an_answer_has_every_address_and_the_ttl(lab: Lab) -> None:
    """Both addresses come, each to be kept for the TTL; the case of a name does not matter."""
    dns = lab.serve_dns({"users.test": ["127.0.0.1", "127.0.0.2"]}, ttl=60)
    answer = ask(dns, question("USERS.test"))
    assert struct.unpack_from(">HHHHHH", answer) == (7, 0x8580, 1, 2, 0, 0)
    records = answer[len(question("users.test")) :]
    found = [struct.unpack_from(">HHHIH4s", records, at) for at in (0, 16)]
    assert [(one[3], socket.inet_ntoa(one[5])) for one in found] == [
        (60, "127.0.0.1"),
        (60, "127.0.0.2"),
    ]


def test_what_is_not_there(lab: Lab) -> None:
    """A name that is unknown does not exist; a known one has no IPv6 address."""
    dns = lab.serve_dns({"users.test": ["127.0.0.1"]})
    assert struct.unpack_from(">HHHH", ask(dns, question("orders.test"))) == (7, 0x8583, 1, 0)
    assert struct.unpack_from(">HHHH", ask(dns, question("users.test", 28))) == (7, 0x8580, 1, 0)
    assert dns.asked == {"orders.test": 1}


@pytest.mark.parametrize("message", [b"", b"no question", question("users.test")[:-3]])
def test_what_is_no_question_gets_no_answer(lab: Lab, message: bytes) -> None:
    """Nothing is sent back, and the next question is answered."""
    dns = lab.serve_dns({"users.test": ["127.0.0.1"]})
    with pytest.raises(ValueError, match="question"):
        dns.answer(message)
    host, _, port = dns.target.partition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.sendto(message, (host, int(port)))
        client.sendto(question("users.test"), (host, int(port)))
        assert client.recv(512)[:2] == b"\0\7"


def test_it_stops_and_starts_on_its_port(lab: Lab) -> None:
    """After a stop and a start it answers where it did."""
    dns = lab.serve_dns({"users.test": ["127.0.0.1"]})
    before = dns.target
    dns.stop()
    dns.start()
    assert dns.target == before
    assert ask(dns, question("users.test"))


def test_an_address_must_be_one(lab: Lab) -> None:
    """A name in place of an address is refused."""
    with pytest.raises(ValueError, match="localhost"):
        lab.serve_dns({"users.test": ["localhost"]})
