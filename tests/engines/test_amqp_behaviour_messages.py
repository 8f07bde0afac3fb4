"""Messages on their way: confirms, returns, prefetch, answers, redelivery, transactions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pamqp import header
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Confirm, Queue, Tx

from tests.engines.clients import ClosedError, until
from tests.engines.raw import publish

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.engines.clients import Channel as AnyChannel
    from tests.engines.clients import Client
    from tests.engines.raw import Raw


def filled(channel: AnyChannel, name: str, count: int, **options: Any) -> str:
    """Declare a queue and put `count` messages into it: "0", "1" and so on."""
    channel.queue_declare(name, **options)
    for number in range(count):
        channel.publish("", name, str(number))
    return name


# Publishing


def test_a_message_keeps_its_properties(channel: AnyChannel, new: Callable[[str], str]) -> None:
    """Body, headers and properties arrive as they were sent."""
    name = filled(channel, new("q"), 0)
    headers = {"text": "ü", "number": 7, "list": [1, "two", None], "table": {"deep": True}}
    properties: dict[str, Any] = {
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "c",
        "user_id": "lab",
    }
    channel.publish("", name, "body", headers=headers, **properties)
    got = channel.get(name)
    assert got is not None
    assert (got.body, got.headers, got.properties) == (b"body", headers, properties)


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 1_000_000])
def test_a_body_of_any_size_passes(
    channel: AnyChannel, new: Callable[[str], str], size: int
) -> None:
    """Empty, as large as a frame, and several frames long."""
    name = filled(channel, new("q"), 0)
    channel.publish("", name, "x" * size)
    got = channel.get(name)
    assert got is not None
    assert got.body == b"x" * size


def test_a_mandatory_message_comes_back(channel: AnyChannel, new: Callable[[str], str]) -> None:
    """312 NO_ROUTE for what no queue takes; without mandatory it is dropped and confirmed."""
    assert channel.publish("", new("nobody"), "m", mandatory=True) == "312 NO_ROUTE"
    assert channel.publish("", new("nobody"), "m") == "ack"
    assert channel.publish("", filled(channel, new("q"), 0), "m", mandatory=True) == "ack"


def test_a_return_comes_before_its_confirm(raw: Raw, new: Callable[[str], str]) -> None:
    """basic.return with the message, then basic.ack."""
    raw.ask(Confirm.Select(), Confirm.SelectOk)
    raw.send(*publish("amq.direct", new("k"), b"m", mandatory=True, correlation_id="c"))
    back = raw.expect(Basic.Return)
    assert (back.reply_code, back.reply_text) == (312, "NO_ROUTE")
    assert (back.exchange, back.routing_key) == ("amq.direct", new("k"))
    properties, body = raw.content()
    assert (properties.correlation_id, body) == ("c", b"m")
    assert raw.expect(Basic.Ack).delivery_tag == 1


def test_confirms_count_from_the_select(raw: Raw, new: Callable[[str], str]) -> None:
    """Tags start at 1 with confirm.select; every publish after it is confirmed once."""
    raw.ask(Queue.Declare(queue=new("q"), exclusive=True), Queue.DeclareOk)
    raw.send(*publish("", new("q")))
    raw.ask(Confirm.Select(), Confirm.SelectOk)
    raw.ask(Confirm.Select(), Confirm.SelectOk)
    for _ in range(50):
        raw.send(*publish("", new("q")))
    confirmed: set[int] = set()
    last = 0
    while len(confirmed) < 50:
        ack = raw.expect(Basic.Ack)
        confirmed.update(
            range(last + 1 if ack.multiple else ack.delivery_tag, ack.delivery_tag + 1)
        )
        last = ack.delivery_tag if ack.multiple else last
    assert confirmed == set(range(1, 51))
    assert raw.ask(Queue.Declare(queue=new("q"), passive=True)).message_count == 51


def test_nowait_gets_no_answer(raw: Raw, new: Callable[[str], str]) -> None:
    """Methods with nowait are carried out in silence."""
    raw.send(
        Queue.Declare(queue=new("q"), exclusive=True, nowait=True),
        Queue.Bind(0, new("q"), "amq.direct", new("k"), nowait=True),
        Confirm.Select(nowait=True),
        Basic.Consume(queue=new("q"), consumer_tag="t", no_ack=True, nowait=True),
        *publish("amq.direct", new("k"), b"m"),
    )
    frames = [raw.next() for _ in range(4)]
    kinds = {type(frame) for frame in frames}
    assert kinds == {Basic.Deliver, header.ContentHeader, ContentBody, Basic.Ack}
    raw.send(Basic.Cancel("t", nowait=True), Queue.Purge(queue=new("q"), nowait=True))
    raw.ask(Queue.Delete(queue=new("q")), Queue.DeleteOk)


# Getting and consuming


def test_get_counts_what_is_left(channel: AnyChannel, new: Callable[[str], str]) -> None:
    """Messages come in order; an empty queue says so."""
    name = filled(channel, new("q"), 3)
    got = [channel.get(name, no_ack=True) for _ in range(3)]
    assert [(m.body, m.count, m.redelivered) for m in got if m] == [
        (b"0", 2, False),
        (b"1", 1, False),
        (b"2", 0, False),
    ]
    assert channel.get(name) is None


def test_consumers_get_messages_in_order(channel: AnyChannel, new: Callable[[str], str]) -> None:
    """What waits and what comes later arrive in order, with tags that count up."""
    name = filled(channel, new("q"), 5)
    inbox = channel.consume(name)
    inbox.wait(5)
    for number in range(5, 10):
        channel.publish("", name, str(number))
    got = inbox.wait(10)
    assert [m.body.decode() for m in got] == [str(number) for number in range(10)]
    assert [m.tag for m in got] == list(range(1, 11))
    assert not any(m.redelivered for m in got)


def test_consumers_take_turns(channel: AnyChannel, new: Callable[[str], str]) -> None:
    """Messages go round the consumers that have room."""
    name = filled(channel, new("q"), 0)
    inboxes = [channel.consume(name) for _ in range(3)]
    for number in range(6):
        channel.publish("", name, str(number))
    for inbox in inboxes:
        inbox.wait(2)
    assert [inbox.bodies for inbox in inboxes] == [["0", "3"], ["1", "4"], ["2", "5"]]


def test_no_ack_messages_are_gone_at_once(client: Client, new: Callable[[str], str]) -> None:
    """Nothing comes back when the channel of a no-ack consumer closes."""
    channel = client.channel()
    name = filled(channel, new("q"), 3)
    inbox = channel.consume(name, no_ack=True)
    inbox.wait(3)
    channel.basic_ack(1)
    with pytest.raises(ClosedError, match="PRECONDITION_FAILED - unknown delivery tag 1"):
        channel.queue_declare(name, passive=True)
    assert client.channel().count(name) == 0


def test_a_prefetch_limits_each_consumer(channel: AnyChannel, new: Callable[[str], str]) -> None:
    """It holds for the consumers that start after it; an ack makes room for one more."""
    name = filled(channel, new("q"), 10)
    channel.qos(2)
    first = channel.consume(name)
    first.wait(2)
    channel.qos(3)
    second = channel.consume(name)
    second.wait(3)
    assert channel.count(name) == 5
    channel.basic_ack(first.messages[0].tag)
    first.wait(3)
    assert channel.count(name) == 4
    assert (first.bodies, second.bodies) == (["0", "1", "5"], ["2", "3", "4"])


def test_a_global_prefetch_limits_the_channel(
    channel: AnyChannel, new: Callable[[str], str]
) -> None:
    """All consumers of the channel share it; basic.get neither waits for it nor counts."""
    name = filled(channel, new("q"), 10)
    channel.qos(4, shared=True)
    inboxes = [channel.consume(name) for _ in range(2)]
    until(lambda: sum(len(inbox.messages) for inbox in inboxes) == 4, channel.pump)
    assert channel.count(name) == 6
    got = channel.get(name)
    assert got is not None
    assert (got.body, got.tag) == (b"4", 5)
    channel.basic_ack(4, multiple=True)
    until(lambda: sum(len(inbox.messages) for inbox in inboxes) == 8, channel.pump)
    assert channel.count(name) == 1


def test_both_prefetches_hold_together(channel: AnyChannel, new: Callable[[str], str]) -> None:
    """With 2 for each consumer and 3 for the channel, two consumers hold 3."""
    name = filled(channel, new("q"), 10)
    channel.qos(2)
    channel.qos(3, shared=True)
    inboxes = [channel.consume(name) for _ in range(2)]
    until(lambda: sum(len(inbox.messages) for inbox in inboxes) == 3, channel.pump)
    assert channel.count(name) == 7
    assert sorted(len(inbox.messages) for inbox in inboxes) == [1, 2]


def test_a_larger_prefetch_wakes_the_consumers(
    channel: AnyChannel, new: Callable[[str], str]
) -> None:
    """A global limit that is raised counts at once for consumers that wait."""
    name = filled(channel, new("q"), 5)
    channel.qos(1, shared=True)
    inbox = channel.consume(name)
    inbox.wait(1)
    channel.qos(3, shared=True)
    inbox.wait(3)
    assert channel.count(name) == 2


def test_an_exclusive_consumer_is_alone(client: Client, new: Callable[[str], str]) -> None:
    """403 for another while it is there; after it is cancelled there is room."""
    channel = client.channel()
    name = filled(channel, new("q"), 0)
    inbox = channel.consume(name, exclusive=True)
    with pytest.raises(ClosedError, match=f"ACCESS_REFUSED - queue '{name}' .* in exclusive use"):
        client.channel().consume(name)
    channel.basic_cancel(inbox.tag)
    client.channel().consume(name)


def test_a_cancelled_consumer_gets_no_more(channel: AnyChannel, new: Callable[[str], str]) -> None:
    """What it holds stays unacked with its channel and can still be acked."""
    name = filled(channel, new("q"), 3)
    channel.qos(1)
    inbox = channel.consume(name)
    inbox.wait(1)
    channel.basic_cancel(inbox.tag)
    assert channel.count(name) == 2
    channel.basic_ack(inbox.messages[0].tag)
    assert channel.bodies(name) == ["1", "2"]
    assert inbox.bodies == ["0"]


def test_a_deleted_queue_cancels_its_consumers(client: Client, new: Callable[[str], str]) -> None:
    """basic.cancel tells them."""
    channel = client.channel()
    name = filled(channel, new("q"), 0)
    inbox = channel.consume(name)
    client.channel().queue_delete(name)
    until(lambda: channel.cancelled == [inbox.tag], channel.pump)


def test_cancelling_an_unknown_tag_is_no_error(raw: Raw) -> None:
    """cancel-ok in any case."""
    assert raw.ask(Basic.Cancel("nobody"), Basic.CancelOk).consumer_tag == "nobody"


def test_a_consumer_without_a_tag_gets_one(raw: Raw, new: Callable[[str], str]) -> None:
    """The broker invents amq.ctag-..."""
    raw.ask(Queue.Declare(queue=new("q"), exclusive=True), Queue.DeclareOk)
    tags = [raw.ask(Basic.Consume(queue=new("q")), Basic.ConsumeOk).consumer_tag for _ in "ab"]
    assert all(tag.startswith("amq.ctag-") for tag in tags)
    assert tags[0] != tags[1]


# Answers


@pytest.mark.parametrize(
    ("method", "options", "left"),
    [
        ("basic_ack", {}, ["1", "2"]),
        ("basic_nack", {"requeue": False}, ["1", "2"]),
        ("basic_reject", {"requeue": False}, ["1", "2"]),
        ("basic_nack", {"requeue": True}, ["0", "1", "2"]),
        ("basic_reject", {"requeue": True}, ["0", "1", "2"]),
    ],
)
def test_one_answer(
    channel: AnyChannel,
    new: Callable[[str], str],
    method: str,
    options: dict[str, Any],
    left: list[str],
) -> None:
    """What is requeued keeps its place and is marked as redelivered; the rest is gone."""
    name = filled(channel, new("q"), 3)
    got = channel.get(name)
    assert got is not None
    channel.call(method, got.tag, **options)
    rest = channel.drain(name)
    assert [m.body.decode() for m in rest] == left
    assert [m.redelivered for m in rest] == [body == "0" for body in left]


@pytest.mark.parametrize(
    ("method", "arguments", "left"),
    [
        ("basic_ack", {"delivery_tag": 3}, ["3", "4"]),
        ("basic_ack", {"delivery_tag": 0}, []),
        ("basic_nack", {"delivery_tag": 3, "requeue": True}, ["0", "1", "2", "3", "4"]),
        ("basic_nack", {"delivery_tag": 3, "requeue": False}, ["3", "4"]),
        ("basic_nack", {"delivery_tag": 0, "requeue": True}, ["0", "1", "2", "3", "4"]),
    ],
)
def test_an_answer_to_many(
    client: Client,
    new: Callable[[str], str],
    method: str,
    arguments: dict[str, Any],
    left: list[str],
) -> None:
    """`multiple` means all up to the tag, 0 all there are; order is kept."""
    channel = client.channel()
    name = filled(channel, new("q"), 5)
    for _ in range(5):
        channel.get(name)
    channel.call(method, multiple=True, **arguments)
    channel.count(name)
    channel.close()
    rest = client.channel().bodies(name)
    assert rest == left


def test_a_tag_is_answered_once(channel: AnyChannel, new: Callable[[str], str]) -> None:
    """A second ack of the same tag is 406; the first one counts."""
    name = filled(channel, new("q"), 2)
    got = channel.get(name)
    assert got is not None
    for _ in range(2):
        channel.basic_ack(got.tag)
    with pytest.raises(ClosedError, match="PRECONDITION_FAILED - unknown delivery tag 1"):
        channel.queue_declare(name, passive=True)


def test_recover_gives_everything_back(channel: AnyChannel, new: Callable[[str], str]) -> None:
    """All unacked messages of the channel return to their places."""
    name = filled(channel, new("q"), 3)
    for _ in range(2):
        channel.get(name)
    channel.basic_recover(requeue=True)
    assert [(m.body, m.redelivered) for m in channel.drain(name)] == [
        (b"0", True),
        (b"1", True),
        (b"2", False),
    ]


@pytest.mark.parametrize("end", ["channel", "connection"])
def test_what_a_lost_consumer_held_comes_back(
    connect: Callable[[], Client], new: Callable[[str], str], end: str
) -> None:
    """In order and marked, before what it never saw."""
    lost, other = connect(), connect()
    channel, watcher = lost.channel(), other.channel()
    name = filled(channel, new("q"), 6)
    channel.qos(4)
    channel.consume(name).wait(4)
    channel.basic_ack(2)
    channel.count(name)
    if end == "channel":
        channel.close()
    else:
        lost.close()
    until(lambda: watcher.count(name) == 5, lambda: None)
    got = watcher.drain(name)
    assert [m.body.decode() for m in got] == ["0", "2", "3", "4", "5"]
    assert [m.redelivered for m in got] == [True, True, True, True, False]


# Transactions


def test_a_transaction_is_all_or_nothing(
    connect: Callable[[], Client], new: Callable[[str], str]
) -> None:
    """Publishes wait for the commit; a rollback forgets them."""
    channel, other = connect().channel(confirms=False), connect().channel()
    name = filled(other, new("q"), 0)
    channel.tx_select()
    for body in "ab":
        channel.publish("", name, body)
    channel.queue_declare(name, passive=True)
    assert other.count(name) == 0
    channel.tx_commit()
    assert other.count(name) == 2
    channel.publish("", name, "c")
    channel.tx_rollback()
    channel.publish("", name, "d")
    channel.tx_commit()
    assert other.bodies(name) == ["a", "b", "d"]


def test_acks_are_part_of_a_transaction(
    connect: Callable[[], Client], new: Callable[[str], str]
) -> None:
    """An ack that was rolled back can be given again; one that was not committed is lost."""
    channel, other = connect().channel(confirms=False), connect().channel()
    name = filled(other, new("q"), 3)
    channel.tx_select()
    tags = [message.tag for _ in range(3) if (message := channel.get(name))]
    channel.basic_ack(tags[0])
    channel.tx_commit()
    channel.basic_ack(tags[1])
    channel.tx_rollback()
    channel.basic_ack(tags[1])
    channel.basic_reject(tags[2], requeue=True)
    assert other.count(name) == 0
    channel.tx_commit()
    assert other.bodies(name) == ["2"]


def test_an_open_transaction_ends_with_its_channel(
    connect: Callable[[], Client], new: Callable[[str], str]
) -> None:
    """Closing the channel rolls back: the message and the ack are void."""
    channel, other = connect().channel(confirms=False), connect().channel()
    name = filled(other, new("q"), 1)
    channel.tx_select()
    got = channel.get(name)
    assert got is not None
    channel.basic_ack(got.tag)
    channel.publish("", name, "never")
    channel.close()
    until(lambda: other.count(name) == 1, lambda: None)
    assert other.bodies(name) == ["0"]


def test_a_return_waits_for_the_commit(raw: Raw, new: Callable[[str], str]) -> None:
    """Routing is done at the commit: basic.return comes before commit-ok."""
    raw.ask(Tx.Select(), Tx.SelectOk)
    raw.send(*publish("", new("nobody"), b"m", mandatory=True))
    raw.ask(Queue.Declare(queue=new("q"), exclusive=True), Queue.DeclareOk)
    raw.send(Tx.Commit())
    raw.expect(Basic.Return)
    assert raw.content()[1] == b"m"
    raw.expect(Tx.CommitOk)


# Flow


def test_flow_on_is_the_normal_state(raw: Raw) -> None:
    """channel.flow with active=true is answered and changes nothing."""
    assert raw.ask(Channel.Flow(active=True), Channel.FlowOk).active is True
