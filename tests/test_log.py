"""Tests of the log with the real client: what the mock cluster can do, and what it cannot."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from labsvc.errors import LabError
from labsvc.hosts.log import ExternalLog, LogService
from labsvc.lab import Lab

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = 20
TASKS = Path("/proc/self/task")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab."""
    with Lab() as running:
        yield running


def client(log: Any) -> dict[str, Any]:
    """Return what each client is told."""
    return {"bootstrap.servers": log.bootstrap, "log_level": 0}


def write(log: Any, topic: str, *events: str, key: str = "o-1") -> None:
    """Write events with one key, and see each confirmed."""
    failed: list[Any] = []
    producer = Producer(client(log) | {"message.timeout.ms": 5000})
    for event in events:
        producer.produce(
            topic, key=key, value=event, on_delivery=lambda e, _: failed.extend([e] if e else [])
        )
    assert producer.flush(SECONDS) == 0
    assert failed == []


def member(log: Any, group: str = "g") -> Any:
    """Return a consumer of a group that commits by itself alone."""
    settings = {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False}
    return Consumer(client(log) | settings | log.group_settings)


def read(consumer: Any, count: int) -> list[str]:
    """Return so many events."""
    found: list[str] = []
    until = time.monotonic() + SECONDS
    while len(found) < count and time.monotonic() < until:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            found.append(message.value().decode())
    assert len(found) == count
    return found


def test_a_log_is_read_again(lab: Lab) -> None:
    """What was read stays, for any reader, from any offset."""
    log = lab.serve_log()
    topic = log.new_topic("orders")
    write(log, topic, "a", "b", "c")
    for start, found in {0: ["a", "b", "c"], 2: ["c"]}.items():
        reader = member(log)
        reader.assign([TopicPartition(topic, 0, start)])
        assert read(reader, len(found)) == found
        reader.close()


def test_a_topic_has_the_partitions_asked_for(lab: Lab) -> None:
    """The events of a key are in one partition; two topics of a name are two."""
    log = lab.serve_log()
    topic = log.new_topic("orders", partitions=3)
    assert topic != log.new_topic("orders")
    for order in ("o-1", "o-2", "o-3", "o-4"):
        write(log, topic, "placed", "cancelled", key=order)
    reader = member(log)
    assert len(reader.list_topics(topic, timeout=SECONDS).topics[topic].partitions) == 3
    ends = [reader.get_watermark_offsets(TopicPartition(topic, n))[1] for n in range(3)]
    reader.close()
    assert sum(ends) == 8
    assert all(end % 2 == 0 for end in ends)


def test_a_group_shares_and_comes_back_to_what_it_committed(lab: Lab) -> None:
    """A group is joined at once; a second member takes over, from the committed offset."""
    log = lab.serve_log()
    topic = log.new_topic("orders")
    write(log, topic, "a", "b", "c")
    first = member(log)
    begun = time.monotonic()
    first.subscribe([topic])
    assert read(first, 2) == ["a", "b"]
    assert time.monotonic() - begun < 2.5  # the mock cluster itself waits for three seconds
    first.commit(offsets=[TopicPartition(topic, 0, 1)], asynchronous=False)
    first.close()
    second = member(log)
    second.subscribe([topic])
    assert read(second, 2) == ["b", "c"]
    second.close()


def test_partitions_move_to_a_new_member(lab: Lab) -> None:
    """With two partitions and two members, each ends up with one."""
    log = lab.serve_log()
    members = [member(log), member(log)]
    topic = log.new_topic("orders", partitions=2)
    until = time.monotonic() + SECONDS
    for each in members:
        each.subscribe([topic])
    while [len(each.assignment()) for each in members] != [1, 1] and time.monotonic() < until:
        for each in members:
            each.poll(0.02)
    assert [len(each.assignment()) for each in members] == [1, 1]
    for each in members:
        each.close()


def test_stopped_it_refuses_and_started_it_has_kept_all(lab: Lab) -> None:
    """A stop is real for a client, and what was written is there after the start."""
    log = lab.serve_log()
    topic = log.new_topic("orders")
    write(log, topic, "a")
    target = log.target
    log.stop()
    log.stop()
    assert not log.running
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port(log))):
        pass
    with pytest.raises(LabError, match=r"start\(\)"):
        log.new_topic("orders")
    with pytest.raises(KafkaException):
        Producer(client(log)).list_topics(timeout=0.2)
    log.start()
    assert log.target == target
    write(log, topic, "b")
    reader = member(log)
    reader.assign([TopicPartition(topic, 0, 0)])
    assert read(reader, 2) == ["a", "b"]
    reader.close()


