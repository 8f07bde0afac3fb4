"""RabbitMQ's extensions: expiry, limits, dead letters, priorities, quorum queues."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.clients import ClosedError, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engines.clients import Channel, Client, Message

SHORT = 50  # milliseconds
LONG = 600_000
QUORUM = {"durable": True, "arguments": {"x-queue-type": "quorum"}}
TO_DEFAULT = "x-dead-letter-exchange"
TO_KEY = "x-dead-letter-routing-key"


def deaths(message: Message) -> list[dict[str, Any]]:
    """Return the x-death header, without its times, which must be times."""
    records = message.headers["x-death"]
    assert all(isinstance(record["time"], dt.datetime) for record in records)
    return [{key: value for key, value in record.items() if key != "time"} for record in records]


def arrived(channel: Channel, queue: str, count: int = 1) -> list[Message]:
    """Wait until messages are ready in a queue, and take them."""
    until(lambda: channel.count(queue) >= count, lambda: time.sleep(0.005))
    return channel.drain(queue)


def dead_letter_queue(channel: Channel, name: str, **arguments: Any) -> dict[str, Any]:
    """Declare a queue and return the arguments that send dead letters there."""
    channel.queue_declare(name)
    return {TO_DEFAULT: "", TO_KEY: name, **arguments}


# Expiry


@pytest.mark.parametrize(
    ("queue_ttl", "expiration", "expires"),
    [
        (SHORT, None, True),
        (None, str(SHORT), True),
        (LONG, str(SHORT), True),
        (SHORT, str(LONG), True),
        (None, None, False),
        (LONG, str(LONG), False),
    ],
)
def test_a_message_expires(
    channel: Channel,
    new: Callable[[str], str],
    queue_ttl: int | None,
    expiration: str | None,
    expires: bool,  # noqa: FBT001  # a drawn value
) -> None:
    """The shorter of the queue's TTL and the message's expiration counts."""
    name = new("q")
    arguments = {} if queue_ttl is None else {"x-message-ttl": queue_ttl}
    channel.queue_declare(name, arguments=arguments)
    properties: dict[str, Any] = {} if expiration is None else {"expiration": expiration}
    channel.publish("", name, "m", **properties)
    if expires:
        until(lambda: channel.count(name) == 0, lambda: time.sleep(0.005))
        assert channel.get(name) is None
    else:
        time.sleep(2 * SHORT / 1000)
        assert channel.count(name) == 1


def test_a_ttl_of_0_delivers_now_or_never(channel: Channel, new: Callable[[str], str]) -> None:
    """Without a waiting consumer the message is gone at once."""
    name = new("q")
    channel.queue_declare(name, arguments={"x-message-ttl": 0})
    assert channel.publish("", name, "lost") == "ack"
    assert channel.count(name) == 0
    inbox = channel.consume(name)
    channel.publish("", name, "caught")
    inbox.wait(1)
    assert inbox.bodies == ["caught"]


def test_an_expired_message_waits_for_the_head(channel: Channel, new: Callable[[str], str]) -> None:
    """Expired messages leave at the head only: behind one that lives on they still count."""
    name = new("q")
    arguments = dead_letter_queue(channel, new("dead"))
    channel.queue_declare(name, arguments=arguments)
    channel.publish("", name, "lives")
    channel.publish("", name, "dies", expiration="1")
    time.sleep(SHORT / 1000)
    assert channel.count(name) == 2
    assert channel.count(new("dead")) == 0
    got = channel.get(name, no_ack=True)
    assert got is not None
    assert got.body == b"lives"
    assert [m.body for m in arrived(channel, new("dead"))] == [b"dies"]
    assert channel.count(name) == 0


def test_an_unacked_message_does_not_expire(channel: Channel, new: Callable[[str], str]) -> None:
    """Its time runs on; when it is given back, it is gone."""
    name = new("q")
    channel.queue_declare(name, arguments={"x-message-ttl": SHORT})
    channel.publish("", name, "m")
    got = channel.get(name)
    assert got is not None
    time.sleep(2 * SHORT / 1000)
    channel.basic_nack(got.tag, requeue=True)
    until(lambda: channel.count(name) == 0, lambda: time.sleep(0.005))
    assert channel.get(name) is None


def test_an_unused_queue_expires(client: Client, new: Callable[[str], str]) -> None:
    """x-expires counts from the last consumer, get or declaration; a consumer is a use."""
    name, used = new("q"), new("used")
    channel = client.channel()
    channel.queue_declare(used, arguments={"x-expires": 10 * SHORT})
    channel.consume(used)
    channel.queue_declare(name, arguments={"x-expires": SHORT})
    time.sleep(15 * SHORT / 1000)
    with pytest.raises(ClosedError, match=f"NOT_FOUND - no queue '{name}' in vhost '/'"):
        client.channel().queue_purge(name)
    assert channel.count(used) == 0


# Length


def test_a_full_queue_drops_its_head(channel: Channel, new: Callable[[str], str]) -> None:
    """The oldest ready messages go; publishes are confirmed."""
    name = new("q")
    channel.queue_declare(name, arguments={"x-max-length": 3})
    assert {channel.publish("", name, str(number)) for number in range(5)} == {"ack"}
    assert channel.bodies(name) == ["2", "3", "4"]


def test_unacked_messages_do_not_fill_a_queue(channel: Channel, new: Callable[[str], str]) -> None:
    """x-max-length counts ready messages; what is given back counts again."""
    name = new("q")
    channel.queue_declare(name, arguments={"x-max-length": 2})
    for body in "ab":
        channel.publish("", name, body)
    held = [message.tag for _ in "ab" if (message := channel.get(name))]
    for body in "cd":
        channel.publish("", name, body)
    assert channel.count(name) == 2
    channel.basic_nack(held[-1], multiple=True, requeue=True)
    assert channel.bodies(name) == ["c", "d"]


def test_a_queue_is_bounded_in_bytes(channel: Channel, new: Callable[[str], str]) -> None:
    """x-max-length-bytes counts bodies."""
    name = new("q")
    channel.queue_declare(name, arguments={"x-max-length-bytes": 10})
    for body in ("1111", "2222", "33", "4444"):
        channel.publish("", name, body)
    assert channel.bodies(name) == ["2222", "33", "4444"]
    channel.publish("", name, "x" * 11)
    assert channel.bodies(name) == []


def test_a_length_of_0_keeps_nothing(channel: Channel, new: Callable[[str], str]) -> None:
    """Only what a consumer takes at once gets through."""
    name = new("q")
    channel.queue_declare(name, arguments={"x-max-length": 0})
    assert channel.publish("", name, "lost") == "ack"
    assert channel.count(name) == 0


def test_a_full_queue_rejects_publishes(channel: Channel, new: Callable[[str], str]) -> None:
    """With reject-publish the publisher gets a nack, and what waits stays."""
    name = new("q")
    channel.queue_declare(name, arguments={"x-max-length": 2, "x-overflow": "reject-publish"})
    answers = [channel.publish("", name, str(number)) for number in range(4)]
    assert answers == ["ack", "ack", "nack", "nack"]
    assert channel.bodies(name) == ["0", "1"]
    assert channel.publish("", name, "4") == "ack"


def test_one_full_queue_of_several_nacks(channel: Channel, new: Callable[[str], str]) -> None:
    """The other queues keep the message all the same."""
    full, free = new("full"), new("free")
    channel.queue_declare(full, arguments={"x-max-length": 0, "x-overflow": "reject-publish"})
    channel.queue_declare(free)
    for name in (full, free):
        channel.queue_bind(name, "amq.direct", new("k"))
    assert channel.publish("amq.direct", new("k"), "m") == "nack"
    assert (channel.count(full), channel.count(free)) == (0, 1)


# Dead letters


def test_a_rejected_message_becomes_a_dead_letter(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """x-death says why, where and how often; three headers keep the first death."""
    name, dead = new("q"), new("dead")
    channel.queue_declare(name, arguments=dead_letter_queue(channel, dead))
    channel.queue_bind(name, "amq.direct", new("k"))
    channel.publish("amq.direct", new("k"), "m", headers={"mine": 1}, delivery_mode=2)
    got = channel.get(name)
    assert got is not None
    channel.basic_reject(got.tag, requeue=False)
    (letter,) = arrived(channel, dead)
    assert (letter.body, letter.exchange, letter.key) == (b"m", "", dead)
    assert (letter.redelivered, letter.properties) == (False, {"delivery_mode": 2})
    assert letter.headers.pop("mine") == 1
    assert deaths(letter) == [
        {
            "count": 1,
            "exchange": "amq.direct",
            "queue": name,
            "reason": "rejected",
            "routing-keys": [new("k")],
        }
    ]
    del letter.headers["x-death"]
    assert letter.headers == {
        "x-first-death-exchange": "amq.direct",
        "x-first-death-queue": name,
        "x-first-death-reason": "rejected",
    }


def test_an_expired_message_becomes_a_dead_letter(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """Its expiration moves into x-death, so that it does not expire again."""
    name, dead = new("q"), new("dead")
    channel.queue_declare(name, arguments=dead_letter_queue(channel, dead))
    channel.publish("", name, "m", expiration="1")
    (letter,) = arrived(channel, dead)
    assert letter.properties == {}
    assert deaths(letter) == [
        {
            "count": 1,
            "exchange": "",
            "original-expiration": "1",
            "queue": name,
            "reason": "expired",
            "routing-keys": [name],
        }
    ]
    assert letter.headers["x-first-death-reason"] == "expired"


@pytest.mark.parametrize("limit", [{"x-max-length": 1}, {"x-max-length-bytes": 1}])
def test_a_dropped_message_becomes_a_dead_letter(
    channel: Channel, new: Callable[[str], str], limit: dict[str, int]
) -> None:
    """The reason is maxlen, for a number and for bytes."""
    name, dead = new("q"), new("dead")
    channel.queue_declare(name, arguments=dead_letter_queue(channel, dead, **limit))
    for body in "ab":
        channel.publish("", name, body)
    (letter,) = arrived(channel, dead)
    assert (letter.body, deaths(letter)[0]["reason"]) == (b"a", "maxlen")


def test_a_rejected_publish_becomes_a_dead_letter(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """With reject-publish-dlx the publisher gets a nack and the message goes on."""
    name, dead = new("q"), new("dead")
    limit = {"x-max-length": 1, "x-overflow": "reject-publish-dlx"}
    channel.queue_declare(name, arguments=dead_letter_queue(channel, dead, **limit))
    assert [channel.publish("", name, body) for body in "ab"] == ["ack", "nack"]
    (letter,) = arrived(channel, dead)
    assert (letter.body, deaths(letter)[0]["reason"]) == (b"b", "maxlen")


def test_a_dead_letter_keeps_its_key_unless_told(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """Without x-dead-letter-routing-key the message's own key routes it, CC included."""
    name, exchange, dead = new("q"), new("x"), new("dead")
    channel.exchange_declare(exchange=exchange, exchange_type="topic")
    channel.queue_declare(name, arguments={TO_DEFAULT: exchange})
    channel.queue_declare(dead)
    channel.queue_bind(dead, exchange, "#")
    channel.publish("", name, "m", headers={"CC": ["copy"]})
    got = channel.get(name)
    assert got is not None
    channel.basic_nack(got.tag, requeue=False)
    (letter,) = arrived(channel, dead)
    assert (letter.exchange, letter.key) == (exchange, name)
    assert letter.headers["CC"] == ["copy"]
    assert deaths(letter)[0]["routing-keys"] == [name, "copy"]


