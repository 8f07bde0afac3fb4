"""Queues and exchanges: how long they live, who may use them, and what is routed where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.engines.clients import ClosedError, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engines.clients import Channel, Client
    from tests.engines.engine import Engine

Names = "Callable[[str], str]"


def exists(client: Client, method: str, name: str) -> bool:
    """Say whether a queue or an exchange exists."""
    what = method.partition("_")[0]
    channel = client.channel()
    try:
        channel.call(method, **{what: name}, passive=True)
    except ClosedError as error:
        if error.text != f"NOT_FOUND - no {what} '{name}' in vhost '/'":
            raise
        return False
    channel.close()
    return True


# Queues


def test_a_queue_is_declared_and_counted(channel: Channel, new: Callable[[str], str]) -> None:
    """declare-ok tells the name and how many messages and consumers there are."""
    name = new("q")
    first = channel.queue_declare(name)
    assert (first.queue, first.message_count, first.consumer_count) == (name, 0, 0)
    for body in ("a", "b", "c"):
        assert channel.publish("", name, body) == "ack"
    channel.qos(1)
    channel.consume(name)
    until(lambda: channel.count(name) == 2, channel.pump)
    again = channel.queue_declare(name, passive=True)
    assert (again.message_count, again.consumer_count) == (2, 1)


def test_a_queue_without_a_name_gets_one(channel: Channel) -> None:
    """The broker invents amq.gen-..., another one each time, and remembers the last."""
    names = [channel.queue_declare("", exclusive=True).queue for _ in range(2)]
    assert all(name.startswith("amq.gen-") for name in names)
    assert names[0] != names[1]
    channel.publish("", names[1], "x")
    assert channel.queue_purge("").message_count == 1


def test_an_invented_name_is_reserved(client: Client) -> None:
    """It may be declared passively, not otherwise: amq. belongs to the broker."""
    channel = client.channel()
    name = channel.queue_declare("", exclusive=True).queue
    channel.queue_declare(name, passive=True)
    with pytest.raises(ClosedError, match=f"ACCESS_REFUSED - queue name '{name}' contains"):
        channel.queue_declare(name, exclusive=True)


def test_a_queue_is_redeclared_with_the_same_arguments(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """A declaration with the same flags and arguments is no error and changes nothing."""
    name = new("q")
    arguments = {"x-message-ttl": 60000, "x-max-length": 5, "x-dead-letter-exchange": "d"}
    channel.queue_declare(name, arguments=arguments)
    channel.publish("", name, "kept")
    assert channel.queue_declare(name, arguments=arguments).message_count == 1


def test_a_passive_declare_ignores_the_arguments(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """With passive only the name counts."""
    name = new("q")
    channel.queue_declare(name, arguments={"x-message-ttl": 60000})
    channel.queue_declare(name, passive=True, durable=True, arguments={"x-message-ttl": 1})


def test_the_classic_type_may_be_left_out(channel: Channel, new: Callable[[str], str]) -> None:
    """x-queue-type classic is the default, on either side of a redeclaration."""
    for first, second in ({"x-queue-type": "classic"}, {}), ({}, {"x-queue-type": "classic"}):
        name = new(f"q{len(first)}")
        channel.queue_declare(name, arguments=first)
        channel.queue_declare(name, arguments=second)


def test_an_exclusive_queue_is_locked(
    connect: Callable[[], Client], new: Callable[[str], str]
) -> None:
    """Another connection may not touch it: 405. It goes with the connection that made it."""
    name = new("q")
    owner, other = connect(), connect()
    owner.channel().queue_declare(name, exclusive=True)
    owner.channel().queue_declare(name, exclusive=True, durable=True)  # never durable
    for method, arguments in (
        ("queue_declare", {"queue": name, "exclusive": True}),
        ("queue_declare", {"queue": name, "passive": True}),
        ("queue_bind", {"queue": name, "exchange": "amq.direct"}),
        ("queue_purge", {"queue": name}),
        ("queue_delete", {"queue": name}),
        ("basic_get", {"queue": name}),
    ):
        with pytest.raises(ClosedError, match="RESOURCE_LOCKED - cannot obtain exclusive access"):
            other.channel().call(method, **arguments)
    assert other.channel().publish("", name, "anybody may publish", mandatory=True) == "ack"
    owner.close()
    until(lambda: not exists(other, "queue_declare", name), lambda: None)


def test_an_auto_delete_queue_goes_with_its_last_consumer(
    client: Client, new: Callable[[str], str]
) -> None:
    """It stays while it never had a consumer; it goes when the last one is cancelled."""
    name = new("q")
    channel = client.channel()
    channel.queue_declare(name, auto_delete=True)
    first, second = (channel.consume(name) for _ in range(2))
    channel.basic_cancel(first.tag)
    assert exists(client, "queue_declare", name)
    channel.basic_cancel(second.tag)
    until(lambda: not exists(client, "queue_declare", name), channel.pump)


def test_an_auto_delete_queue_goes_with_the_channel(
    client: Client, new: Callable[[str], str]
) -> None:
    """Closing the channel of its last consumer ends it too."""
    name = new("q")
    channel = client.channel()
    channel.queue_declare(name, auto_delete=True)
    channel.consume(name)
    channel.close()
    until(lambda: not exists(client, "queue_declare", name), lambda: None)


def test_purge_counts_what_it_removes(channel: Channel, new: Callable[[str], str]) -> None:
    """Ready messages go; an unacked one stays with its consumer and may come back."""
    name = new("q")
    channel.queue_declare(name)
    for body in "abc":
        channel.publish("", name, body)
    held = channel.get(name)
    assert held is not None
    assert channel.queue_purge(name).message_count == 2
    channel.basic_nack(held.tag, requeue=True)
    assert channel.bodies(name) == ["a"]


def test_delete_counts_and_honours_its_conditions(
    client: Client, new: Callable[[str], str]
) -> None:
    """if_empty and if_unused protect a queue; deleting a missing queue is no error."""
    name = new("q")
    channel = client.channel()
    channel.queue_declare(name)
    channel.publish("", name, "x")
    with pytest.raises(ClosedError, match=f"PRECONDITION_FAILED - queue '{name}' .* not empty"):
        client.channel().queue_delete(name, if_empty=True)
    inbox = channel.consume(name)
    inbox.wait(1)
    with pytest.raises(ClosedError, match=f"PRECONDITION_FAILED - queue '{name}' .* in use"):
        client.channel().queue_delete(name, if_unused=True)
    channel.basic_cancel(inbox.tag)
    channel.basic_reject(1, requeue=True)
    assert channel.queue_delete(name, if_unused=True).message_count == 1
    assert channel.queue_delete(name).message_count == 0


def test_a_deleted_queue_takes_its_bindings_along(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """A new queue of the same name starts without them."""
    name, key = new("q"), new("key")
    channel.queue_declare(name)
    channel.queue_bind(name, "amq.direct", key)
    channel.queue_delete(name)
    channel.queue_declare(name)
    assert channel.publish("amq.direct", key, mandatory=True) == "312 NO_ROUTE"


# Exchanges


@pytest.mark.parametrize(
    ("kind", "bindings", "keys"),
    [
        ("direct", ["red", "blue"], {"red": 1, "blue": 1, "": 0, "re": 0, "*": 0}),
        ("fanout", ["red", "blue"], {"red": 1, "anything": 1, "": 1}),
        (
            "topic",
            ["order.*", "#.late", "a.#.z"],
            {
                "order.placed": 1,
                "order": 0,
                "order.placed.late": 1,
                "late": 1,
                "order.": 1,
                "a.z": 1,
                "a.b.c.z": 1,
                "a.b.c": 0,
                "": 0,
            },
        ),
        ("topic", ["#"], {"": 1, "a.b.c": 1}),
        ("topic", ["*"], {"a": 1, "a.b": 0, "": 0}),
        ("topic", ["*.#.*"], {"a": 0, "a.b": 1, "a.b.c": 1}),
        ("topic", [""], {"": 1, "a": 0}),
    ],
)
def test_routing_by_key(
    channel: Channel,
    new: Callable[[str], str],
    kind: str,
    bindings: list[str],
    keys: dict[str, int],
) -> None:
    """A queue gets a message once, however many of its bindings match."""
    name, exchange = new("q"), new("x")
    channel.queue_declare(name)
    channel.exchange_declare(exchange=exchange, exchange_type=kind)
    for key in bindings:
        channel.queue_bind(name, exchange, key)
    for key, count in keys.items():
        answer = channel.publish(exchange, key, key, mandatory=True)
        assert (key, answer) == (key, "ack" if count else "312 NO_ROUTE")
        got = channel.drain(name)
        assert [(m.body.decode(), m.exchange, m.key) for m in got] == [(key, exchange, key)] * count


@pytest.mark.parametrize(
    ("arguments", "headers", "matches"),
    [
        ({"x-match": "all", "a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 3}, True),
        ({"x-match": "all", "a": 1, "b": "x"}, {"a": 1}, False),
        ({"x-match": "all", "a": 1, "b": "x"}, {"a": 1, "b": "y"}, False),
        ({"a": 1, "b": "x"}, {"a": 1}, False),
        ({"x-match": "any", "a": 1, "b": "x"}, {"a": 1}, True),
        ({"x-match": "any", "a": 1, "b": "x"}, {"a": 2, "b": "x"}, True),
        ({"x-match": "any", "a": 1, "b": "x"}, {"a": 2}, False),
        ({"x-match": "all", "a": None}, {"a": "whatever"}, True),
        ({"x-match": "all", "a": None}, {}, False),
        ({"x-match": "all", "a": 1}, {"a": "1"}, False),
        ({"x-match": "all", "a": True}, {"a": 1}, False),
        ({"x-match": "all"}, {"a": 1}, True),
        ({"x-match": "any"}, {"a": 1}, False),
        ({}, {}, True),
        ({"x-match": "all", "x-a": 1}, {}, True),
        ({"x-match": "any", "x-a": 1}, {"x-a": 1}, False),
        ({"x-match": "all-with-x", "x-a": 1}, {}, False),
        ({"x-match": "all-with-x", "x-a": 1}, {"x-a": 1}, True),
        ({"x-match": "any-with-x", "x-a": 1, "b": 2}, {"x-a": 1}, True),
        ({"x-match": "any-with-x", "x-a": 1, "b": 2}, {"x-a": 2}, False),
    ],
)
def test_routing_by_headers(
    channel: Channel,
    new: Callable[[str], str],
    arguments: dict[str, Any],
    headers: dict[str, Any],
    matches: bool,  # noqa: FBT001  # a drawn value
) -> None:
    """x-match says how many headers must agree; x- headers count in the -with-x forms only."""
    name, exchange = new("q"), new("x")
    channel.queue_declare(name)
    channel.exchange_declare(exchange=exchange, exchange_type="headers")
    channel.queue_bind(name, exchange, "ignored", arguments=arguments)
    answer = channel.publish(exchange, "other", "m", mandatory=True, headers=headers)
    assert answer == ("ack" if matches else "312 NO_ROUTE")
    assert channel.count(name) == matches


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ],
)
def test_the_exchanges_that_are_always_there(channel: Channel, name: str, kind: str) -> None:
    """They are durable, and may be declared as what they are."""
    channel.exchange_declare(exchange=name, exchange_type=kind, durable=True)
    channel.exchange_declare(exchange=name, exchange_type=kind, passive=True)


def test_the_default_exchange_knows_every_queue(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """A message goes to the queue that its routing key names."""
    name = new("q")
    channel.queue_declare(name)
    assert channel.publish("", name, "m", mandatory=True) == "ack"
    assert channel.publish("", new("nobody"), "m", mandatory=True) == "312 NO_ROUTE"
    got = channel.get(name)
    assert got is not None
    assert (got.exchange, got.key, got.count) == ("", name, 0)


def test_bindings_differ_by_key_and_by_arguments(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """Binding twice is once; unbinding needs the same key and arguments, else does nothing."""
    name, exchange = new("q"), new("x")
    channel.queue_declare(name)
    channel.exchange_declare(exchange=exchange, exchange_type="direct")
    for arguments in ({}, {}, {"n": 1}):
        channel.queue_bind(name, exchange, "k", arguments=arguments)

    def routed() -> int:
        channel.publish(exchange, "k", "m")
        return len(channel.drain(name))

    assert routed() == 1
    channel.queue_unbind(name, exchange, "other")
    channel.queue_unbind(name, exchange, "k", arguments={"n": 2})
    assert routed() == 1
    channel.queue_unbind(name, exchange, "k")
    assert routed() == 1  # the binding with arguments is another one
    channel.queue_unbind(name, exchange, "k", arguments={"n": 1})
    assert routed() == 0


def test_unbinding_what_is_not_there_is_no_error(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """Neither a missing binding, nor exchange, nor queue: unbind is idempotent."""
    name = new("q")
    channel.queue_declare(name)
    channel.queue_unbind(name, "amq.direct", "k")
    channel.queue_unbind(name, new("nothing"), "k")
    channel.queue_unbind(new("nothing"), "amq.direct", "k")
    channel.exchange_unbind(destination=new("nothing"), source="amq.direct", routing_key="k")


def test_an_empty_key_binds_the_last_queue_under_its_own_name(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """Without queue and key, queue.bind means the queue declared last, and its name."""
    name = new("q")
    channel.queue_declare(name)
    channel.queue_bind("", "amq.direct", "")
    assert channel.publish("amq.direct", name, "m", mandatory=True) == "ack"


def test_exchanges_are_bound_to_exchanges(channel: Channel, new: Callable[[str], str]) -> None:
    """A message goes on from exchange to exchange, once to each queue, even in a circle."""
    first, second, name = new("x1"), new("x2"), new("q")
    channel.exchange_declare(exchange=first, exchange_type="topic")
    channel.exchange_declare(exchange=second, exchange_type="fanout", internal=True)
    channel.queue_declare(name)
    channel.queue_bind(name, second)
    channel.queue_bind(name, first, "#")
    channel.exchange_bind(destination=second, source=first, routing_key="order.*")
    channel.exchange_bind(destination=first, source=second, routing_key="order.*")
    channel.publish(first, "order.placed", "m")
    got = channel.drain(name)
    assert [(m.exchange, m.key) for m in got] == [(first, "order.placed")]
    channel.queue_unbind(name, first, "#")
    channel.exchange_unbind(destination=second, source=first, routing_key="order.*")
    assert channel.publish(first, "order.placed", "m", mandatory=True) == "312 NO_ROUTE"


def test_an_auto_delete_exchange_goes_with_its_last_binding(
    client: Client, new: Callable[[str], str]
) -> None:
    """It stays while it never had one; queues and exchanges count alike."""
    name, other, queue = new("x"), new("y"), new("q")
    channel = client.channel()
    for exchange in (name, other):
        channel.exchange_declare(exchange=exchange, exchange_type="fanout", auto_delete=True)
    channel.queue_declare(queue)
    channel.queue_bind(queue, name)
    channel.exchange_bind(destination=other, source=name)
    channel.queue_unbind(queue, name)
    assert exists(client, "exchange_declare", name)
    channel.exchange_unbind(destination=other, source=name)
    assert not exists(client, "exchange_declare", name)
    assert exists(client, "exchange_declare", other)
    channel.queue_bind(queue, other)
    channel.queue_delete(queue)
    assert not exists(client, "exchange_declare", other)


def test_a_deleted_exchange_takes_its_bindings_along(
    client: Client, new: Callable[[str], str]
) -> None:
    """if_unused protects it; deleting a missing exchange is no error."""
    name, queue = new("x"), new("q")
    channel = client.channel()
    channel.exchange_declare(exchange=name, exchange_type="fanout")
    channel.queue_declare(queue)
    channel.queue_bind(queue, name)
    with pytest.raises(ClosedError, match=f"PRECONDITION_FAILED - exchange '{name}' .* in use"):
        client.channel().exchange_delete(name, if_unused=True)
    channel.exchange_delete(name)
    channel.exchange_delete(name)
    channel.exchange_declare(exchange=name, exchange_type="fanout")
    assert channel.publish(name, "", mandatory=True) == "312 NO_ROUTE"


def test_an_alternate_exchange_takes_what_is_not_routed(
    channel: Channel, new: Callable[[str], str]
) -> None:
    """A message it can route counts as routed; if it cannot or is missing, it does not."""
    name, other, queue = new("x"), new("alternate"), new("q")
    arguments = {"alternate-exchange": other}
    channel.exchange_declare(exchange=name, exchange_type="direct", arguments=arguments)
    channel.exchange_declare(exchange=name, exchange_type="direct", arguments=arguments)
    assert channel.publish(name, "k", "lost", mandatory=True) == "312 NO_ROUTE"
    channel.exchange_declare(exchange=other, exchange_type="fanout", internal=True)
    assert channel.publish(name, "k", "lost", mandatory=True) == "312 NO_ROUTE"
    channel.queue_declare(queue)
    channel.queue_bind(queue, other)
    assert channel.publish(name, "k", "kept", mandatory=True) == "ack"
    channel.queue_bind(queue, name, "k")
    channel.publish(name, "k", "routed")
    got = channel.drain(queue)
    assert [(m.body, m.exchange) for m in got] == [(b"kept", name), (b"routed", name)]


# Sender-selected distribution


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_copies_go_to_further_keys(
    channel: Channel, new: Callable[[str], str], header: str
) -> None:
    """Every queue gets one copy, whether named by the key or the header; BCC is taken out."""
    names = [new(f"q{number}") for number in range(3)]
    for name in names:
        channel.queue_declare(name)
    headers = {header: [names[1], names[2], names[0]]}
    assert channel.publish("", names[0], "m", headers=headers) == "ack"
    for name in names:
        got = channel.drain(name)
        kept = headers if header == "CC" else {}
        assert [(m.key, m.headers) for m in got] == [(names[0], kept)]


# Virtual hosts


def test_virtual_hosts_share_nothing(
    engine: Engine, connect: Callable[..., Client], new: Callable[[str], str]
) -> None:
    """The same names in another virtual host are other queues and exchanges."""
    name = new("q")
    here, there = connect().channel(), connect(engine.url(engine.other)).channel()
    for channel in (here, there):
        channel.queue_declare(name)
        channel.queue_bind(name, "amq.direct", name)
    here.publish("amq.direct", name, "here")
    there.publish("", name, "there")
    assert here.bodies(name) == ["here"]
    assert there.bodies(name) == ["there"]
    with pytest.raises(ClosedError, match=f"no queue 'no' in vhost '{engine.other}'"):
        there.queue_declare("no", passive=True)