def test_it_ends_with_the_lab() -> None:
    """Nobody listens once the lab has ended, also if a client is left open; its topics are gone."""
    with Lab() as lab:
        log = lab.serve_log()
        topic = log.new_topic("orders")
        write(log, topic, "a")
        left = member(log)
        left.subscribe([topic])
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port(log))):
        pass
    left.close()


@pytest.mark.skipif(not TASKS.exists(), reason="threads of C are listed by Linux")
def test_nothing_of_it_is_left() -> None:
    """Its threads end with the lab."""
    with Lab() as lab:
        before = set(TASKS.iterdir())
        lab.serve_log()
        assert set(TASKS.iterdir()) > before
    until = time.monotonic() + SECONDS
    while not set(TASKS.iterdir()) <= before and time.monotonic() < until:
        time.sleep(0.01)
    assert set(TASKS.iterdir()) <= before


def test_another_under_its_name_is_empty(lab: Lab) -> None:
    """A cell that is run twice has a new log."""
    first = lab.serve_log()
    topic = first.new_topic("orders")
    second = lab.serve_log()
    assert not first.running
    assert topic not in Producer(client(second)).list_topics(timeout=SECONDS).topics


@pytest.mark.parametrize("wrong", [0, -1, "2"])
def test_no_such_number_of_partitions(lab: Lab, wrong: Any) -> None:
    """A topic has one partition at least."""
    with pytest.raises(ValueError, match="a number such as 2"):
        lab.serve_log().new_topic("orders", partitions=wrong)


def test_an_outside_log_is_used_not_started(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variable set, the address is its own; embedded=True is the lab's all the same."""
    monkeypatch.setenv("LAB_KAFKA_BOOTSTRAP", "192.0.2.1:9092,192.0.2.2:9092")
    log = lab.serve_log()
    assert isinstance(log, ExternalLog)
    assert log.group_settings == {}
    assert (log.bootstrap, log.target) == ("192.0.2.1:9092,192.0.2.2:9092", "192.0.2.1:9092")
    with pytest.raises(LabError, match=r"lab\.proxy"):
        log.stop()
    assert isinstance(lab.serve_log("own", embedded=True), LogService)


def test_topics_outside_are_made_and_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was made there goes with the lab; a Kafka that is away is said to be."""
    asked: list[str] = []
    monkeypatch.setattr(ExternalLog, "_admin", lambda _: Admin(asked))
    with Lab() as lab:
        monkeypatch.setenv("LAB_KAFKA_BOOTSTRAP", "192.0.2.1:9092")
        log = lab.serve_log()
        topic = log.new_topic("orders", partitions=2)
        with pytest.raises(LabError, match="is that Kafka there"):
            log.new_topic("refused")
    assert asked == [f"create {topic} 2", f"delete {topic}"]


def test_nonsense_in_its_variable(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that holds no address is an error that names it."""
    monkeypatch.setenv("LAB_KAFKA_BOOTSTRAP", "nonsense")
    with pytest.raises(LabError, match="LAB_KAFKA_BOOTSTRAP"):
        lab.serve_log()


class Admin:
    """Stands for the client of a Kafka that the tests do not have."""

    def __init__(self, asked: list[str]) -> None:
        self._asked = asked

    def create_topics(self, wanted: list[Any]) -> dict[str, Done]:
        """Make all but the refused."""
        [topic] = wanted
        if topic.topic.startswith("refused"):
            return {topic.topic: Done(KafkaException("no"))}
        self._asked.append(f"create {topic.topic} {topic.num_partitions}")
        return {topic.topic: Done(None)}

    def delete_topics(self, topics: list[str]) -> dict[str, Done]:
        """Note it."""
        self._asked.extend(f"delete {topic}" for topic in topics)
        return {topic: Done(None) for topic in topics}


class Done:
    """What is there already."""

    def __init__(self, error: Exception | None) -> None:
        self._error = error

    def result(self, _: float) -> None:
        """Return, or raise."""
        if self._error:
            raise self._error


def port(log: Any) -> int:
    """Return where it listens."""
    return int(log.target.rpartition(":")[2])
