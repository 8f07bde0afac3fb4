"""A real Prometheus for tests: a child with its own folder and port, for as long as a block runs.

It listens on 127.0.0.1 alone. Debian: `apt-get install --no-install-recommends prometheus`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import deque
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx2

from labsvc.child import Child, TempFolder
from labsvc.ports import HOST, hold

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READY_SECONDS = 30.0
EVERY = "200ms"  # between two scrapes


class Prometheus:
    """Its HTTP API, version 1."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.http = httpx2.Client(base_url=url, trust_env=False, timeout=5)

    def query(self, text: str) -> dict[str, float]:
        """Return the values of an expression by their labels, in JSON and in order of the names.

        Raises:
            httpx2.HTTPStatusError: it is no expression.

        """
        rows = self._get("query", query=text)["result"]
        return {json.dumps(row["metric"], sort_keys=True): float(row["value"][1]) for row in rows}

    def value(self, text: str) -> float:
        """Return the one value of an expression, nan where there is none."""
        found = list(self.query(text).values())
        return found[0] if len(found) == 1 else float("nan")

    def exemplars(self, text: str) -> list[dict[str, Any]]:
        """Return the exemplars of an expression's series, each with labels and value."""
        rows = self._get("query_exemplars", query=text, start="0", end="9999999999")
        return [exemplar for row in rows for exemplar in row["exemplars"]]

    def _get(self, what: str, **parameters: str) -> Any:
        answer = self.http.get(f"/api/v1/{what}", params=parameters)
        answer.raise_for_status()
        return answer.json()["data"]


def missing() -> str | None:
    """Return why no Prometheus can be started here, None if one can."""
    if os.name == "nt" or shutil.which("prometheus") is None:
        return "Prometheus is not installed; `apt-get install prometheus` brings it"
    return None


@contextmanager
def prometheus(targets: Sequence[str]) -> Iterator[Prometheus]:
    """Run one that scrapes `/metrics` of these "host:port", and yield its API.

    Raises:
        EngineError: it ended at once, or was not ready in time.

    """
    temporary, held = TempFolder(), hold(0)
    port = held.getsockname()[1]
    listed = json.dumps(list(targets))
    config = temporary.path / "prometheus.yml"
    config.write_text(
        f"global: {{scrape_interval: {EVERY}}}\n"
        f"scrape_configs: [{{job_name: lab, static_configs: [{{targets: {listed}}}]}}]\n"
    )
    command = [
        shutil.which("prometheus") or "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={temporary.path / 'data'}",
        f"--web.listen-address={HOST}:{port}",
        "--enable-feature=exemplar-storage",
    ]
    child = Child(command, deque(maxlen=100))
    engine = Prometheus(f"http://{HOST}:{port}")
    try:
        child.wait_until(lambda: _ready(engine), READY_SECONDS)
        yield engine
    finally:
        engine.http.close()
        child.stop()
        held.close()
        temporary.remove()


def _ready(engine: Prometheus) -> bool:
    with suppress(httpx2.HTTPError):
        return engine.http.get("/-/ready").is_success
    return False
