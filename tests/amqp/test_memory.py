"""The memory alarm by itself, with publishers that only note what they are told."""

from __future__ import annotations

import asyncio

from labsvc.amqp.rules.memory import Memory


class Publisher:
    """Notes when it is blocked and when it may go on."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.freed = asyncio.Event()

    def block(self, reason: str) -> None:
        """Note the reason."""
        self.told.append(reason)

    def unblock(self) -> None:
        """Note the end."""
        self.told.append("unblocked")
        self.freed.set()


def test_a_blocked_publisher_that_has_ended_is_told_nothing_more() -> None:
    """The others go on when the memory is free; who left is forgotten, also one never blocked."""

    async def main() -> None:
        memory = Memory(10)
        stays, leaves = Publisher(), Publisher()
        memory.used = 11
        memory.published(leaves)
        memory.published(stays)
        memory.published(stays)
        memory.left(leaves)
        memory.left(Publisher())
        memory.used = 10
        await stays.freed.wait()
        assert stays.told == ["low on memory", "unblocked"]
        assert leaves.told == ["low on memory"]
        assert not memory._blocked

    asyncio.run(main())


def test_a_publisher_within_the_limit_is_left_alone() -> None:
    """The limit itself is not beyond it."""

    async def main() -> None:
        memory = Memory(10)
        publisher = Publisher()
        memory.used = 10
        memory.published(publisher)
        assert publisher.told == []

    asyncio.run(main())
