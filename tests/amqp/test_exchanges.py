"""Names, bindings and the way of a message, without a socket."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labsvc.amqp.errors import AmqpError, ReplyCode, SoftError
from labsvc.amqp.rules.matching import headers_match, topic_matches
from labsvc.amqp.rules.vhost import VHost
from tests.amqp.fakes import FakeConsumer, message, unhurried

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.amqp.rules.exchange import Exchange
    from labsvc.amqp.rules.queue import Queue

words = st.lists(st.sampled_from(["a", "b", ""]), max_size=5)
patterns = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), max_size=5)


@cache
def model_matches(pattern: tuple[str, ...], key: tuple[str, ...]) -> bool:
    """Say what a topic pattern matches, by recursion on the first word."""
    if not pattern:
        return not key
    if pattern[0] == "#":
        return model_matches(pattern[1:], key) or (bool(key) and model_matches(pattern, key[1:]))
    return bool(key) and pattern[0] in ("*", key[0]) and model_matches(pattern[1:], key[1:])


@unhurried
@given(patterns, words)
def test_topic_patterns_match_as_the_model_says(pattern: list[str], key: list[str]) -> None:
    """A topic exchange agrees with a model that is defined word by word."""
    pattern_text, key_text = ".".join(pattern), ".".join(key)
    pattern_words = tuple(pattern_text.split(".")) if pattern_text else ()
    key_words = tuple(key_text.split(".")) if key_text else ()
    assert topic_matches(pattern_text, key_text) == model_matches(pattern_words, key_words)


def test_a_pattern_of_many_hashes_is_no_trap() -> None:
    """Matching takes time in proportion to pattern and key, not exponential time."""
    assert not topic_matches("#.a." * 40 + "b", "a." * 80 + "c")


def test_an_exchange_routes_to_each_queue_once() -> None:
    """Two bindings that match the same message deliver it once, also from the cache."""
    vhost = VHost()
    exchange(vhost, "e", "topic")
    queue, other = declare(vhost, "q"), declare(vhost, "other")
    bind(vhost, queue, "e", "a.*")
    bind(vhost, queue, "e", "#")
    bind(vhost, other, "e", "b.#")
    assert route(vhost, "e", "a.x") == route(vhost, "e", "a.x") == ["q"]
    bind(vhost, other, "e", "a.x")
    assert route(vhost, "e", "a.x") == ["other", "q"]
    unbind(vhost, queue, "e", "a.*")
    unbind(vhost, queue, "e", "#")
    assert route(vhost, "e", "a.x") == ["other"]


def declare(vhost: VHost, name: str, owner: object = None, **properties: Any) -> Queue:
    """Declare a queue, by default without any property."""
    return vhost.declare_queue(name, owner, **properties)


def exchange(vhost: VHost, name: str, kind: str = "direct", **properties: Any) -> Exchange:
    """Declare an exchange, by default direct and without any property."""
    vhost.exchanges.declare(name, kind, **properties)
    return vhost.exchanges.get(name)


def bind(
    vhost: VHost,
    to: Queue | Exchange,
    source: str,
    key: str,
    arguments: dict[str, Any] | None = None,
) -> None:
    """Bind a queue or an exchange."""
    vhost.exchanges.bind(source, to, key, arguments or {})


def unbind(vhost: VHost, to: Queue | Exchange, source: str, key: str) -> None:
    """Unbind a queue or an exchange."""
    vhost.exchanges.unbind(source, to, key, {})


def route(vhost: VHost, name: str, *keys: str, **headers: Any) -> list[str]:
    """Return the names of the queues that a published message goes to, sorted."""
    return sorted(queue.name for queue in vhost.exchanges.router.publish(name, keys, headers))


@pytest.mark.parametrize(
    ("act", "code"),
    [
        (lambda v: v.queue("missing", None), ReplyCode.NOT_FOUND),
        (lambda v: v.queue("owned", "another"), ReplyCode.RESOURCE_LOCKED),
        (lambda v: declare(v, "owned", "another", exclusive=True), ReplyCode.RESOURCE_LOCKED),
        (lambda v: declare(v, "plain", exclusive=True), ReplyCode.RESOURCE_LOCKED),
        (lambda v: declare(v, "plain", durable=True), ReplyCode.PRECONDITION_FAILED),
        (lambda v: declare(v, "plain", auto_delete=True), ReplyCode.PRECONDITION_FAILED),
        (lambda v: declare(v, "amq.mine"), ReplyCode.ACCESS_REFUSED),
        (lambda v: exchange(v, "e", "fanout"), ReplyCode.PRECONDITION_FAILED),
        (lambda v: exchange(v, "e", durable=True), ReplyCode.PRECONDITION_FAILED),
        (lambda v: exchange(v, "amq.mine"), ReplyCode.ACCESS_REFUSED),
        (lambda v: exchange(v, ""), ReplyCode.ACCESS_REFUSED),
        (lambda v: exchange(v, "h", "nonsense"), ReplyCode.COMMAND_INVALID),
        (
            lambda v: exchange(v, "h", arguments={"alternate-exchange": 1}),
            ReplyCode.PRECONDITION_FAILED,
        ),
        (
            lambda v: bind(v, v.queues["plain"], "amq.match", "", {"x-match": b"most"}),
            ReplyCode.PRECONDITION_FAILED,
        ),
        (
            lambda v: bind(v, v.queues["plain"], "amq.headers", "", {"x-match": 1}),
            ReplyCode.PRECONDITION_FAILED,
        ),
        (lambda v: route(v, "internal", "k"), ReplyCode.ACCESS_REFUSED),
        (lambda v: v.exchanges.delete("amq.direct"), ReplyCode.ACCESS_REFUSED),
        (lambda v: v.exchanges.delete(""), ReplyCode.ACCESS_REFUSED),
        (lambda v: v.exchanges.delete("e", if_unused=True), ReplyCode.PRECONDITION_FAILED),
        (lambda v: bind(v, v.queues["plain"], "", "k"), ReplyCode.ACCESS_REFUSED),
        (lambda v: bind(v, v.queues["plain"], "missing", "k"), ReplyCode.NOT_FOUND),
        (lambda v: unbind(v, v.queues["plain"], "", "k"), ReplyCode.ACCESS_REFUSED),
        (lambda v: route(v, "missing", "k"), ReplyCode.NOT_FOUND),
        (lambda v: v.delete_queue(v.queues["full"], if_empty=True), ReplyCode.PRECONDITION_FAILED),
        (lambda v: v.delete_queue(v.queues["full"], if_unused=True), ReplyCode.PRECONDITION_FAILED),
    ],
)
def test_what_a_virtual_host_refuses(act: Callable[[VHost], object], code: ReplyCode) -> None:
    """Each broken rule has RabbitMQ's reply code and leaves everything as it was."""
    vhost = VHost()
    declare(vhost, "owned", "owner", exclusive=True)
    full = declare(vhost, "full")
    full.publish(message("1"))
    full.publish(message("2"))
    full.add(FakeConsumer(1))
    exchange(vhost, "e")
    exchange(vhost, "internal", internal=True)
    bind(vhost, declare(vhost, "plain"), "e", "k")
    queues, exchanges = set(vhost.queues), set(vhost.exchanges)
    with pytest.raises(AmqpError) as caught:
        act(vhost)
    assert caught.value.code is code
    assert (set(vhost.queues), set(vhost.exchanges)) == (queues, exchanges)


