"""Retries that gRPC's C core makes by itself: the service config, typed and within its limits.

    config = service_config({"shop.v1.UserService/GetUser": RetryPolicy(max_attempts=3)},
                            throttling=RetryThrottling())
    grpc.insecure_channel(target, options=[("grpc.service_config", config)])

Retries follow gRFC A6: exponential backoff, at random within 20 %, all tries within the call's one
deadline. The core takes much of a hand-written config in silence and does something else.
`complaints` names those places; what the builder returns has none. Claim C35, notebook 26.

Name only methods that may run twice: UNAVAILABLE also means that the answer was lost.

A call whose headers or first message have arrived is not tried again, whatever the policy says: a
stream is yours to take up again. gRFC A6 also has transparent retries, without a policy, for calls
that no handler saw. The core of grpcio 1.85 makes none when a server refuses a stream
(REFUSED_STREAM): that is UNAVAILABLE as any other, and the policy decides.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.rpc._complaints import MAX_ATTEMPTS, complaints

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MAX_ATTEMPTS",
    "MAX_TOKENS",
    "RETRYABLE",
    "RetryPolicy",
    "RetryThrottling",
    "complaints",
    "service_config",
]

MAX_TOKENS = 1000

RETRYABLE = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)
"""Codes after which the same request may fare better. With any other it fails again."""

_METHOD = re.compile(r"(?:[\w.]+(?:/\w+)?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often and when one method is tried again.

    Attributes:
        max_attempts: tries in all, the first one included, 2 to 5.
        initial_backoff: seconds before the second try.
        max_backoff: seconds between two tries at most.
        multiplier: what the wait grows by each time.
        codes: the status codes that are tried again, out of `RETRYABLE`.

    Raises ValueError for values that the core refuses or changes.

    """

    max_attempts: int = 3
    initial_backoff: float = 0.1
    max_backoff: float = 1.0
    multiplier: float = 2.0
    codes: frozenset[grpc.StatusCode] = frozenset({grpc.StatusCode.UNAVAILABLE})

    def __post_init__(self) -> None:
        if not 2 <= self.max_attempts <= MAX_ATTEMPTS:  # noqa: PLR2004  a retry makes two
            msg = f"max_attempts must be 2 to {MAX_ATTEMPTS}, not {self.max_attempts}"
            raise ValueError(msg)
        for name in ("initial_backoff", "max_backoff", "multiplier"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0.001):  # noqa: PLR2004  a millisecond
                msg = f"{name} must be 0.001 or more, not {value}"
                raise ValueError(msg)
        if not self.codes:
            msg = "codes must name a status code, such as grpc.StatusCode.UNAVAILABLE"
            raise ValueError(msg)
        if useless := sorted(code.name for code in self.codes - RETRYABLE):
            msg = f"{', '.join(useless)}: the same request fails again; take it out of codes"
            raise ValueError(msg)

    def _json(self) -> dict[str, Any]:
        return {
            "maxAttempts": self.max_attempts,
            "initialBackoff": _seconds(self.initial_backoff),
            "maxBackoff": _seconds(self.max_backoff),
            "backoffMultiplier": self.multiplier,
            "retryableStatusCodes": sorted(code.name for code in self.codes),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryThrottling:
    """When the channel stops retrying altogether, for all methods of one server together.

    A failed try takes one token, a success gives `token_ratio` back. While half of `max_tokens` or
    less is left, calls are tried once.

    Attributes:
        max_tokens: 1 to 1000 (gRFC A6; the core takes more).
        token_ratio: 0.001 or more; the core cuts it after three places.

    Raises ValueError for values that gRFC A6 or the core does not take.

    """

    max_tokens: int = 10
    token_ratio: float = 0.1

    def __post_init__(self) -> None:
        if not 1 <= self.max_tokens <= MAX_TOKENS:
            msg = f"max_tokens must be 1 to {MAX_TOKENS}, not {self.max_tokens}"
            raise ValueError(msg)
        if not (math.isfinite(self.token_ratio) and self.token_ratio >= 0.001):  # noqa: PLR2004
            msg = f"token_ratio must be 0.001 or more, not {self.token_ratio}"
            raise ValueError(msg)
        if not math.isclose(round(self.token_ratio, 3), self.token_ratio):
            msg = f"token_ratio has more than three places: {self.token_ratio}"
            raise ValueError(msg)


def service_config(
    policies: Mapping[str, RetryPolicy], throttling: RetryThrottling | None = None
) -> str:
    """Return the value of the channel argument grpc.service_config.

    The keys of `policies` are "package.Service/Method", "package.Service" for all methods of one,
    or "" for every method. The most exact one counts.

    Raises ValueError for no policy, or a key of another form.
    """
    if not policies:
        msg = "there is nothing to retry: give at least one method and its policy"
        raise ValueError(msg)
    config: dict[str, Any] = {
        "methodConfig": [
            {"name": [_name(method)], "retryPolicy": policy._json()}  # noqa: SLF001
            for method, policy in policies.items()
        ]
    }
    if throttling is not None:
        config["retryThrottling"] = {
            "maxTokens": throttling.max_tokens,
            "tokenRatio": throttling.token_ratio,
        }
    return json.dumps(config)


def _name(method: str) -> dict[str, str]:
    if not _METHOD.fullmatch(method):
        msg = f'{method!r} is no method; write "package.Service/Method", without a leading slash'
        raise ValueError(msg)
    service, _, name = method.partition("/")
    return {key: value for key, value in (("service", service), ("method", name)) if value}


def _seconds(value: float) -> str:
    return f"{round(value, 9):.9f}".rstrip("0").rstrip(".") + "s"
