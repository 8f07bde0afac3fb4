"""What the C core ignores or changes in a service config, in sentences."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ATTEMPTS = 5
"""What the core does at most, whatever the config says (GRPC_MAX_ATTEMPTS, gRFC A6)."""

_SERVICE = re.compile(r"[\w.]*")
_KEYS = {
    "": {"methodConfig", "retryThrottling", "loadBalancingConfig", "healthCheckConfig"},
    "methodConfig": {
        "name",
        "retryPolicy",
        "waitForReady",
        "maxRequestMessageBytes",
        "maxResponseMessageBytes",
    },
    "retryPolicy": {
        "maxAttempts",
        "initialBackoff",
        "maxBackoff",
        "backoffMultiplier",
        "retryableStatusCodes",
    },
    "retryThrottling": {"maxTokens", "tokenRatio"},
}
_USELESS = {
    "hedgingPolicy": "the C core has no hedging and makes one call; use labsvc.rpc.hedge",
    "timeout": "it may fire up to two seconds early; give the call a timeout= instead",
}


def complaints(config: str) -> list[str]:
    """Return one sentence for each part of a service config that the core ignores or changes.

    It is for configs that somebody wrote by hand, in a test that keeps them honest. What the core
    refuses is not repeated here: such a channel answers every call with the reason.

    Raises ValueError if `config` is no JSON object.
    """
    parsed = json.loads(config)
    if not isinstance(parsed, dict):
        msg = "a service config is a JSON object"
        raise ValueError(msg)  # noqa: TRY004  the text is wrong, not its type
    return list(_complaints(parsed))


def _complaints(config: dict[str, Any]) -> Iterator[str]:
    yield from _strangers("", config)
    yield from _strangers("retryThrottling", config.get("retryThrottling", {}))
    for method in config.get("methodConfig", ()):
        yield from _strangers("methodConfig", method)
        if not method.get("name"):
            yield "methodConfig without a name: it applies to no method; write [{}] for all"
        for name in method.get("name", ()):
            if not _SERVICE.fullmatch(name.get("service", "")):
                yield f"name {name['service']!r}: it matches no service; write package.Service"
        policy = method.get("retryPolicy", {})
        yield from _strangers("retryPolicy", policy)
        attempts = policy.get("maxAttempts", 0)
        if isinstance(attempts, int) and attempts > MAX_ATTEMPTS:
            yield f"maxAttempts {attempts}: the core makes {MAX_ATTEMPTS} tries"


def _strangers(where: str, found: dict[str, Any]) -> Iterator[str]:
    known = _KEYS[where]
    place = f" in {where}" if where else ""
    for key in found:
        camel = re.sub(r"_(\w)", lambda match: match[1].upper(), key)
        if key in _USELESS:
            yield f"{key}{place}: {_USELESS[key]}"
        elif key not in known and camel in known:
            yield f"{key}{place}: ignored; write {camel}"
        elif key not in known:
            yield f"{key}{place}: ignored, there is no such key"
