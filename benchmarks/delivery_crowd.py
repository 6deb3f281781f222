"""The part of `bench_delivery` about a crowd: many senders, a tract that is full, and the memory it takes."""

import asyncio
import time
from contextlib import AsyncExitStack
from pathlib import Path
from resource import getpagesize
from typing import Final
from uuid import UUID

import msgspec

from benchmarks.measuring import PAYLOAD
from corpus_callosum import BackpressureError, Consumer, CorpusCallosum, RecordedMessage, Result, Settings, Tract

__all__ = ["Crowd", "crowd_of_senders"]

SENDERS: Final = 1024
CAPACITY: Final = 2000
DIALOGUES: Final = 64
AGENTS: Final = 4
CONCURRENCY: Final = 64
HANDLING: Final = 0.05
"""Seconds that an agent takes over a message: all together some 5,000 a second, so that the tract is soon full."""

LOOK: Final = 0.05
"""Seconds between looks at the memory."""


class Crowd(msgspec.Struct):
    """How it went.

    Attributes:
        messages: sent with a receipt.
        seconds: from the first send to the last ack.
        refused: how often a send was refused; each was tried again after the hint.
        handled_once, acked_once: messages that an agent was given once, and that the log says were acked once.
        most_waiting: the highest number of messages with a receipt and not handled.
        before, quarter, peak, end: MB of resident memory: before the first send, when a quarter was handled, at
            most from then on, and after the last.
        backlog: what the tract held in the end.
    """

    messages: int
    seconds: float
    refused: int
    handled_once: int
    acked_once: int
    most_waiting: int
    before: float
    quarter: float
    peak: float
    end: float
    backlog: int


class _Run:
    """One run: what was sent, handled and seen of the memory. What it keeps has its size from the beginning."""

    def __init__(self, callosum: CorpusCallosum, each: int) -> None:
        self._callosum = callosum
        self.each = each
        self.messages = each * SENDERS
        self.handled = bytearray(self.messages)
        self.done = asyncio.Event()
        self.receipts = self.refused = self.count = self.most_waiting = 0
        self.quarter = self.peak = 0.0

    async def send(self, dialogue: UUID, sender: int) -> None:
        for number in range(sender * self.each, (sender + 1) * self.each):
            while not await self._accepted(dialogue, number):
                self.refused += 1
            self.receipts += 1

    async def _accepted(self, dialogue: UUID, number: int) -> bool:
        """Whether there was room; if not, when it is worth trying again."""
        try:
            await self._callosum.send(
                dialogue,
                source=Tract.INTERNAL,
                target=Tract.EXTERNAL,
                sender="planner",
                payload={"number": number, "text": PAYLOAD},
            )
        except BackpressureError as refusal:
            await asyncio.sleep(refusal.retry_after)
            return False
        return True

    async def handle(self, message: RecordedMessage) -> None:
        await asyncio.sleep(HANDLING)
        assert isinstance(message.payload, dict), "as it was sent"
        number = message.payload["number"]
        assert isinstance(number, int), "as it was sent"
        self.handled[number] += 1
        self.count += 1
        if self.count >= self.messages:
            self.done.set()

    async def look(self) -> None:
        while True:
            if self.count * 4 >= self.messages:
                self.peak = max(self.peak, memory())
                self.quarter = self.quarter or self.peak
            self.most_waiting = max(self.most_waiting, self.receipts - self.count)
            await asyncio.sleep(LOOK)


def memory() -> float:
    """MB of this process that are resident. Linux only."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize() / 1e6


async def crowd_of_senders(url: str, each: int) -> Crowd:
    """1,024 senders with so many messages each, on 64 dialogues; four agents with 64 hands each."""
    settings = Settings(url=url, project=False, views="sqlite://", capacity=CAPACITY)
    async with CorpusCallosum.open(settings=settings) as callosum:
        dialogues = [await callosum.open_dialogue("crowd") for _ in range(DIALOGUES)]
        run = _Run(callosum, each)
        looking = asyncio.create_task(run.look())
        before, started = memory(), time.perf_counter()
        async with AsyncExitStack() as agents:
            for number in range(AGENTS):
                attached = callosum.attach(run, Tract.EXTERNAL, f"tool {number}", concurrency=CONCURRENCY)
                await agents.enter_async_context(attached)
            await asyncio.gather(*(run.send(dialogues[number % DIALOGUES], number) for number in range(SENDERS)))
            await run.done.wait()
        seconds, end = time.perf_counter() - started, memory()
        looking.cancel()
        [inbox] = [inbox for inbox in await callosum.inbox() if inbox.tract is Tract.EXTERNAL]
        return Crowd(
            messages=run.receipts,
            seconds=seconds,
            refused=run.refused,
            handled_once=run.handled.count(1),
            acked_once=await _acked_once(callosum),
            most_waiting=run.most_waiting,
            before=before,
            quarter=run.quarter,
            peak=run.peak,
            end=end,
            backlog=inbox.backlog,
        )


async def _acked_once(callosum: CorpusCallosum) -> int:
    """Of the log: messages with one outcome, which is an ack."""
    outcomes: dict[tuple[UUID, int], list[Result]] = {}
    async for recorded in callosum.replay():
        if isinstance(recorded.event, Consumer.Settled):
            for outcome in recorded.event.outcomes:
                outcomes.setdefault((outcome.dialogue, outcome.sequence), []).append(outcome.result)
    return sum(results == [Result.ACKED] for results in outcomes.values())
