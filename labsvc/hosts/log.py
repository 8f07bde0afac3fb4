"""The log: Kafka's protocol by librdkafka's mock cluster, or a Kafka named by LAB_KAFKA_BOOTSTRAP.

The mock cluster is one broker inside the client library: in memory, no disk, no replication worth
the name. What was measured with librdkafka 2.16:

    partitions     a topic that is first used gets four; `new_topic` makes one with as many as asked
    group          members share the partitions, a new member or a lost one moves them (eager)
    first join     3 s as it comes; 50 ms here, where the delay before the first round is off
    later rounds   last up to session.timeout.ms less a second, 44 s as it comes: `group_settings`
                   makes half a second of it, which a Kafka of one's own would refuse
    offsets        a group's are kept and read back, by partition, while the cluster is there
    replay         assign and seek go to any offset, in 2 ms, without a group
    retry          a producer whose answer was lost writes twice, enable.idempotence or not
    stop, start    what it holds is kept, in memory; it is gone when the lab ends
    not there      AdminClient cannot create or delete topics; nothing is deleted by age; a time
                   finds no offset

Its address is in each answer, so a proxy before it sees a client's first connection alone.
"""

from __future__ import annotations

import ctypes
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from labsvc.errors import EngineError, LabError
from labsvc.hosts.external import ExternalService, target_of
from labsvc.hosts.service import Service

VARIABLE = "LAB_KAFKA_BOOTSTRAP"
SECONDS = 10

QUICK_GROUP = {"session.timeout.ms": 1500, "heartbeat.interval.ms": 50, "fetch.wait.max.ms": 10}

_PRODUCER = 0  # RD_KAFKA_PRODUCER
_ONE = 1  # the cluster has one broker, whose number is 1
_TEXT = 512


