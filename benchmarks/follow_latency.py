"""The part of `bench_read` about `follow`: how soon an append is seen, in its own process and in another one."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from statistics import quantiles
from time import monotonic
from typing import Any
from uuid import UUID

import msgspec
import redis

from benchmarks.measuring import message, settings
from corpus_callosum import CorpusCallosum

__all__ = ["Latency", "bare_latency", "latencies"]

APPENDS = 100

PAUSE = 0.06
"""At most so many seconds lie between appends, at random: SQLite is looked at now and then, and they must not fall
into step with that."""

STREAM = "bare-latency"

Seen = Callable[[], Awaitable[float]]
"""Waits for the next event to be seen; the time at which it was. Processes of one machine share that clock."""


class Latency(msgspec.Struct):
    """Milliseconds."""

    p50: float
    p95: float


async def latencies(url: str) -> dict[str, Latency]:
    """From the call of `send_many` to its receipt, and to an event that `follow` gives."""
    async with CorpusCallosum.open(settings=settings(url)) as callosum:
        dialogue = await callosum.open_dialogue("bench")
        [last] = await callosum.send_many(dialogue, [message()])
        receipts, here = await _seen_here(callosum, dialogue, last.position)
        [last] = await callosum.send_many(dialogue, [message()])
        with _another(_follow_elsewhere, url, last.position) as pipe:
            _, elsewhere = await _taken(_sender(callosum, dialogue), lambda: asyncio.to_thread(pipe.recv))
    return {
        "send_many, its receipt": _latency(receipts),
        "send_many, follow in the same process": _latency(here),
        "send_many, follow in another process": _latency(elsewhere),
    }


def bare_latency(url: str) -> dict[str, Latency]:
    """From the call of XADD to its entry given by XREAD BLOCK in another process, by bare redis-py clients."""
    client: Any = redis.Redis.from_url(url)  # annotated in parts

    async def add() -> None:
        client.xadd(STREAM, {"state": b"x" * 100})

    with _another(_read_elsewhere, url) as pipe:
        _, seen = asyncio.run(_taken(add, lambda: asyncio.to_thread(pipe.recv)))
    client.close()
    return {"bare XADD, XREAD BLOCK in another process": _latency(seen)}


async def _seen_here(callosum: CorpusCallosum, dialogue: UUID, after: int) -> tuple[list[float], list[float]]:
    times: asyncio.Queue[float] = asyncio.Queue()

    async def follow() -> None:
        async for _ in callosum.follow(after):
            times.put_nowait(monotonic())

    following = asyncio.create_task(follow())
    taken = await _taken(_sender(callosum, dialogue), times.get)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return taken


def _sender(callosum: CorpusCallosum, dialogue: UUID) -> Callable[[], Awaitable[object]]:
    return lambda: callosum.send_many(dialogue, [message()])


async def _taken(append: Callable[[], Awaitable[object]], seen: Seen) -> tuple[list[float], list[float]]:
    """Seconds from calls to their answers, and to what was seen. The first one waits for who sees to be there."""
    answers, views = [], []
    for _ in range(APPENDS + 1):
        await asyncio.sleep(random.uniform(0, PAUSE))
        started = monotonic()
        await append()
        answers.append(monotonic() - started)
        views.append(await seen() - started)
    return answers[1:], views[1:]


@contextmanager
def _another(function: Callable[..., None], *arguments: object) -> Iterator[Any]:
    """A process that runs a function, and the end of a pipe that hears the times which the function sends."""
    spawning = get_context("spawn")
    ours, theirs = spawning.Pipe(duplex=False)
    process = spawning.Process(target=function, args=(*arguments, theirs), daemon=True)
    process.start()
    theirs.close()  # so that its end is seen here
    try:
        yield ours
    finally:
        process.kill()
        process.join()
        ours.close()


def _follow_elsewhere(url: str, after: int, pipe: Any) -> None:
    async def follow() -> None:
        async with CorpusCallosum.open(settings=settings(url)) as callosum:
            async for _ in callosum.follow(after):
                pipe.send(monotonic())

    asyncio.run(follow())


def _read_elsewhere(url: str, pipe: Any) -> None:
    client: Any = redis.Redis.from_url(url, socket_timeout=None)  # annotated in parts
    last = b"0"
    while True:
        [(_, entries)] = client.xread({STREAM: last}, block=0)
        pipe.send(monotonic())
        last = entries[-1][0]


def _latency(seconds: list[float]) -> Latency:
    cuts = quantiles(seconds, n=20)
    return Latency(cuts[9] * 1000, cuts[18] * 1000)