def test_an_auto_delete_exchange_goes_with_its_last_binding() -> None:
    """Unbinding or deleting the last queue deletes the exchange."""
    vhost = VHost()
    for end in (
        lambda queue: unbind(vhost, queue, "e", "k"),
        vhost.delete_queue,
    ):
        exchange(vhost, "e", auto_delete=True)
        bind(vhost, declare(vhost, "q"), "e", "k")
        end(vhost.queues["q"])
        assert "e" not in vhost.exchanges


def test_a_deleted_exchange_is_forgotten_by_its_queues() -> None:
    """A queue outlives an exchange it was bound to, and can be deleted after it."""
    vhost = VHost()
    exchange(vhost, "e")
    queue = declare(vhost, "q")
    bind(vhost, queue, "e", "k")
    vhost.exchanges.delete("e")
    exchange(vhost, "e")
    assert route(vhost, "e", "k") == []
    assert vhost.delete_queue(queue) == 0


@pytest.mark.parametrize(
    ("wanted", "headers", "matches"),
    [
        ({}, {}, True),
        ({"x-match": b"any"}, {"a": 1}, False),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2, "c": 3}, True),
        ({"a": 1, "b": 2}, {"b": 2}, False),
        ({"x-match": b"any", "a": 1, "b": 2}, {"b": 2}, True),
        ({"a": None}, {"a": 5}, True),
        ({"a": None}, {"b": 5}, False),
        ({"a": 1}, {"a": True}, False),
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, True),
        ({"a": [1]}, {"a": [True]}, False),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 2, "b": 1}}, False),
        ({"x-b": 1}, {}, True),
        ({"x-match": b"any", "x-b": 1}, {"x-b": 1}, False),
        ({"x-match": b"all-with-x", "x-b": 1}, {}, False),
        ({"x-match": b"all-with-x", "x-b": 1}, {"x-b": 1}, True),
        ({"x-match": b"any-with-x", "x-b": 1}, {"x-b": 1}, True),
    ],
)
def test_headers_match_as_in_rabbitmq(
    wanted: dict[str, Any], headers: dict[str, Any], *, matches: bool
) -> None:
    """Each row was tried on RabbitMQ 3.10."""
    assert headers_match(wanted, headers) is matches


