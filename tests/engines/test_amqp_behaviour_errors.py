"""What closes a channel or a connection: reply code, class, method and text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from pamqp import header
from pamqp.body import ContentBody
from pamqp.commands import Basic, Channel, Confirm, Connection, Exchange, Queue, Tx

from tests.engines.clients import ClosedError
from tests.engines.raw import Raw, envelope, publish

if TYPE_CHECKING:
    from tests.engines.clients import Channel as AnyChannel
    from tests.engines.engine import Engine

QUORUM = {"x-queue-type": "quorum"}
SINGLE = {"x-single-active-consumer": True}
LOCKED = (
    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{}' in vhost '/'. It could"
    " be originally declared on another connection or the exclusive property value does not match"
    " that of the original declaration."
)
INEQUIVALENT = "PRECONDITION_FAILED - inequivalent arg '{}' for {} '{}' in vhost '/': {}"
NO_QUEUE = "NOT_FOUND - no queue 'no' in vhost '/'"
NO_EXCHANGE = "NOT_FOUND - no exchange 'no' in vhost '/'"
NO_LAST_QUEUE = "NOT_FOUND - no previously declared queue"
DEFAULT_EXCHANGE = "ACCESS_REFUSED - operation not permitted on the default exchange"
NOT_TRANSACTIONAL = "PRECONDITION_FAILED - channel is not transactional"
UNKNOWN_TAG = "PRECONDITION_FAILED - unknown delivery tag {}"


@dataclass
class Case:
    """Frames that break a rule, after methods that prepare the ground, and what they cause.

    `text` is how the reply begins: what follows at times is Erlang's name of a type.
    """

    name: str
    frames: list[Any]
    code: int
    cause: Any  # a method of pamqp
    text: str
    before: tuple[Any, ...] = ()


def queue(name: str, **options: Any) -> Queue.Declare:
    """Return a declaration of an exclusive queue."""
    return Queue.Declare(queue=name, **{"exclusive": True, **options})


def exchange(name: str, kind: str = "direct", **options: Any) -> Exchange.Declare:
    """Return a declaration of an exchange."""
    return Exchange.Declare(exchange=name, exchange_type=kind, **options)


def consume(name: str, tag: str = "t", **options: Any) -> Basic.Consume:
    """Return a basic.consume."""
    return Basic.Consume(queue=name, consumer_tag=tag, **options)


SOFT = [
    # 404
    Case("passive-queue", [queue("no", passive=True)], 404, Queue.Declare, NO_QUEUE),
    Case(
        "passive-last-queue",
        [queue("", passive=True)],
        404,
        Queue.Declare,
        "NOT_FOUND - no queue '' in vhost '/'",
    ),
    Case("passive-exchange", [exchange("no", passive=True)], 404, Exchange.Declare, NO_EXCHANGE),
    Case("bind-no-queue", [Queue.Bind(0, "no", "amq.direct")], 404, Queue.Bind, NO_QUEUE),
    Case(
        "bind-no-exchange",
        [Queue.Bind(0, "e1", "no")],
        404,
        Queue.Bind,
        NO_EXCHANGE,
        (queue("e1"),),
    ),
    Case(
        "bind-no-destination",
        [Exchange.Bind(destination="no", source="amq.direct")],
        404,
        Exchange.Bind,
        NO_EXCHANGE,
    ),
    Case(
        "bind-no-source",
        [Exchange.Bind(destination="amq.direct", source="no")],
        404,
        Exchange.Bind,
        NO_EXCHANGE,
    ),
    Case("purge-no-queue", [Queue.Purge(queue="no")], 404, Queue.Purge, NO_QUEUE),
    Case("get-no-queue", [Basic.Get(queue="no")], 404, Basic.Get, NO_QUEUE),
    Case("consume-no-queue", [consume("no")], 404, Basic.Consume, NO_QUEUE),
    Case("publish-no-exchange", publish("no", "k"), 404, Basic.Publish, NO_EXCHANGE),
    Case("purge-last-queue", [Queue.Purge()], 404, Queue.Purge, NO_LAST_QUEUE),
    Case("delete-last-queue", [Queue.Delete()], 404, Queue.Delete, NO_LAST_QUEUE),
    Case("bind-last-queue", [Queue.Bind(0, "", "amq.direct")], 404, Queue.Bind, NO_LAST_QUEUE),
    Case("get-last-queue", [Basic.Get()], 404, Basic.Get, NO_LAST_QUEUE),
    Case("consume-last-queue", [consume("")], 404, Basic.Consume, NO_LAST_QUEUE),
    # 403
    Case(
        "reserved-queue",
        [queue("amq.mine")],
        403,
        Queue.Declare,
        "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'",
    ),
    Case(
        "reserved-exchange",
        [exchange("amq.mine")],
        403,
        Exchange.Declare,
        "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'",
    ),
    Case(
        "delete-system-exchange",
        [Exchange.Delete(exchange="amq.direct")],
        403,
        Exchange.Delete,
        "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed",
    ),
    Case("declare-default-exchange", [exchange("")], 403, Exchange.Declare, DEFAULT_EXCHANGE),
    Case(
        "passive-default-exchange",
        [exchange("", passive=True)],
        403,
        Exchange.Declare,
        DEFAULT_EXCHANGE,
    ),
    Case(
        "delete-default-exchange",
        [Exchange.Delete(exchange="")],
        403,
        Exchange.Delete,
        DEFAULT_EXCHANGE,
    ),
    Case(
        "bind-default-exchange",
        [Queue.Bind(0, "e2", "", "k")],
        403,
        Queue.Bind,
        DEFAULT_EXCHANGE,
        (queue("e2"),),
    ),
    Case(
        "unbind-default-exchange",
        [Queue.Unbind(0, "e3", "", "k")],
        403,
        Queue.Unbind,
        DEFAULT_EXCHANGE,
        (queue("e3"),),
    ),
    Case(
        "bind-default-source",
        [Exchange.Bind(destination="amq.direct", source="")],
        403,
        Exchange.Bind,
        DEFAULT_EXCHANGE,
    ),
    Case(
        "bind-default-destination",
        [Exchange.Bind(destination="", source="amq.direct")],
        403,
        Exchange.Bind,
        DEFAULT_EXCHANGE,
    ),
    Case(
        "unbind-default-source",
        [Exchange.Unbind(destination="amq.direct", source="")],
        403,
        Exchange.Unbind,
        DEFAULT_EXCHANGE,
    ),
    Case(
        "publish-internal",
        publish("internal-1", "k"),
        403,
        Basic.Publish,
        "ACCESS_REFUSED - cannot publish to internal exchange 'internal-1' in vhost '/'",
        (exchange("internal-1", internal=True),),
    ),
    Case(
        "exclusive-consumer-second",
        [consume("e4", "other", exclusive=True)],
        403,
        Basic.Consume,
        "ACCESS_REFUSED - queue 'e4' in vhost '/' in exclusive use",
        (queue("e4"), consume("e4")),
    ),
    Case(
        "consumer-beside-exclusive",
        [consume("e5", "other")],
        403,
        Basic.Consume,
        "ACCESS_REFUSED - queue 'e5' in vhost '/' in exclusive use",
        (queue("e5"), consume("e5", exclusive=True)),
    ),
    Case(
        "exclusive-on-single-active",
        [consume("e6", exclusive=True)],
        403,
        Basic.Consume,
        "ACCESS_REFUSED - queue 'e6' in vhost '/' in exclusive use",
        (queue("e6", arguments=SINGLE),),
    ),
    # 405
    Case(
        "redeclare-not-exclusive",
        [queue("e7", exclusive=False)],
        405,
        Queue.Declare,
        LOCKED.format("e7"),
        (queue("e7"),),
    ),
    # 406, redeclared otherwise
    Case(
        "queue-durable",
        [queue("e8", exclusive=False, durable=True)],
        406,
        Queue.Declare,
        INEQUIVALENT.format("durable", "queue", "e8", "received 'true' but current is 'false'"),
        (queue("e8", exclusive=False),),
    ),
    Case(
        "queue-auto-delete",
        [queue("e9", auto_delete=True)],
        406,
        Queue.Declare,
        INEQUIVALENT.format("auto_delete", "queue", "e9", "received 'true' but current is 'false'"),
        (queue("e9"),),
    ),
    Case(
        "queue-argument-differs",
        [queue("e10", arguments={"x-message-ttl": 2000})],
        406,
        Queue.Declare,
        INEQUIVALENT.format(
            "x-message-ttl", "queue", "e10", "received '2000' but current is '1000'"
        ),
        (queue("e10", arguments={"x-message-ttl": 1000}),),
    ),
    Case(
        "queue-argument-left-out",
        [queue("e11")],
        406,
        Queue.Declare,
        INEQUIVALENT.format(
            "x-max-length",
            "queue",
            "e11",
            "received none but current is the value '1000'",
        ),
        (queue("e11", arguments={"x-max-length": 1000}),),
    ),
    Case(
        "queue-argument-added",
        [queue("e12", arguments={"x-dead-letter-exchange": "d"})],
        406,
        Queue.Declare,
        INEQUIVALENT.format(
            "x-dead-letter-exchange",
            "queue",
            "e12",
            "received the value 'd' of type 'longstr' but current is none",
        ),
        (queue("e12"),),
    ),
    Case(
        "queue-single-active-differs",
        [queue("e13", arguments={"x-single-active-consumer": False})],
        406,
        Queue.Declare,
        INEQUIVALENT.format(
            "x-single-active-consumer", "queue", "e13", "received 'false' but current is 'true'"
        ),
        (queue("e13", arguments=SINGLE),),
    ),
    Case(
        "queue-type-differs",
        [queue("e14", exclusive=False, durable=True, arguments=QUORUM)],
        406,
        Queue.Declare,
        INEQUIVALENT.format(
            "x-queue-type",
            "queue",
            "e14",
            "received the value 'quorum' of type 'longstr' but current is none",
        ),
        (queue("e14", exclusive=False, durable=True),),
    ),
    Case(
        "exchange-type",
        [exchange("amq.direct", "topic", durable=True)],
        406,
        Exchange.Declare,
        INEQUIVALENT.format(
            "type", "exchange", "amq.direct", "received 'topic' but current is 'direct'"
        ),
    ),
    Case(
        "exchange-durable",
        [exchange("amq.direct")],
        406,
        Exchange.Declare,
        INEQUIVALENT.format(
            "durable", "exchange", "amq.direct", "received 'false' but current is 'true'"
        ),
    ),
    Case(
        "exchange-auto-delete",
        [exchange("amq.topic", "topic", durable=True, auto_delete=True)],
        406,
        Exchange.Declare,
        INEQUIVALENT.format(
            "auto_delete", "exchange", "amq.topic", "received 'true' but current is 'false'"
        ),
    ),
    Case(
        "exchange-internal",
        [exchange("amq.fanout", "fanout", durable=True, internal=True)],
        406,
        Exchange.Declare,
        INEQUIVALENT.format(
            "internal", "exchange", "amq.fanout", "received 'true' but current is 'false'"
        ),
    ),
    Case(
        "exchange-alternate",
        [exchange("amq.headers", "headers", durable=True, arguments={"alternate-exchange": "x"})],
        406,
        Exchange.Declare,
        INEQUIVALENT.format(
            "alternate-exchange",
            "exchange",
            "amq.headers",
            "received the value 'x' of type 'longstr' but current is none",
        ),
    ),
    # 406, arguments
    *(
        Case(
            f"{argument}={value}",
            [queue("e15", arguments={argument: value})],
            406,
            Queue.Declare,
            f"PRECONDITION_FAILED - invalid arg '{argument}' for queue 'e15' in vhost '/': {why}",
        )
        for argument, value, why in (
            ("x-message-ttl", -1, "{value_negative,-1}"),
            ("x-message-ttl", "soon", '"expected integer, got longstr"'),
            ("x-message-ttl", 1.5, '"expected integer, got '),
            ("x-expires", 0, "{value_zero,0}"),
            ("x-expires", -1, "{value_negative,-1}"),
            ("x-max-length", -1, "{value_negative,-1}"),
            ("x-max-length", "few", '"expected integer, got longstr"'),
            ("x-max-length-bytes", -1, "{value_negative,-1}"),
            ("x-overflow", "nope", "invalid_overflow"),
            ("x-max-priority", 256, "{max_value_exceeded,256}"),
            ("x-max-priority", -1, "{value_negative,-1}"),
            ("x-dead-letter-routing-key", "k", "routing_key_but_no_dlx_defined"),
            ("x-queue-type", "nope", "\"unsupported queue type 'nope'\""),
            ("x-single-active-consumer", "yes", "{unacceptable_type,longstr}"),
        )
    ),
    Case(
        "delivery-limit-of-classic-queue",
        [queue("e16", arguments={"x-delivery-limit": 2})],
        406,
        Queue.Declare,
        "PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue 'e16' in vhost '/'"
        " of queue type rabbit_classic_queue",
    ),
    Case(
        "priority-of-quorum-queue",
        [
            queue(
                "e17",
                exclusive=False,
                durable=True,
                arguments={**QUORUM, "x-max-priority": 5},
            )
        ],
        406,
        Queue.Declare,
        "PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue 'e17' in vhost '/'"
        " of queue type rabbit_quorum_queue",
    ),
    *(
        Case(
            f"quorum-{name}",
            [queue("e18", **{"exclusive": False, "durable": True, **options}, arguments=QUORUM)],
            406,
            Queue.Declare,
            f"PRECONDITION_FAILED - invalid property '{name}' for queue 'e18' in vhost '/'",
        )
        for name, options in (
            ("non-durable", {"durable": False}),
            ("exclusive-owner", {"exclusive": True}),
            ("auto-delete", {"auto_delete": True}),
        )
    ),
    Case(
        "x-match",
        [Queue.Bind(0, "e19", "amq.headers", "", arguments={"x-match": "some"})],
        406,
        Queue.Bind,
        'PRECONDITION_FAILED - Invalid x-match field value <<"some">>; expected all, any,'
        " all-with-x, or any-with-x",
        (queue("e19"),),
    ),
    Case(
        "x-priority",
        [consume("e20", arguments={"x-priority": "high"})],
        406,
        Basic.Consume,
        "PRECONDITION_FAILED - invalid arg 'x-priority' for queue 'e20' in vhost '/':"
        ' "expected integer, got longstr"',
        (queue("e20"),),
    ),
    # 406, conditions
    Case(
        "delete-queue-in-use",
        [Queue.Delete(queue="e21", if_unused=True)],
        406,
        Queue.Delete,
        "PRECONDITION_FAILED - queue 'e21' in vhost '/' in use",
        (queue("e21"), consume("e21")),
    ),
    Case(
        "delete-exchange-in-use",
        [Exchange.Delete(exchange="used", if_unused=True)],
        406,
        Exchange.Delete,
        "PRECONDITION_FAILED - exchange 'used' in vhost '/' in use",
        (exchange("used", auto_delete=True), queue("e22"), Queue.Bind(0, "e22", "used", "k")),
    ),
    Case("ack", [Basic.Ack(7)], 406, Basic.Ack, UNKNOWN_TAG.format(7)),
    Case("ack-0", [Basic.Ack(0)], 406, Basic.Ack, UNKNOWN_TAG.format(0)),
    Case("ack-multiple", [Basic.Ack(7, multiple=True)], 406, Basic.Ack, UNKNOWN_TAG.format(7)),
    Case("nack", [Basic.Nack(7)], 406, Basic.Nack, UNKNOWN_TAG.format(7)),
    Case("reject", [Basic.Reject(7)], 406, Basic.Reject, UNKNOWN_TAG.format(7)),
    Case("commit", [Tx.Commit()], 406, Tx.Commit, NOT_TRANSACTIONAL),
    Case("rollback", [Tx.Rollback()], 406, Tx.Rollback, NOT_TRANSACTIONAL),
    Case(
        "tx-then-confirm",
        [Confirm.Select()],
        406,
        Confirm.Select,
        "PRECONDITION_FAILED - cannot switch from tx to confirm mode",
        (Tx.Select(),),
    ),
    Case(
        "confirm-then-tx",
        [Tx.Select()],
        406,
        Tx.Select,
        "PRECONDITION_FAILED - cannot switch from confirm to tx mode",
        (Confirm.Select(),),
    ),
    # 406, properties
    Case(
        "expiration",
        publish("", "k", expiration="soon"),
        406,
        Basic.Publish,
        "PRECONDITION_FAILED - invalid expiration 'soon': no_integer",
    ),
    Case(
        "expiration-negative",
        publish("", "k", expiration="-1"),
        406,
        Basic.Publish,
        "PRECONDITION_FAILED - invalid expiration '-1': {value_negative,-1}",
    ),
    Case(
        "user-id",
        publish("", "k", user_id="somebody"),
        406,
        Basic.Publish,
        "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was 'lab'",
    ),
    *(
        Case(
            name,
            publish("", "k", headers={name: "one"}),
            406,
            Basic.Publish,
            "PRECONDITION_FAILED - invalid message:"
            f' {{unacceptable_type_in_header,"{name}",longstr}}',
        )
        for name in ("CC", "BCC")
    ),
]

HARD = [
    Case(
        "exchange-type-unknown",
        [exchange("e", "nope")],
        503,
        Exchange.Declare,
        "COMMAND_INVALID - unknown exchange type 'nope'",
    ),
    Case(
        "tag-reuse",
        [consume("h1")],
        530,
        Basic.Consume,
        "NOT_ALLOWED - attempt to reuse consumer tag 't'",
        (queue("h1"), consume("h1")),
    ),
    Case(
        "prefetch-size",
        [Basic.Qos(prefetch_size=1)],
        540,
        Basic.Qos,
        "NOT_IMPLEMENTED - prefetch_size!=0 (1)",
    ),
    Case(
        "recover-without-requeue",
        [Basic.Recover(requeue=False)],
        540,
        Basic.Recover,
        "NOT_IMPLEMENTED - requeue=false",
    ),
    Case(
        "immediate",
        [Basic.Publish(immediate=True), header.ContentHeader(0, 0)],
        540,
        Basic.Publish,
        "NOT_IMPLEMENTED - immediate=true",
    ),
    Case(
        "flow-off",
        [Channel.Flow(active=False)],
        540,
        Channel.Flow,
        "NOT_IMPLEMENTED - active=false",
    ),
    Case(
        "global-prefetch-on-quorum-queue",
        [consume("h2")],
        540,
        Basic.Consume,
        "NOT_IMPLEMENTED - queue 'h2' in vhost '/' does not support global qos",
        (
            queue("h2", exclusive=False, durable=True, arguments=QUORUM),
            Basic.Qos(prefetch_count=1, global_=True),
        ),
    ),
    Case(
        "channel-open-twice",
        [Channel.Open()],
        504,
        Channel.Open,
        "CHANNEL_ERROR - second 'channel.open' seen",
    ),
    Case(
        "channel-not-open",
        [(2, queue("h3"))],
        504,
        Queue.Declare,
        "CHANNEL_ERROR - expected 'channel.open'",
    ),
    *(
        Case(
            f"channel-0-{method.name}",
            [(0, method)],
            504,
            type(method),
            "CHANNEL_ERROR - unexpected method in connection state running",
        )
        for method in (queue("h4"), Channel.Open(), Connection.Open(), Connection.TuneOk())
    ),
    *(
        Case(method.name, [method], 503, type(method), "COMMAND_INVALID - unimplemented method")
        for method in (Connection.Open(), Channel.OpenOk(), Queue.DeclareOk("h5", 0, 0))
    ),
]


def outcome(raw: Raw, case: Case) -> tuple[str, int, int, int, str]:
    """Run a case and return the close that it causes."""
    for method in case.before:
        answer = raw.ask(method)
        assert not isinstance(answer, Channel.Close | Connection.Close), answer.reply_text
    raw.send(*case.frames)
    return raw.closed()


@pytest.mark.parametrize("case", SOFT, ids=lambda case: case.name)
def test_what_closes_a_channel(raw: Raw, case: Case) -> None:
    """The channel closes with RabbitMQ's words; its connection goes on."""
    index = divmod(case.cause.index, 1 << 16)
    *close, text = outcome(raw, case)
    assert (*close, text[: len(case.text)]) == ("channel", case.code, *index, case.text)
    raw.send(Channel.CloseOk())
    raw.open_channel()


