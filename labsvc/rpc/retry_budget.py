"""A bound on extra tries, whatever their reason: retries by hand, and hedges.

The retryThrottling of a service config (gRFC A6) bounds the retries that gRPC itself makes. A
budget bounds the tries that code makes, over all channels that share it. They count different
things:

    throttling    a failed try costs 1, a success gives token_ratio back; with half of the tokens
                  or less there is no retry at all, until enough calls have succeeded
    budget        every call earns `ratio`, an extra try costs 1, whatever becomes of either; in
                  a long outage one extra try for every ten calls goes on

The share is 0.1 here as in RetryThrottling. For a hedge it is the right size too: with a delay at
the p95 one call in 20 needs a second one, so 0.1 leaves room for twice as many, and stops the rest
when everything is slow. Notebook 26.
"""

from __future__ import annotations

import threading


class RetryBudget:
    """Allows extra tries as a share of the calls: with `ratio` 0.1, one for ten calls.

    A token bucket: every call adds `ratio` tokens, an extra try takes one. It holds `reserve`
    tokens at first and never more, so that a quiet client may retry too. When everything fails,
    `calls` calls cause at most `reserve + ratio * calls` extra ones, where three tries each would
    cause `2 * calls`. Safe to share between threads and tasks.

    Raises ValueError for a ratio outside 0 to 1, or a reserve under 1.
    """

    def __init__(self, ratio: float = 0.1, reserve: float = 10.0) -> None:
        if not (0 <= ratio <= 1 and reserve >= 1):
            msg = f"ratio must be 0 to 1 and reserve 1 or more, not {ratio} and {reserve}"
            raise ValueError(msg)
        self._ratio = ratio
        self._reserve = float(reserve)
        self._tokens = float(reserve)
        self._lock = threading.Lock()

    def earn(self) -> None:
        """Count a call: its first try, not the extra ones."""
        with self._lock:
            self._tokens = min(self._reserve, self._tokens + self._ratio)

    def spend(self) -> bool:
        """Take a token for an extra try; False when there is none, and the try must not be made."""
        with self._lock:
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True