def test_a_headers_exchange_looks_at_each_message() -> None:
    """The same key goes elsewhere with other headers: nothing is taken from the cache."""
    vhost = VHost()
    exchange(vhost, "e")
    bind(vhost, exchange(vhost, "h", "headers"), "e", "k")
    bind(vhost, declare(vhost, "red"), "h", "", {"colour": b"red"})
    bind(vhost, declare(vhost, "blue"), "h", "", {"colour": b"blue"})
    assert route(vhost, "e", "k", colour=b"red") == ["red"]
    assert route(vhost, "e", "k", colour=b"blue") == ["blue"]
    assert route(vhost, "e", "k") == []


def test_bindings_lead_from_exchange_to_exchange() -> None:
    """A circle ends, a queue that is reached twice gets one message, unbinding cuts the way."""
    vhost = VHost()
    first, second = exchange(vhost, "first", "fanout"), exchange(vhost, "second", "fanout")
    bind(vhost, second, "first", "")
    bind(vhost, first, "second", "")
    queue = declare(vhost, "q")
    bind(vhost, queue, "first", "")
    bind(vhost, queue, "second", "")
    assert route(vhost, "first", "k") == route(vhost, "second", "k") == ["q"]
    unbind(vhost, queue, "first", "")
    assert route(vhost, "first", "k") == ["q"]
    unbind(vhost, second, "first", "")
    assert route(vhost, "first", "k") == []


def test_an_alternate_exchange_takes_what_matches_nothing() -> None:
    """It may be internal, be missing for a while, or point back: a circle ends."""
    vhost = VHost()
    exchange(vhost, "e", arguments={"alternate-exchange": b"spare"})
    bind(vhost, declare(vhost, "known"), "e", "k")
    assert route(vhost, "e", "other") == []
    exchange(vhost, "spare", "fanout", internal=True, arguments={"alternate-exchange": b"e"})
    assert route(vhost, "e", "other") == []
    bind(vhost, declare(vhost, "lost"), "spare", "")
    assert route(vhost, "e", "other") == ["lost"]
    assert route(vhost, "e", "k") == ["known"]
    exchange(vhost, "d", arguments={"alternate-exchange": b""})
    assert route(vhost, "d", "late") == []
    declare(vhost, "late")
    assert route(vhost, "d", "late") == ["late"]


