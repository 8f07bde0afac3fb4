"""What notebook 52 shows with etcd is the same with Redis: its own cells, another store."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis

from labsvc import Lab, until
from labsvc.engines import find_postgres, find_redis
from labsvc.hosts.rows import RowsService
from labsvc.state import Fence, StaleTokenError
from tests.needs import need
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BOOK = Path(__file__).parents[2] / "notebooks" / "solutions" / "52_shared_state.ipynb"
LOCK_MS = 200
# The token grows with each holder, in the step in which the lock is taken.
ACQUIRE = """
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
    return redis.call('INCR', KEYS[2])
end
return 0
"""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run a lab with Redis in it."""
    need(find_redis)
    with Lab() as running:
        yield running


@pytest.fixture(scope="module")
def url(lab: Lab) -> str:
    """Return the address of the Redis."""
    return lab.serve_cache().url


def cell_with(definition: str, **names: Any) -> dict[str, Any]:
    """Run the cell of the notebook that defines this, and return its names."""
    cells = json.loads(BOOK.read_text(encoding="utf-8"))["cells"]
    [code] = ["".join(cell["source"]) for cell in cells if definition in "".join(cell["source"])]
    exec(compile(code, BOOK.name, "exec"), names)  # noqa: S102  # it is ours
    return names


def test_a_fallback_gives_two_answers_over_redis_too(lab: Lab, url: str) -> None:
    """The reader whose network is away answers from yesterday; without a fallback it does not."""
    wire = lab.proxy(url.rpartition("@")[2].partition("/")[0], name="wire to redis")
    cell = cell_with("def with_fallback(read)")
    ask = cell_with("def ask_both(page", Counter=Counter, etcd3=_Errors, grpc=_Errors)["ask_both"]
    key, yesterday = cell["KEY"], cell["YESTERDAY"]
    near = redis.Redis.from_url(url)
    far = redis.Redis.from_url(url.replace(url.rpartition("@")[2].partition("/")[0], wire.target))
    near.set(key, 0)
    assert yesterday != 0

    def reader(client: redis.Redis) -> Callable[[], int]:
        return lambda: int(client.get(key) or -1)

    fallback = cell["with_fallback"]
    told = ask(fallback(reader(near)), fallback(reader(far)), wire)
    assert told == {"same answer": 10, "two answers": 10}
    assert ask(reader(near), reader(far), wire) == {"same answer": 10, "no answer": 10}


class _Errors:
    """The errors that a client of Redis raises, by the names of the notebook's clients."""

    Etcd3Exception = redis.RedisError
    RpcError = redis.RedisError


def test_a_token_of_redis_fences_a_paused_holder(lab: Lab, url: str) -> None:
    """`SET NX PX` gives the lock to the next one, and INCR the token that tells them apart."""
    need(find_postgres)
    rows = lab.serve_rows(embedded=True)
    assert isinstance(rows, RowsService)
    acquire = redis.Redis.from_url(url).register_script(ACQUIRE)

    def token_of(holder: str) -> int:
        return int(acquire(keys=["lock", "tokens"], args=[holder, LOCK_MS]))

    tokens = [token_of("a")]

    def b_has_it() -> bool:
        tokens.append(token_of("b"))
        return tokens[-1] > 0

    until(b_has_it, timeout=patience(10))
    assert tokens[-1] > tokens[0]
    fence = Fence("prices")
    with psycopg.connect(rows.dsn, autocommit=True) as db:
        fence.prepare(db)
        fence.enter(db, tokens[-1])
        with pytest.raises(StaleTokenError):
            fence.enter(db, tokens[0])