def test_a_told_key_drops_the_copies(channel: Channel, new: Callable[[str], str]) -> None:
    """With x-dead-letter-routing-key the CC header goes; x-death remembers it."""
    name, dead = new("q"), new("dead")
    channel.queue_declare(name, arguments=dead_letter_queue(channel, dead))
    channel.publish("", name, "m", headers={"CC": ["copy"]})
    got = channel.get(name)
    assert got is not None
    channel.basic_nack(got.tag, requeue=False)
    (letter,) = arrived(channel, dead)
    assert "CC" not in letter.headers
    assert deaths(letter)[0]["routing-keys"] == [name, "copy"]


def test_without_a_dead_letter_exchange_it_is_gone(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """An exchange that does not exist swallows dead letters, too."""
    name = new("q")
    channel.queue_declare(name, arguments={TO_DEFAULT: new("nothing")})
    channel.publish("", name, "m")
    got = channel.get(name)
    assert got is not None
    channel.basic_reject(got.tag, requeue=False)
    assert channel.count(name) == 0


def test_deaths_add_up(channel: Channel, new: Callable[[str], str]) -> None:
    """The latest death stands first; a second one of the same kind counts up and moves there."""
    first, second = new("first"), new("second")
    channel.queue_declare(first, arguments={TO_DEFAULT: "", TO_KEY: second})
    channel.queue_declare(second, arguments={TO_DEFAULT: "", TO_KEY: first, "x-message-ttl": SHORT})
    channel.publish("", first, "m")
    for round_ in (1, 2):
        until(lambda: channel.count(first) == 1, lambda: time.sleep(0.005))
        got = channel.get(first)
        assert got is not None
        if round_ == 2:
            assert [(d["queue"], d["reason"], d["count"]) for d in deaths(got)] == [
                (second, "expired", 1),
                (first, "rejected", 1),
            ]
        channel.basic_reject(got.tag, requeue=False)
    until(lambda: channel.count(first) == 1, lambda: time.sleep(0.005))
    (letter,) = channel.drain(first)
    assert [(d["queue"], d["reason"], d["count"]) for d in deaths(letter)] == [
        (second, "expired", 2),
        (first, "rejected", 2),
    ]
    assert letter.headers["x-first-death-queue"] == first
    assert letter.headers["x-first-death-reason"] == "rejected"


def test_a_cycle_without_a_rejection_ends(channel: Channel, new: Callable[[str], str]) -> None:
    """A message that expires back into its own queue is dropped."""
    name = new("q")
    arguments = {TO_DEFAULT: "", TO_KEY: name, "x-message-ttl": SHORT}
    channel.queue_declare(name, arguments=arguments)
    channel.publish("", name, "m")
    until(lambda: channel.count(name) == 0, lambda: time.sleep(0.005))
    time.sleep(2 * SHORT / 1000)
    assert channel.get(name) is None


def test_a_deleted_or_purged_queue_makes_no_dead_letters(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """Only a death by rejection, expiry or limit sends a message on."""
    name, dead = new("q"), new("dead")
    channel.queue_declare(name, arguments=dead_letter_queue(channel, dead))
    for method in ("queue_purge", "queue_delete"):
        channel.publish("", name, "m")
        assert channel.call(method, name).message_count == 1
    assert channel.count(dead) == 0


# Priorities


def test_messages_with_priority_overtake(channel: Channel, new: Callable[[str], str]) -> None:
    """Higher first, order within a priority; above the maximum counts as the maximum."""
    name = new("q")
    channel.queue_declare(name, arguments={"x-max-priority": 5})
    for body, priority in (("a", None), ("b", 1), ("c", 5), ("d", 9), ("e", 1), ("f", 0)):
        properties: dict[str, Any] = {} if priority is None else {"priority": priority}
        channel.publish("", name, body, **properties)
    assert channel.bodies(name) == ["c", "d", "b", "e", "a", "f"]


def test_a_full_priority_queue_drops_its_head(channel: Channel, new: Callable[[str], str]) -> None:
    """drop-head takes the next to be delivered, which has the highest priority."""
    name = new("q")
    channel.queue_declare(name, arguments={"x-max-priority": 5, "x-max-length": 2})
    for body, priority in (("a", 5), ("b", 1), ("c", 3)):
        channel.publish("", name, body, priority=priority)
    assert channel.bodies(name) == ["c", "b"]


def test_a_plain_queue_knows_no_priority(channel: Channel, new: Callable[[str], str]) -> None:
    """Without x-max-priority messages stay in order."""
    name = new("q")
    channel.queue_declare(name)
    for body, priority in (("a", 1), ("b", 9)):
        channel.publish("", name, body, priority=priority)
    assert channel.bodies(name) == ["a", "b"]


def test_consumers_with_priority_come_first(channel: Channel, new: Callable[[str], str]) -> None:
    """The others get messages only while those before them have no room."""
    name = new("q")
    channel.queue_declare(name)
    channel.qos(2)
    low = channel.consume(name, arguments={"x-priority": -1})
    usual = channel.consume(name)
    high = channel.consume(name, arguments={"x-priority": 10})
    for number in range(5):
        channel.publish("", name, str(number))
    for inbox, count in ((high, 2), (usual, 2), (low, 1)):
        inbox.wait(count)
    assert (high.bodies, usual.bodies, low.bodies) == (["0", "1"], ["2", "3"], ["4"])
    channel.basic_ack(high.messages[0].tag)
    channel.count(name)
    channel.publish("", name, "5")
    high.wait(3)
    assert high.bodies == ["0", "1", "5"]


# Single active consumer


def test_one_consumer_is_active(channel: Channel, new: Callable[[str], str]) -> None:
    """The others wait; when it is cancelled, the next in line takes over."""
    name = new("q")
    channel.queue_declare(name, arguments={"x-single-active-consumer": True})
    first, second, third = (channel.consume(name) for _ in range(3))
    for number in range(3):
        channel.publish("", name, str(number))
    first.wait(3)
    assert (second.messages, third.messages) == ([], [])
    assert channel.queue_declare(name, passive=True).consumer_count == 3
    channel.basic_cancel(first.tag)
    channel.publish("", name, "3")
    second.wait(1)
    assert (second.bodies, third.bodies) == (["3"], [])
    channel.basic_cancel(second.tag)
    channel.publish("", name, "4")
    third.wait(1)
    assert third.bodies == ["4"]


def test_a_full_active_consumer_keeps_its_place(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """At its prefetch limit messages wait: order counts more than speed."""
    name = new("q")
    channel.queue_declare(name, arguments={"x-single-active-consumer": True})
    channel.qos(1)
    first, second = (channel.consume(name) for _ in range(2))
    for number in range(3):
        channel.publish("", name, str(number))
    first.wait(1)
    assert channel.count(name) == 2
    assert second.messages == []


def test_an_active_consumer_that_leaves_gives_back(
    connect: Callable[[], Client], new: Callable[[str], str]
) -> None:
    """Its unacked messages go to the next in line, in order, before the rest."""
    name = new("q")
    leaving, staying = connect(), connect().channel()
    staying.queue_declare(name, arguments={"x-single-active-consumer": True})
    channel = leaving.channel()
    first = channel.consume(name)
    for number in range(3):
        staying.publish("", name, str(number))
    first.wait(3)
    second = staying.consume(name)
    leaving.close()
    got = second.wait(3)
    assert [(m.body, m.redelivered) for m in got] == [(b"0", True), (b"1", True), (b"2", True)]


# Quorum queues


def test_a_quorum_queue_is_a_queue(channel: Channel, new: Callable[[str], str]) -> None:
    """Publish, consume and ack as usual; x-delivery-count is not there the first time."""
    name = new("q")
    channel.queue_declare(name, **QUORUM)
    channel.queue_declare(name, **QUORUM)
    for number in range(3):
        assert channel.publish("", name, str(number)) == "ack"
    inbox = channel.consume(name)
    got = inbox.wait(3)
    assert [(m.body.decode(), m.headers) for m in got] == [("0", {}), ("1", {}), ("2", {})]
    channel.basic_ack(3, multiple=True)
    channel.basic_cancel(inbox.tag)
    assert channel.queue_delete(name).message_count == 0


def test_returns_are_counted(channel: Channel, new: Callable[[str], str]) -> None:
    """x-delivery-count says how often a message was delivered in vain."""
    name = new("q")
    channel.queue_declare(name, **QUORUM)
    channel.publish("", name, "m", headers={"mine": 1})
    channel.qos(1)
    inbox = channel.consume(name)
    for count in (1, 2, 3):
        got = inbox.wait(count)[-1]
        assert got.redelivered == (count > 1)
        assert got.headers == ({"mine": 1} | ({"x-delivery-count": count - 1} if count > 1 else {}))
        channel.basic_nack(got.tag, requeue=True)


def test_get_always_tells_the_count(channel: Channel, new: Callable[[str], str]) -> None:
    """basic.get has x-delivery-count the first time, too."""
    name = new("q")
    channel.queue_declare(name, **QUORUM)
    channel.publish("", name, "m")
    for count in (0, 1):
        until(lambda: channel.count(name) == 1, lambda: time.sleep(0.005))
        got = channel.get(name)
        assert got is not None
        assert (got.redelivered, got.headers) == (count > 0, {"x-delivery-count": count})
        channel.basic_reject(got.tag, requeue=True)


def test_a_delivery_limit_ends_in_a_dead_letter(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """With a limit of 2 the third delivery is the last."""
    name, dead = new("q"), new("dead")
    arguments = dead_letter_queue(channel, dead, **{"x-delivery-limit": 2})
    arguments["x-queue-type"] = "quorum"
    channel.queue_declare(name, durable=True, arguments=arguments)
    channel.publish("", name, "poison")
    inbox = channel.consume(name)
    for count in (1, 2, 3):
        channel.basic_reject(inbox.wait(count)[-1].tag, requeue=True)
    (letter,) = arrived(channel, dead)
    assert len(inbox.messages) == 3
    assert deaths(letter) == [
        {
            "count": 1,
            "exchange": "",
            "queue": name,
            "reason": "delivery_limit",
            "routing-keys": [name],
        }
    ]
    assert letter.headers["x-first-death-reason"] == "delivery_limit"
    assert "x-delivery-count" not in letter.headers


def test_a_delivery_limit_without_dead_letters_drops(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """Nothing is left of the message."""
    name = new("q")
    channel.queue_declare(
        name, durable=True, arguments={"x-queue-type": "quorum", "x-delivery-limit": 1}
    )
    channel.publish("", name, "poison")
    channel.publish("", name, "good")
    channel.qos(1)
    inbox = channel.consume(name)
    for count in (1, 2):
        channel.basic_nack(inbox.wait(count)[-1].tag, requeue=True)
    assert [m.body for m in inbox.wait(3)] == [b"poison", b"poison", b"good"]


def test_a_quorum_queue_expires_and_is_bounded(channel: Channel, new: Callable[[str], str]) -> None:
    """Message TTL, length with drop-head and dead letters work there, too."""
    name, dead = new("q"), new("dead")
    arguments = dead_letter_queue(channel, dead, **{"x-max-length": 1, "x-message-ttl": 2 * SHORT})
    arguments["x-queue-type"] = "quorum"
    channel.queue_declare(name, durable=True, arguments=arguments)
    for body in "ab":
        channel.publish("", name, body)
    letters: list[Message] = []
    until(lambda: len(letters) == 2, lambda: letters.extend(channel.drain(dead)))
    assert [(m.body, deaths(m)[0]["reason"]) for m in letters] == [
        (b"a", "maxlen"),
        (b"b", "expired"),
    ]


def test_a_full_quorum_queue_rejects_publishes(channel: Channel, new: Callable[[str], str]) -> None:
    """reject-publish works; RabbitMQ lets a few more in before it says so."""
    name = new("q")
    arguments = {"x-queue-type": "quorum", "x-max-length": 1, "x-overflow": "reject-publish"}
    channel.queue_declare(name, durable=True, arguments=arguments)
    answers: list[str] = []
    until(lambda: "nack" in answers, lambda: answers.append(channel.publish("", name, "m")))
    assert 2 <= len(answers) <= 10


def test_a_quorum_queue_has_a_single_active_consumer(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """The next in line takes over when the active one is cancelled."""
    name = new("q")
    arguments = {"x-queue-type": "quorum", "x-single-active-consumer": True}
    channel.queue_declare(name, durable=True, arguments=arguments)
    first, second = (channel.consume(name) for _ in range(2))
    channel.publish("", name, "0")
    first.wait(1)
    channel.basic_ack(1)
    channel.basic_cancel(first.tag)
    channel.publish("", name, "1")
    second.wait(1)
    assert (first.bodies, second.bodies) == (["0"], ["1"])
