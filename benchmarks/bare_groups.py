"""Bare redis-py consumer groups for `bench_delivery`: XADD, XREADGROUP with BLOCK, XACK, and nothing else."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable
from threading import Thread
from typing import Any, Final, Protocol

import redis
import redis.asyncio

from benchmarks.measuring import SENDERS, crowd, encoded

__all__ = ["BareAsyncio", "BareThreads", "paced"]

STREAM: Final = "bare"
GROUP: Final = "tools"
COUNT: Final = 64
"""The most entries of one read."""

BLOCK: Final = 1000
"""Milliseconds of one wait for entries."""


class Handle(Protocol):
    """What the consumer does with an entry's fields."""

    def __call__(self, fields: dict[bytes, bytes], /) -> None: ...


async def paced(send: Callable[[], Coroutine[Any, Any, object]], times: int, gap: float) -> None:
    """Begin a send every `gap` seconds, whether or not those before it were answered; end with the last answer."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    sends = []
    for number in range(times):
        await asyncio.sleep(max(0.0, began + number * gap - loop.time()))
        sends.append(asyncio.create_task(send()))
    await asyncio.gather(*sends)


def _stamping(latencies: list[float]) -> Handle:
    def handle(fields: dict[bytes, bytes]) -> None:
        latencies.append(time.perf_counter() - float(fields[b"sent"]))

    return handle


def _nothing(_: dict[bytes, bytes]) -> None:
    return


def _entries(reply: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Of a read from one stream."""
    streams: Iterable[Any] = reply.items() if isinstance(reply, dict) else (reply or ())
    return [(name, fields) for _, entries in streams for name, fields in entries]


class BareAsyncio:
    """redis.asyncio: the sends share a client and its pool; the consumer has a client of its own."""

    def __init__(self, url: str) -> None:
        self._producer: Any = redis.asyncio.Redis.from_url(url)  # annotated in parts
        self._consumer: Any = redis.asyncio.Redis.from_url(url)
        self._state = encoded()

    async def latencies(self, times: int, gap: float) -> list[float]:
        """Seconds from just before an XADD until the consumer has the entry."""
        taken: list[float] = []
        await self._begin()
        await asyncio.gather(self._consume(times, _stamping(taken)), paced(self._send, times, gap))
        return taken

    async def seconds(self, each: int, *, together: bool) -> float:
        """Until so many of each sender are acked, one by one or all of a read `together`."""
        await self._begin()
        started = time.perf_counter()
        await asyncio.gather(
            self._consume(each * SENDERS, _nothing, together=together),
            crowd(self._send, each),
        )
        return time.perf_counter() - started

    async def close(self) -> None:
        await self._producer.aclose()
        await self._consumer.aclose()

    async def _begin(self) -> None:
        await self._producer.delete(STREAM)
        await self._producer.xgroup_create(STREAM, GROUP, id="0", mkstream=True)

    async def _send(self) -> None:
        await self._producer.xadd(STREAM, {"sent": time.perf_counter(), "state": self._state})

    async def _consume(self, total: int, handle: Handle, *, together: bool = False) -> None:
        acked = 0
        while acked < total:
            read = await self._consumer.xreadgroup(GROUP, "one", {STREAM: ">"}, count=COUNT, block=BLOCK)
            entries = _entries(read)
            for name, fields in entries:
                handle(fields)
                if not together:
                    await self._consumer.xack(STREAM, GROUP, name)
            if together and entries:
                await self._consumer.xack(STREAM, GROUP, *(name for name, _ in entries))
            acked += len(entries)


class BareThreads:
    """The blocking client: a thread for each sender, and one for the consumer."""

    def __init__(self, url: str) -> None:
        self._producer: Any = redis.Redis.from_url(url)  # annotated in parts
        self._consumer: Any = redis.Redis.from_url(url)
        self._state = encoded()

    async def latencies(self, times: int, gap: float) -> list[float]:
        """Like `BareAsyncio.latencies`; a send that takes longer than `gap` puts off the next one."""
        return await asyncio.to_thread(self._latencies, times, gap)

    async def seconds(self, each: int) -> float:
        """Until so many of each sender are acked, one by one."""
        return await asyncio.to_thread(self._seconds, each)

    def close(self) -> None:
        self._producer.close()
        self._consumer.close()

    def _latencies(self, times: int, gap: float) -> list[float]:
        taken: list[float] = []
        self._begin()
        consumer = Thread(target=self._consume, args=(times, _stamping(taken)))
        consumer.start()
        began = time.perf_counter()
        for number in range(times):
            time.sleep(max(0.0, began + number * gap - time.perf_counter()))
            self._send()
        consumer.join()
        return taken

    def _seconds(self, each: int) -> float:
        self._begin()
        senders = [Thread(target=self._send, args=(each,)) for _ in range(SENDERS)]
        started = time.perf_counter()
        for sender in senders:
            sender.start()
        self._consume(each * SENDERS, _nothing)
        seconds = time.perf_counter() - started
        for sender in senders:
            sender.join()
        return seconds

    def _begin(self) -> None:
        self._producer.delete(STREAM)
        self._producer.xgroup_create(STREAM, GROUP, id="0", mkstream=True)

    def _send(self, times: int = 1) -> None:
        for _ in range(times):
            self._producer.xadd(STREAM, {"sent": time.perf_counter(), "state": self._state})

    def _consume(self, total: int, handle: Handle) -> None:
        acked = 0
        while acked < total:
            read = self._consumer.xreadgroup(GROUP, "one", {STREAM: ">"}, count=COUNT, block=BLOCK)
            for name, fields in _entries(read):
                handle(fields)
                self._consumer.xack(STREAM, GROUP, name)
                acked += 1
