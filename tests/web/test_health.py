from __future__ import annotations

from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2  # type: ignore[import-untyped]

from tests.web.service import SERVICE

if TYPE_CHECKING:
    import pytest

    from tests.web.conftest import Faces

STATUS = health_pb2.HealthCheckResponse


def test_ready_as_long_as_the_service_is(faces: Faces) -> None:
    """It is asked anew each time."""
    for status, answered in ((STATUS.SERVING, 200), (STATUS.NOT_SERVING, 503)) * 2:
        faces.says(SERVICE.full_name, status)
        answer = faces.client.get("/readyz")
        assert answer.status_code == answered
        assert answer.json()["services"] == {SERVICE.full_name: STATUS.ServingStatus.Name(status)}
        assert answer.headers["cache-control"] == "no-store"


def test_alive_whatever_the_service_says(faces: Faces) -> None:
    """A service that is down elsewhere is no reason to restart here."""
    faces.says(SERVICE.full_name, STATUS.NOT_SERVING)
    assert faces.client.get("/livez").status_code == 200


def test_not_ready_while_it_drains(faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who drains sends calls elsewhere, and lives."""
    faces.says(SERVICE.full_name, STATUS.SERVING)
    monkeypatch.setattr(faces.health, "_draining", False)  # put back for the other tests
    faces.health.drain()
    answer = faces.client.get("/readyz")
    assert (answer.status_code, answer.json()["status"]) == (503, "draining")
    assert faces.client.get("/livez").status_code == 200


def test_not_ready_for_a_service_that_nobody_knows(
    faces: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code of a call that failed is told."""
    monkeypatch.setattr(faces.health, "_services", ("no.such.Service",))
    answer = faces.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["services"] == {"no.such.Service": "NOT_FOUND"}


def test_not_ready_when_nothing_answers(faces: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has its time, and no more."""
    monkeypatch.setattr(faces.health, "_timeout", -1)  # is up before it begins
    answer = faces.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["services"] == {SERVICE.full_name: "DEADLINE_EXCEEDED"}