@pytest.mark.parametrize("case", HARD, ids=lambda case: case.name)
def test_what_closes_a_connection(raw: Raw, case: Case) -> None:
    """The connection closes with RabbitMQ's words, and ends after close-ok."""
    index = divmod(case.cause.index, 1 << 16)
    *close, text = outcome(raw, case)
    assert (*close, text) == ("connection", case.code, *index, case.text)
    raw.send((0, Connection.CloseOk()))
    assert raw.next() is None


# Frames that break the protocol

PUBLISH = Basic.Publish()
LOST_RHYTHM = [
    ("unknown-type", envelope(4, 0, b"abc")),
    ("heartbeat-with-payload", envelope(8, 0, b"abc")),
    ("no-end-mark", envelope(1, 1, b"\0\x14\0\x0a\0", b"A")),
    ("too-large", b"\x03\x00\x01\x00\x03\x0d\x40" + b"x" * 200_000),
    ("empty-method", envelope(1, 1, b"")),
    ("noise", b"\xff" * 20),
]
UNEXPECTED = [
    ("header-alone", [header.ContentHeader(0, 5)], (0, 0)),
    ("body-alone", [ContentBody(b"x")], (0, 0)),
    ("method-for-header", [PUBLISH, queue("h6")], (60, 40)),
    ("body-for-header", [PUBLISH, ContentBody(b"x")], (60, 40)),
    ("header-twice", [PUBLISH, header.ContentHeader(0, 5), header.ContentHeader(0, 5)], (60, 40)),
    ("header-of-another-class", [PUBLISH, envelope(2, 1, b"\0\x32" + bytes(12))], (60, 40)),
    ("header-on-channel-0", [(0, header.ContentHeader(0, 5))], (0, 0)),
    ("body-on-channel-0", [(0, ContentBody(b"x"))], (0, 0)),
    ("heartbeat-on-channel-1", [envelope(8, 1, b"")], (0, 0)),
]


