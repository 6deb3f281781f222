"""What a program without the service would write: XADD, XREADGROUP and XACK with redis.asyncio.

Every sender awaits its XADD. The consumer reads up to 100 entries at a time and acknowledges each when it is
handled. Nothing is retried, prioritised, bounded or recorded; what a dead consumer held stays where it is.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import redis.asyncio

__all__ = ["BareBroker"]

AT_ONCE = 100
CONNECTIONS = 100
BLOCK = 1000
"""Milliseconds."""


class BareBroker:
    """A stream with one consumer group."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._stream = f"bare:{uuid4().hex}"

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str) -> AsyncIterator["BareBroker"]:
        pool: Any = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=CONNECTIONS)
        client: Any = redis.asyncio.Redis.from_pool(pool)  # annotated in parts
        broker = cls(client)
        await client.xgroup_create(broker._stream, "group", "0", mkstream=True)  # its own maker
        try:
            yield broker
        finally:
            await client.aclose()

    async def send(self, number: int, payload: str) -> None:
        del number
        await self._client.xadd(self._stream, {"payload": payload})

    async def consume(self, handle: Callable[[str], None], count: int) -> None:
        """Hand over so many, and acknowledge each."""
        handled, stream = 0, {self._stream: ">"}
        while handled < count:
            reply = await self._client.xreadgroup("group", "consumer", stream, count=AT_ONCE, block=BLOCK)
            for entry, fields in reply[0][1] if reply else ():
                handle(fields[b"payload"].decode())
                await self._client.xack(self._stream, "group", entry)
                handled += 1
