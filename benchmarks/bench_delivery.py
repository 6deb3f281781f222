"""What it costs to hand a message to a consumer, beside a bare consumer group of redis-py.

Questions, all on one private Redis server with fsync everysec, sender and consumer in one process:

How soon is a message with its handler? From just before the send to the handler, at a steady pace: sends begin on
a schedule, whether or not those before them were answered.

How many messages a second? 64 senders, each of whom awaits its receipt before it sends again, and one consumer,
from the first send to the last ack: on one dialogue, and on one for each sender.

What becomes of a crowd? 1,024 senders and agents that are too slow for them, under a capacity of 2,000; who is
refused tries again after the hint. Whether all of it is handled and acked once, and what the memory does. In a
process of its own.

Ours is `send`, and an agent that is attached with 64 hands; its ack is an event of the log. The bare loop is an
XADD for each message, and XREADGROUP with COUNT 64 and BLOCK; it handles an entry, awaits its XACK, and takes the
next one. redis.asyncio is the natural counterpart, as ours is asyncio. The blocking client, with a thread for each
sender and one for the consumer, is as a rule faster at the steady pace, so it is there, too. One XACK for all that
was read is what somebody would write who may handle up to 64 entries twice. The process is settled as README says
of a loop that must not be late, for all of them.

    python benchmarks/bench_delivery.py [--rounds 5] [--seconds 4] [--json]
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median, quantiles
from typing import Final
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec

from benchmarks.bare_groups import BareAsyncio, BareThreads, paced
from benchmarks.delivery_crowd import Crowd, crowd_of_senders
from benchmarks.measuring import (
    PAYLOAD,
    SENDERS,
    Measure,
    Report,
    in_turns,
    private_server,
    report,
    settle_down,
    show,
    timed,
)
from corpus_callosum import CorpusCallosum, RecordedMessage, Settings, Tract

PACE: Final = 200
"""Messages a second of the latencies."""

HANDS: Final = 64

EACH: Final = 100
"""Messages of each sender in a round of the rates."""

OURS, ONE, MANY = "send and an agent", "one dialogue", f"{SENDERS} dialogues"
ASYNCIO, THREADS = "bare, redis.asyncio", "bare, threads"
EVERY, TOGETHER = "an XACK for each", "an XACK for all that was read"

EACH_OF_CROWD: Final = 40


class Latency(msgspec.Struct):
    """Milliseconds: the medians of the rounds' p50 and p99."""

    p50: float
    p99: float


class Latencies(msgspec.Struct):
    """By what was measured; ours by theirs, from "ours / theirs": the medians of the rounds' ratios."""

    milliseconds: dict[str, Latency]
    against: dict[str, Latency]


class Agent:
    """Notes when messages came."""

    def __init__(self, total: int) -> None:
        self.latencies: list[float] = []
        self.done = asyncio.Event()
        self._total = total

    async def handle(self, message: RecordedMessage) -> None:
        assert isinstance(message.payload, dict), "as it was sent"
        sent = message.payload["sent"]
        assert isinstance(sent, float), "as it was sent"
        self.latencies.append(time.perf_counter() - sent)
        if len(self.latencies) == self._total:
            self.done.set()


@asynccontextmanager
async def attached(callosum: CorpusCallosum, total: int) -> AsyncIterator[Agent]:
    """An agent at work; at the end, all of so many messages are acked."""
    agent = Agent(total)
    async with callosum.attach(agent, Tract.EXTERNAL, "tool", concurrency=HANDS):
        yield agent
        await agent.done.wait()


async def send(callosum: CorpusCallosum, dialogue: UUID) -> None:
    await callosum.send(
        dialogue,
        source=Tract.INTERNAL,
        target=Tract.EXTERNAL,
        sender="planner",
        payload={"sent": time.perf_counter(), "text": PAYLOAD},
    )


async def our_latencies(callosum: CorpusCallosum, dialogue: UUID, times: int, gap: float) -> list[float]:
    async with attached(callosum, times) as agent:
        await paced(partial(send, callosum, dialogue), times, gap)
    return agent.latencies


async def our_seconds(callosum: CorpusCallosum, dialogues: Sequence[UUID]) -> float:
    """From the first send to the last ack; the consumer's leaving is in it."""
    total = EACH * SENDERS
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(attached(callosum, total))
        started = time.perf_counter()
        each = [partial(send, callosum, dialogues[number % len(dialogues)]) for number in range(SENDERS)]
        await asyncio.gather(*(timed(work, EACH) for work in each))
    return time.perf_counter() - started


class Rounds:
    """Keeps every latency of a measure, round by round."""

    def __init__(self, taken: Callable[[], Awaitable[list[float]]]) -> None:
        self._taken = taken
        self.figures: list[Latency] = []

    async def measure(self) -> float:
        cuts = quantiles(await self._taken(), n=100)
        self.figures.append(Latency(cuts[49] * 1000, cuts[98] * 1000))
        return cuts[49]