@pytest.mark.parametrize("data", [pytest.param(data, id=name) for name, data in LOST_RHYTHM])
def test_a_frame_that_cannot_be_cut(raw: Raw, data: bytes) -> None:
    """501 FRAME_ERROR, with no method to blame."""
    raw.send(data)
    assert raw.closed()[:4] == ("connection", 501, 0, 0)


@pytest.mark.parametrize(
    ("payload", "ids"),
    [
        pytest.param(b"\0\x32\0\x0a\0\0\x40a", (50, 10), id="arguments-cut-short"),
        pytest.param(b"\0\x32\0\x0a\0\0\x02\xff\xfe" + bytes(5), (0, 0), id="name-not-utf8"),
    ],
)
def test_a_method_that_cannot_be_decoded(raw: Raw, payload: bytes, ids: tuple[int, int]) -> None:
    """501 FRAME_ERROR; the method is blamed if that much was readable."""
    raw.send(envelope(1, 1, payload))
    assert raw.closed()[:4] == ("connection", 501, *ids)


@pytest.mark.parametrize(
    ("frames", "ids"), [pytest.param(frames, ids, id=name) for name, frames, ids in UNEXPECTED]
)
def test_a_frame_that_is_not_due(raw: Raw, frames: list[Any], ids: tuple[int, int]) -> None:
    """505 UNEXPECTED_FRAME, with basic.publish to blame where its content is due."""
    raw.send(*frames)
    assert raw.closed()[:4] == ("connection", 505, *ids)


