"""Redis' part of `bench_append`: the service beside a bare redis-py client, on one server of their own.

The bare client sends one command, awaits the reply, and sends the next: an XADD of the very entry that the service
stored for a command, ready-made, which is the least that can be done with its messages; an XADD of one field for
every message; and these in one transaction for a command's messages, sent as a pipeline, which is what a program
without the service would do.
"""

import time
from collections.abc import Awaitable, Mapping
from contextlib import closing
from typing import Any

import redis

from benchmarks.measuring import SENDERS, Figures, Measure, crowd, encoded, in_turns, message, settings, timed
from corpus_callosum import CorpusCallosum
from infrastructure.redis_streams.datastore import Keys

__all__ = ["AGAINST", "COMMANDS", "Bare", "appends"]

COMMANDS = {1: 200, 10: 200, 100: 100, 1000: 30}
"""A lone sender's commands a round, by the messages of a command."""

COMMANDS_OF_EACH = {1: 20, 10: 10, 100: 4, 1000: 1}
"""Each of the 64 senders' commands a round, likewise."""

LONE, TOGETHER = "send_many, 1 sender", "send_many, 64 senders"
A_COMMAND, A_MESSAGE = "bare, one XADD a command", "bare, one XADD a message"
PIPELINE = "bare, a pipeline of XADDs a command"

AGAINST = [(ours, bare) for ours in (LONE, TOGETHER) for bare in (A_COMMAND, PIPELINE, A_MESSAGE)]

LOG = Keys("callosum").log


class Bare:
    """A bare redis-py client."""

    STREAM = "bare"

    def __init__(self, url: str) -> None:
        self.client: Any = redis.Redis.from_url(url)  # annotated in parts

    def last_entry(self) -> dict[bytes, bytes]:
        """The fields of the entry that the service stored last."""
        [(_, fields)] = self.client.xrevrange(LOG, count=1)
        return dict(fields)

    async def add(self, fields: Mapping[bytes, bytes], times: int) -> float:
        """Seconds for so many XADD, each reply awaited."""
        started = time.perf_counter()
        for _ in range(times):
            self.client.xadd(self.STREAM, fields)
        return time.perf_counter() - started

    async def add_together(self, fields: Mapping[bytes, bytes], count: int, times: int) -> float:
        """Seconds for so many transactions of `count` XADD each."""
        started = time.perf_counter()
        for _ in range(times):
            with self.client.pipeline(transaction=True) as pipeline:
                for _ in range(count):
                    pipeline.xadd(self.STREAM, fields)
                pipeline.execute()
        return time.perf_counter() - started

    def size(self) -> tuple[int, int]:
        """Bytes of the server's memory and of its append-only file."""
        told = self.client.info()
        return told["used_memory"], told["aof_current_size"]

    def close(self) -> None:
        self.client.close()


async def appends(url: str, count: int, rounds: int) -> Figures:
    """Seconds a message, in commands of so many messages."""
    batch = [message() for _ in range(count)]
    async with CorpusCallosum.open(settings=settings(url)) as callosum:
        dialogue = await callosum.open_dialogue("bench")
        await callosum.send_many(dialogue, batch)

        def send() -> Awaitable[object]:
            return callosum.send_many(dialogue, batch)

        with closing(Bare(url)) as bare:
            entry, single = bare.last_entry(), {b"state": encoded()}
            lone, each = COMMANDS[count], COMMANDS_OF_EACH[count]
            measures: dict[str, Measure] = {
                A_COMMAND: (lambda: bare.add(entry, lone), lone * count),
                LONE: (lambda: timed(send, lone), lone * count),
                PIPELINE: (lambda: bare.add_together(single, count, lone), lone * count),
                A_MESSAGE: (lambda: bare.add(single, COMMANDS[1]), COMMANDS[1]),
                TOGETHER: (lambda: crowd(send, each), SENDERS * each * count),
            }
            return await in_turns(measures, rounds)
