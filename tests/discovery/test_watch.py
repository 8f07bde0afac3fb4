from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from labsvc.cells import until
from labsvc.discovery import Cluster, Registration, Watch
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from tests.discovery.stage import Stage

LONG = 60  # seconds of grace that do not end while a test runs


class Heard(list[list[str]]):
    """All that a watch has handed on."""

    def until_last(self, *members: str) -> None:
        """Wait until these are the members, and it was said once."""
        until(lambda: self[-1:] == [list(members)], timeout=patience(20))


@contextmanager
def watched(stage: Stage, cluster: Cluster, grace: float = 0) -> Iterator[Heard]:
    """Watch the prefix of the stage."""
    heard = Heard()
    with Watch(cluster, stage.prefix, heard.append, grace=grace) as watch:
        yield heard
        assert heard[-1:] in ([], [watch.used])


def break_connection(stage: Stage, cluster: Cluster) -> None:
    """Cut what the watch hears through, and wait until it is on another node."""
    node, door = cluster.node, stage.door(cluster)
    door.set(refuse=True)
    door.cut()
    until(lambda: cluster.node is not node, timeout=patience(10))


def test_members_come_and_go(stage: Stage, etcd: Cluster) -> None:
    """Each change is handed on once, with all the members."""
    stage.put("a:1")
    with watched(stage, etcd) as heard:
        heard.until_last("a:1")
        stage.put("b:1")
        heard.until_last("a:1", "b:1")
        stage.put("b:1")  # once more is no change
        stage.delete("a:1")
        heard.until_last("b:1")
    assert heard == [["a:1"], ["a:1", "b:1"], ["b:1"]]


def test_it_waits_for_the_first_member(stage: Stage, etcd: Cluster) -> None:
    """Before that there is nothing to hand on."""
    heard = Heard()
    with Watch(etcd, stage.prefix, heard.append) as watch:
        assert not watch.wait(0.2)
        stage.put("a:1")
        assert watch.wait(patience(10))
    assert heard == [["a:1"]]


def test_nothing_is_missed_over_a_break(stage: Stage, etcd: Cluster) -> None:
    """It goes on from the revision that it saw last."""
    stage.put("a:1")
    with watched(stage, etcd) as heard:
        heard.until_last("a:1")
        for door in stage.doors:
            door.set(refuse=True)
            door.cut()
        stage.put("b:1")
        stage.delete("a:1")
        stage.mend()
        heard.until_last("b:1")


def test_a_compaction_while_it_was_away(stage: Stage, etcd: Cluster) -> None:
    """Events that etcd has forgotten are made up for by a new list."""
    stage.put("a:1")
    with watched(stage, etcd) as heard:
        heard.until_last("a:1")
        for door in stage.doors:
            door.set(refuse=True)
            door.cut()
        stage.delete("a:1")
        stage.compact(stage.put("b:1"))
        stage.mend()
        heard.until_last("b:1")


def test_a_node_that_says_nothing_is_left(stage: Stage, etcd: Cluster) -> None:
    """A silent connection is no quiet one: signs of life are missing."""
    stage.put("a:1")
    with watched(stage, etcd) as heard:
        heard.until_last("a:1")
        stage.door(etcd).set(blackhole=True)
        stage.put("b:1")
        heard.until_last("a:1", "b:1")


def test_a_quiet_time_is_no_reason_to_leave(stage: Stage, etcd: Cluster) -> None:
    """While a node gives signs of life its stream is kept, however long nothing happens."""
    stage.put("a:1")
    with watched(stage, etcd) as heard:
        heard.until_last("a:1")
        opened, door = sum(each.stats.connections for each in stage.doors), stage.door(etcd)
        asked = door.stats.bytes_up
        until(lambda: door.stats.bytes_up > asked + 200, timeout=patience(30))  # of 15 each
        assert stage.door(etcd) is door
        assert sum(each.stats.connections for each in stage.doors) == opened


def test_the_leader_dies(stage: Stage, etcd: Cluster) -> None:
    """The watch goes on over those who are left."""
    stage.put("a:1")
    with watched(stage, etcd) as heard:
        heard.until_last("a:1")
        stage.kill(stage.leader())
        stage.put("b:1")
        heard.until_last("a:1", "b:1")


def test_a_node_without_a_leader_is_left(stage: Stage, etcd: Cluster) -> None:
    """It answers, and hears of nothing: the others may be well without it."""
    stage.put("a:1")
    with watched(stage, etcd) as heard:
        heard.until_last("a:1")
        node = etcd.node
        for place in range(len(stage.doors)):
            if stage.doors[place] is not stage.door(etcd):
                stage.kill(place)
        until(lambda: etcd.node is not node, timeout=patience(20))


def test_members_have_time_to_come_back(stage: Stage, etcd: Cluster) -> None:
    """After a break absence is not believed: leases have expired, and are about to be renewed."""
    stage.put("a:1")
    stage.put("b:1")
    with watched(stage, etcd, grace=LONG) as heard:
        heard.until_last("a:1", "b:1")
        break_connection(stage, etcd)
        stage.delete("a:1")
        stage.put("c:1")
        heard.until_last("a:1", "b:1", "c:1")


def test_then_it_is_believed(stage: Stage, etcd: Cluster) -> None:
    """When the grace is over the list is right, without another event."""
    stage.put("a:1")
    stage.put("b:1")
    with watched(stage, etcd, grace=1) as heard:
        heard.until_last("a:1", "b:1")
        break_connection(stage, etcd)
        stage.delete("a:1")
        heard.until_last("b:1")


def test_the_last_one_stays(stage: Stage, etcd: Cluster) -> None:
    """A list without anybody helps nobody."""
    heard = Heard()
    stage.put("a:1")
    with Watch(etcd, stage.prefix, heard.append, grace=0) as watch:
        heard.until_last("a:1")
        stage.delete("a:1")
        until(lambda: watch._listed == set(), timeout=patience(10))  # or both come in one answer
        stage.put("b:1")
        heard.until_last("b:1")
    assert heard == [["a:1"], ["b:1"]]


def test_all_nodes_are_silent_for_a_while(stage: Stage, etcd: Cluster) -> None:
    """Leases expire meanwhile, and nobody is taken for gone."""
    with (
        watched(stage, etcd, grace=LONG) as heard,
        Registration(etcd, f"{stage.prefix}a:1", ttl=1) as a,
        Registration(etcd, f"{stage.prefix}b:1", ttl=1) as b,
    ):
        assert a.wait(patience(10))
        assert b.wait(patience(10))
        heard.until_last("a:1", "b:1")
        said = len(heard)
        stage.blackhole(on=True)
        until(lambda: stage.registered() == [], timeout=patience(20))
        stage.blackhole(on=False)
        until(lambda: stage.registered() == ["a:1", "b:1"], timeout=patience(20))
        assert heard[said:] == []


def test_one_that_raises_is_told_again(
    stage: Stage, etcd: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    """What `on_change` raises ends no watch."""
    heard = Heard()

    def on_change(members: list[str]) -> None:
        heard.append(members)
        raise RuntimeError

    with Watch(etcd, stage.prefix, on_change):
        stage.put("a:1")
        heard.until_last("a:1")
        stage.put("b:1")
        heard.until_last("a:1", "b:1")
    assert "were not taken" in caplog.text


def test_it_ends_with_its_block(stage: Stage, etcd: Cluster) -> None:
    """Also with all nodes silent, and before it has heard anything."""
    stage.blackhole(on=True)
    before = threading.active_count()
    with watched(stage, etcd):
        assert threading.active_count() > before
    until(lambda: threading.active_count() <= before, timeout=patience(10))