class LogService(Service):
    """A log in this kernel that speaks Kafka's protocol; `Lab.serve_log` makes one.

    It is a mock cluster: in memory, no disk, no replication worth the name. What it holds is kept
    over a stop, until the lab stops.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._mock: _Mock | None = None

    @property
    def bootstrap(self) -> str:
        """The address for `bootstrap.servers`."""
        return self.target

    @property
    def group_settings(self) -> dict[str, int]:
        """What to tell each member of a group, so that partitions move in half a second."""
        return dict(QUICK_GROUP)

    def new_topic(self, name: str, partitions: int = 1) -> str:
        """Make an empty topic; return its name, to which a few letters of its own are added.

        Raises:
            ValueError: `partitions` is less than 1.
            LabError: the log is stopped, or refused.

        """
        topic = _named(name, partitions)
        with self._lock:
            if self._mock is None or not self._running:
                msg = f"{self.name!r} is stopped, so it takes no topic; call start() first"
                raise LabError(msg)
            self._mock.create(topic, partitions)
        return topic

    def release(self) -> None:
        """End it for good, and what it holds."""
        super().release()
        with self._lock:
            if self._mock is not None:
                self._mock.end()
                self._mock = None

    def start_in_place_of(self, port: int) -> None:
        """Start, on a port of its own: the mock cluster takes any free one."""
        self.start()

    def _open(self, port: int) -> int:
        if self._mock is None:
            self._mock = _Mock()
        else:
            self._mock.up()
        return self._mock.port

    def _close(self, grace: float) -> None:
        if self._mock is not None:
            self._mock.down()


class ExternalLog(ExternalService):
    """A Kafka that runs elsewhere; the topics that it was asked for go when the lab ends."""

    def __init__(self, name: str, bootstrap: str) -> None:
        wrong = f"{VARIABLE} is no address; write host:9092, or several with commas between them"
        first = f"kafka://{bootstrap.partition(',')[0].strip()}"
        if ":" not in bootstrap:
            raise LabError(wrong)
        super().__init__(name, target_of(first, {"kafka": 9092}, wrong), VARIABLE)
        self.bootstrap = bootstrap
        self._topics: list[str] = []

    @property
    def group_settings(self) -> dict[str, int]:
        """Nothing: its own settings decide."""
        return {}

    def new_topic(self, name: str, partitions: int = 1) -> str:
        """Make an empty topic, as `LogService.new_topic` does."""
        from confluent_kafka.cimpl import NewTopic

        topic = _named(name, partitions)
        wanted = NewTopic(topic, num_partitions=partitions)
        try:
            self._admin().create_topics([wanted])[topic].result(SECONDS)
        except Exception as error:
            msg = f"{self.target} made no topic {topic!r} ({error}); is that Kafka there?"
            raise LabError(msg) from error
        self._topics.append(topic)
        return topic

    def release(self) -> None:
        """Delete the topics that were made here, and leave it running."""
        made, self._topics = self._topics, []
        if made:
            for done in self._admin().delete_topics(made).values():
                with suppress(Exception):  # it may be away by now
                    done.result(SECONDS)

    def _admin(self) -> Any:
        _client()
        from confluent_kafka.admin import AdminClient

        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})


class _Mock:
    """The mock cluster, by the functions of the library that confluent-kafka has brought along."""

    def __init__(self) -> None:
        self._library = library = _library()
        said = ctypes.create_string_buffer(_TEXT)
        settings = library.rd_kafka_conf_new()
        library.rd_kafka_conf_set(settings, b"log_level", b"0", said, _TEXT)
        self._client = library.rd_kafka_new(_PRODUCER, settings, said, _TEXT)
        if not self._client:
            msg = f"no log: {said.value.decode(errors='replace')}; run `labsvc doctor`"
            raise EngineError(msg)
        self._cluster = library.rd_kafka_mock_cluster_new(self._client, _ONE)
        if not self._cluster:
            library.rd_kafka_destroy(self._client)
            msg = "the mock cluster of librdkafka did not start; run `labsvc doctor`"
            raise EngineError(msg)
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, 0)
        address = library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode()
        self.port = int(address.rpartition(":")[2])

    def create(self, topic: str, partitions: int) -> None:
        code = self._library.rd_kafka_mock_topic_create(
            self._cluster, topic.encode(), partitions, _ONE
        )
        if code:
            msg = f"the mock cluster refused the topic {topic!r} (error {code}); take another name"
            raise LabError(msg)

    def up(self) -> None:
        self._library.rd_kafka_mock_broker_set_up(self._cluster, _ONE)

    def down(self) -> None:
        self._library.rd_kafka_mock_broker_set_down(self._cluster, _ONE)

    def end(self) -> None:
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


def _library() -> Any:
    """Return librdkafka with the types of the functions that are called here."""
    extension = Path(_client().__file__)
    beside = extension.parent.parent.glob("confluent_kafka.libs/*rdkafka*.dll")
    for path in (extension, *beside):  # elsewhere than on Windows the extension leads to it
        library = ctypes.CDLL(str(path))
        if hasattr(library, "rd_kafka_mock_cluster_new"):
            return _typed(library)
    msg = "this confluent-kafka has no mock cluster in reach; reinstall it, or set " + VARIABLE
    raise EngineError(msg)


def _client() -> Any:
    try:
        from confluent_kafka import cimpl
    except ImportError as error:
        msg = "no confluent-kafka is installed; run `pip install confluent-kafka`"
        raise EngineError(msg) from error
    return cimpl


def _typed(library: Any) -> Any:
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    number = ctypes.c_int32
    for name, result, *taken in (
        ("rd_kafka_conf_new", pointer),
        ("rd_kafka_conf_set", ctypes.c_int, pointer, text, text, text, size),
        ("rd_kafka_new", pointer, ctypes.c_int, pointer, text, size),
        ("rd_kafka_destroy", None, pointer),
        ("rd_kafka_mock_cluster_new", pointer, pointer, ctypes.c_int),
        ("rd_kafka_mock_cluster_destroy", None, pointer),
        ("rd_kafka_mock_cluster_bootstraps", text, pointer),
        ("rd_kafka_mock_group_initial_rebalance_delay_ms", None, pointer, number),
        ("rd_kafka_mock_topic_create", ctypes.c_int, pointer, text, ctypes.c_int, ctypes.c_int),
        ("rd_kafka_mock_broker_set_up", ctypes.c_int, pointer, number),
        ("rd_kafka_mock_broker_set_down", ctypes.c_int, pointer, number),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, taken
    return library


def _named(name: str, partitions: int) -> str:
    if not isinstance(partitions, int) or partitions < 1:
        msg = f"partitions must be a number such as 2, not {partitions!r}"
        raise ValueError(msg)
    return f"{name}-{uuid.uuid4().hex[:6]}"