def test_a_garbled_content_header(raw: Raw) -> None:
    """541 INTERNAL_ERROR: RabbitMQ trips over property flags that never end."""
    raw.send(PUBLISH, envelope(2, 1, b"\0\x3c\0\0" + bytes(8) + b"\xff\xff"))
    assert raw.closed()[:4] == ("connection", 541, 0, 0)


# What the libraries make of it


@pytest.mark.parametrize(
    ("method", "arguments", "text"),
    [
        ("queue_declare", {"queue": "no", "passive": True}, NO_QUEUE),
        ("queue_declare", {"queue": "amq.mine"}, "ACCESS_REFUSED - queue name 'amq.mine'"),
        ("queue_purge", {"queue": "no"}, NO_QUEUE),
        ("exchange_declare", {"exchange": "no", "passive": True}, NO_EXCHANGE),
        ("exchange_delete", {"exchange": "amq.topic"}, "ACCESS_REFUSED - deletion of system"),
        ("queue_bind", {"queue": "no", "exchange": "amq.direct"}, NO_QUEUE),
        ("tx_commit", {}, NOT_TRANSACTIONAL),
    ],
)
def test_a_closed_channel_is_an_exception(
    engine: Engine, channel: AnyChannel, method: str, arguments: dict[str, Any], text: str
) -> None:
    """Both libraries raise what the broker said."""
    with pytest.raises(ClosedError) as caught:
        channel.call(method, **arguments)
    assert caught.value.scope == "channel"
    assert caught.value.text.startswith(text)


def test_a_closed_connection_is_an_exception(engine: Engine, channel: AnyChannel) -> None:
    """Both libraries raise what the broker said."""
    with pytest.raises(ClosedError) as caught:
        channel.exchange_declare(exchange="e", exchange_type="nope")
    assert caught.value.scope == "connection"
    assert caught.value.text == "COMMAND_INVALID - unknown exchange type 'nope'"
