"""The `x-` arguments: what is refused, and in which words. RabbitMQ 3.10 says the same."""

from __future__ import annotations

from typing import Any

import pytest

from labsvc.amqp.errors import ReplyCode, SoftError
from labsvc.amqp.rules.message import expiration_of
from labsvc.amqp.rules.settings import QueueSettings, consumer_priority

QUEUE = "queue 'q' in vhost '/'"
QUORUM = {"x-queue-type": b"quorum"}


def parse(arguments: dict[str, Any], **properties: bool) -> QueueSettings:
    """Read the arguments of a durable queue."""
    flags = {"durable": True, "exclusive": False, "auto_delete": False, **properties}
    return QueueSettings.parse(arguments, queue=QUEUE, **flags)


def refusal(arguments: dict[str, Any], **properties: bool) -> str:
    """Return the text with which arguments are refused."""
    with pytest.raises(SoftError) as caught:
        parse(arguments, **properties)
    assert caught.value.code is ReplyCode.PRECONDITION_FAILED
    return caught.value.text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"x-max-length": -1}, "{value_negative,-1}"),
        ({"x-max-length": b"5"}, '"expected integer, got longstr"'),
        ({"x-max-length": 1.5}, '"expected integer, got double"'),
        ({"x-max-length": None}, '"expected integer, got void"'),
        ({"x-max-length": True}, '"expected integer, got bool"'),
        ({"x-max-length": [1]}, '"expected integer, got array"'),
        ({"x-max-length-bytes": -1}, "{value_negative,-1}"),
        ({"x-overflow": b"nonsense"}, "invalid_overflow"),
        ({"x-overflow": 5}, "{unacceptable_type,signedint}"),
        ({"x-message-ttl": 315360000001}, "{value_too_large,315360000001}"),
        ({"x-message-ttl": -1}, "{value_negative,-1}"),
        ({"x-expires": 0}, "{value_zero,0}"),
        ({"x-expires": (0, 1)}, '"expected integer, got decimal"'),
        ({"x-dead-letter-routing-key": b"k"}, "routing_key_but_no_dlx_defined"),
        ({"x-max-priority": 256}, "{max_value_exceeded,256}"),
        ({"x-single-active-consumer": b"true"}, "{unacceptable_type,longstr}"),
        ({"x-queue-type": b"nonsense"}, "\"unsupported queue type 'nonsense'\""),
        ({"x-queue-type": 5}, "{unacceptable_type,signedint}"),
    ],
)
def test_wrong_values_are_refused(arguments: dict[str, Any], why: str) -> None:
    """The text names the argument, the queue and what is wrong, as RabbitMQ does."""
    assert refusal(arguments) == f"invalid arg '{next(iter(arguments))}' for {QUEUE}: {why}"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"x-dead-letter-exchange": 5},
            f"invalid type 'signedint' for arg 'x-dead-letter-exchange' in {QUEUE}",
        ),
        (
            {"x-delivery-limit": 3},
            f"invalid arg 'x-delivery-limit' for {QUEUE} of queue type rabbit_classic_queue",
        ),
        (
            {**QUORUM, "x-max-priority": 5},
            f"invalid arg 'x-max-priority' for {QUEUE} of queue type rabbit_quorum_queue",
        ),
        (
            {"x-queue-mode": b"lazy"},
            f"argument 'x-queue-mode' for {QUEUE} is not supported: leave it out",
        ),
        ({"mine": 1}, f"argument 'mine' for {QUEUE} is not supported: leave it out"),
    ],
)
def test_what_does_not_belong_is_refused(arguments: dict[str, Any], text: str) -> None:
    """An argument of another type of queue, or of none, is never ignored."""
    assert refusal(arguments) == text


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"durable": False}, "non-durable"),
        ({"exclusive": True}, "exclusive-owner"),
        ({"auto_delete": True}, "auto-delete"),
    ],
)
def test_a_quorum_queue_lasts(properties: dict[str, bool], name: str) -> None:
    """A quorum queue is durable, for all, and not deleted by itself."""
    assert refusal(QUORUM, **properties) == f"invalid property '{name}' for {QUEUE}"


def test_limits_are_allowed() -> None:
    """The smallest and the largest values are read as they are."""
    settings = parse({"x-max-length": 0, "x-message-ttl": 315360000000, "x-max-priority": 255})
    assert (settings.max_length, settings.message_ttl, settings.max_priority) == (
        0,
        315360000000,
        255,
    )


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        ({"x-max-length": 5}, {"x-max-length": 6}, "'6' but current is '5'"),
        (
            {"x-max-length": 5},
            {},
            "none but current is the value '5' of type 'signedint'",
        ),
        (
            {},
            {"x-single-active-consumer": True},
            "the value 'true' of type 'bool' but current is none",
        ),
        (
            QUORUM,
            {},
            "none but current is the value 'quorum' of type 'longstr'",
        ),
    ],
)
def test_a_queue_is_declared_again_as_it_is(
    first: dict[str, Any], second: dict[str, Any], said: str
) -> None:
    """Other arguments are refused, and the text shows both."""
    name = next(iter(first or second))
    with pytest.raises(SoftError) as caught:
        parse(first).check_same(second, queue=QUEUE)
    assert caught.value.text == f"inequivalent arg '{name}' for {QUEUE}: received {said}"


def test_classic_is_the_default_type() -> None:
    """A queue declared without a type may be declared again as classic, and back."""
    parse({}).check_same({"x-queue-type": b"classic"}, queue=QUEUE)
    parse({"x-queue-type": b"classic"}).check_same({}, queue=QUEUE)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("abc", "no_integer"),
        ("", "no_integer"),
        (" 5", "no_integer"),
        ("1.5", '{leftover_string,".5"}'),
        ("-1", "{value_negative,-1}"),
        ("315360000001", "{value_too_large,315360000001}"),
    ],
)
def test_expiration_is_a_number_in_text(text: str, why: str) -> None:
    """The message property is milliseconds, written out; anything else is refused."""
    with pytest.raises(SoftError) as caught:
        expiration_of(text)
    assert caught.value.text == f"invalid expiration '{text}': {why}"
    assert (expiration_of("+5"), expiration_of("0")) == (5, 0)


def test_a_consumer_has_a_priority_at_most() -> None:
    """No other argument of a consumer is supported; its priority is any integer."""
    assert consumer_priority({}, queue=QUEUE) == 0
    assert consumer_priority({"x-priority": -3}, queue=QUEUE) == -3
    for wrong in ({"x-priority": b"a"}, {"x-cancel-on-ha-failover": True}):
        with pytest.raises(SoftError) as caught:
            consumer_priority(wrong, queue=QUEUE)
        assert caught.value.code is ReplyCode.PRECONDITION_FAILED