def test_an_alternate_exchange_that_comes_later_is_used_at_once() -> None:
    """What was routed without it is forgotten when it is declared, before any other binding."""
    vhost = VHost()
    exchange(vhost, "e", arguments={"alternate-exchange": b"spare"})
    exchange(vhost, "last", "fanout")
    bind(vhost, declare(vhost, "lost"), "last", "")
    assert route(vhost, "e", "k") == []
    exchange(vhost, "spare", arguments={"alternate-exchange": b"last"})
    assert route(vhost, "e", "k") == ["lost"]


def test_copies_go_to_each_queue_once() -> None:
    """All keys of a message count, and only if none of them matches its alternate exchange."""
    vhost = VHost()
    exchange(vhost, "spare", "fanout")
    exchange(vhost, "e", arguments={"alternate-exchange": b"spare"})
    for name in ("a", "b"):
        bind(vhost, declare(vhost, name), "e", name)
    bind(vhost, declare(vhost, "lost"), "spare", "")
    assert route(vhost, "e", "a", "b", "a", "none") == ["a", "b"]
    assert route(vhost, "", "a", "b", "a", "none") == ["a", "b"]
    assert route(vhost, "e", "none", "neither") == ["lost"]


def test_bindings_with_other_arguments_are_others() -> None:
    """Each is added, and removed, on its own; a binding made twice is one."""
    vhost = VHost()
    queue = declare(vhost, "q")
    exchange(vhost, "h", "headers")
    for value in (1, True, 1):
        bind(vhost, queue, "h", "", {"a": value})
    assert len(vhost.exchanges.get("h")) == 2
    vhost.exchanges.unbind("h", queue, "", {"a": True})
    assert route(vhost, "h", "", a=1) == ["q"]
    assert route(vhost, "h", "", a=True) == []


def test_auto_delete_exchanges_go_one_after_another() -> None:
    """The last binding of one goes, so it goes, and with it the last binding of the next."""
    vhost = VHost()
    outer = exchange(vhost, "outer", "fanout", auto_delete=True)
    inner = exchange(vhost, "inner", "fanout", auto_delete=True)
    bind(vhost, inner, "outer", "")
    bind(vhost, declare(vhost, "q"), "inner", "")
    assert (len(outer), len(inner)) == (1, 1)
    vhost.delete_queue(vhost.queues["q"])
    assert "inner" not in vhost.exchanges
    assert "outer" not in vhost.exchanges


@pytest.mark.parametrize(
    ("first", "second", "text"),
    [
        ({}, {"internal": True}, "'internal' .*: received 'true' but current is 'false'"),
        ({}, {"arguments": {"alternate-exchange": b"x"}}, "received the value 'x' of type 'long"),
        ({"arguments": {"alternate-exchange": b"x"}}, {}, "received none but current is the val"),
        ({}, {"arguments": {"alternate-exchange": 1}}, "inequivalent arg 'alternate-exchange'"),
        ({}, {"arguments": {"x-new": 1}}, "argument 'x-new' for exchange 'e' in vhost '/' is not"),
    ],
)
def test_a_declaration_is_compared_with_the_exchange(
    first: dict[str, Any], second: dict[str, Any], text: str
) -> None:
    """406 if it differs in what matters; the same declaration again is fine."""
    vhost = VHost()
    for _ in range(2):
        exchange(vhost, "e", **first)
    with pytest.raises(SoftError, match=text) as caught:
        exchange(vhost, "e", **second)
    assert caught.value.code is ReplyCode.PRECONDITION_FAILED