def latencies(rounds: Mapping[str, Rounds]) -> Latencies:
    """The first round warmed up."""
    figures = {name: each.figures[1:] for name, each in rounds.items()}
    return Latencies(
        {name: _median(found) for name, found in figures.items()},
        {
            f"{OURS} / {theirs}": _median(
                [
                    Latency(a.p50 / b.p50, a.p99 / b.p99)
                    for a, b in zip(figures[OURS], figures[theirs], strict=True)
                ]
            )
            for theirs in (ASYNCIO, THREADS)
        },
    )


def _median(found: Sequence[Latency]) -> Latency:
    return Latency(median(each.p50 for each in found), median(each.p99 for each in found))


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[tuple[CorpusCallosum, BareAsyncio, BareThreads]]:
    settings = Settings(url=url, project=False, views="sqlite://", capacity=0)
    async with AsyncExitStack() as stack:
        callosum = await stack.enter_async_context(CorpusCallosum.open(settings=settings))
        aio, threads = BareAsyncio(url), stack.enter_context(closing(BareThreads(url)))
        stack.push_async_callback(aio.close)
        yield callosum, aio, threads


async def steady(url: str, rounds: int, seconds: float) -> Latencies:
    """Latencies at the pace, so many seconds a round."""
    times, gap = round(PACE * seconds), 1 / PACE
    async with opened(url) as (callosum, aio, threads):
        dialogue = await callosum.open_dialogue("bench")
        measured = {
            ASYNCIO: Rounds(lambda: aio.latencies(times, gap)),
            OURS: Rounds(lambda: our_latencies(callosum, dialogue, times, gap)),
            THREADS: Rounds(lambda: threads.latencies(times, gap)),
        }
        await in_turns({name: (each.measure, 1) for name, each in measured.items()}, rounds)
        return latencies(measured)


async def rates(url: str, rounds: int) -> Report:
    """Messages a second until they are acked."""
    total = EACH * SENDERS
    one, many = f"{OURS}, {ONE}", f"{OURS}, {MANY}"
    each, together = f"{ASYNCIO}, {EVERY}", f"{ASYNCIO}, {TOGETHER}"
    in_threads = f"{THREADS}, {EVERY}"
    async with opened(url) as (callosum, aio, threads):
        dialogues = [await callosum.open_dialogue("bench") for _ in range(SENDERS)]
        measures: dict[str, Measure] = {
            one: (lambda: our_seconds(callosum, dialogues[:1]), total),
            each: (lambda: aio.seconds(EACH, together=False), total),
            many: (lambda: our_seconds(callosum, dialogues), total),
            in_threads: (lambda: threads.seconds(EACH), total),
            together: (lambda: aio.seconds(EACH, together=True), total),
        }
        figures = await in_turns(measures, rounds)
    return report(figures, [(ours, theirs) for ours in (one, many) for theirs in (each, in_threads, together)])


def crowd(url: str) -> Crowd:
    return asyncio.run(crowd_of_senders(url, EACH_OF_CROWD))


Results = dict[str, Latencies | Report | Crowd]


def measured(rounds: int, seconds: float) -> Results:
    results: Results = {}
    settle_down()
    with private_server("everysec") as server:
        where = f"{server.binary.name}, fsync everysec"
        results[f"{where}, until it is handled, at {PACE} messages a second"] = asyncio.run(
            steady(server.url, rounds, seconds)
        )
    with private_server("everysec") as server:
        results[f"{where}, {SENDERS} senders, until all is acked"] = asyncio.run(rates(server.url, rounds))
    with private_server("everysec") as server, ProcessPoolExecutor(1, get_context("spawn")) as another:
        results[f"{where}, a crowd"] = another.submit(crowd, server.url).result()
    return results


def show_latencies(title: str, found: Latencies) -> None:
    print(title)
    for name, latency in found.milliseconds.items():
        print(f"  {name:<44}{latency.p50:>12,.2f} ms{latency.p99:>12,.2f} ms at p99")
    for name, ratio in found.against.items():
        print(f"  {name:<44}{ratio.p50:>12,.2f}   {ratio.p99:>12,.2f}    at p99")


def show_crowd(title: str, found: Crowd) -> None:
    print(title)
    rate = found.messages / found.seconds
    print(f"  {found.messages:,} messages in {found.seconds:.1f} s, {rate:,.0f} messages/s")
    print(f"  {found.handled_once:,} handled once, {found.acked_once:,} acked once, {found.backlog} left")
    print(f"  {found.refused:,} refusals; at most {found.most_waiting:,} messages with a receipt and not handled")
    print(
        f"  resident memory {found.before:.1f} MB before, {found.quarter:.1f} MB at a quarter, then at most "
        f"{found.peak:.1f} MB: {found.peak - found.quarter:.1f} MB of growth; {found.end:.1f} MB in the end"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds (default 5)")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round of the latencies (default 4)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    asked = parser.parse_args()
    results = measured(asked.rounds, asked.seconds)
    if asked.json:
        print(msgspec.json.format(msgspec.json.encode(results), indent=2).decode())
        return
    for title, found in results.items():
        if isinstance(found, Report):
            show(title, found)
        elif isinstance(found, Latencies):
            show_latencies(title, found)
        else:
            show_crowd(title, found)


if __name__ == "__main__":
    main()
