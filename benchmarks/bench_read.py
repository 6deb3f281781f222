"""What reading history back costs, beside bare clients that read the same entries and decode nothing.

Question: how soon has a program read the past, and how soon does it see what is new? On SQLite and on a private
Redis server: the service's `replay`; the recorder's pages under it; one dialogue loaded from its events, as after
a start, where they lie side by side in the log and where they alternate with another dialogue's; and the time from
an append to a `follow` that sees it.

    python benchmarks/bench_read.py [--store sqlite|redis|all] [--rounds 7] [--json]
"""

import argparse
import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec
from eventsourcing.application import Repository

from application.log import DialogueLog
from application.settings import store_environment
from benchmarks.bare_readers import BareRedis, BareSQLite, Reader
from benchmarks.follow_latency import Latency, bare_latency, latencies
from benchmarks.measuring import (
    BATCH,
    Measure,
    Report,
    fill,
    in_turns,
    private_server,
    report,
    settings,
    show,
)
from corpus_callosum import CorpusCallosum

BATCHES = 100
MANY = 10_000
LOADS = {1: 100, 100: 20, MANY: 1}
"""Loads a round, by the events of a dialogue."""


class Stretch(msgspec.Struct):
    """A part of the log, positions after + 1 to last, and one of the dialogues whose events are there."""

    dialogue: UUID
    after: int
    last: int
    messages: int


def stretch(log: DialogueLog, events: int, *, dialogues: int = 1, messages: int = 1) -> Stretch:
    after = log.head()
    made = fill(log, events, dialogues=dialogues, messages=messages)
    return Stretch(made[0], after, log.head(), (events - 1) * dialogues * messages)


def paged(read: Callable[[int, int, int], object], where: Stretch, limit: int) -> Callable[[], Awaitable[float]]:
    """Seconds for a stretch, read with (after, last, limit) page by page."""

    async def measured() -> float:
        started = time.perf_counter()
        for after in range(where.after, where.last, limit):
            read(after, where.last, limit)
        return time.perf_counter() - started

    return measured


def repeated(read: Callable[[], object], times: int) -> Callable[[], Awaitable[float]]:
    async def measured() -> float:
        started = time.perf_counter()
        for _ in range(times):
            read()
        return time.perf_counter() - started

    return measured


async def history(
    log: DialogueLog, callosum: CorpusCallosum, bare: Reader, where: Stretch, *, pages: Sequence[int], rounds: int
) -> Report:
    """Reading a stretch in order; seconds a message."""

    def entries(after: int, last: int, limit: int) -> object:
        return log.recorder.select_entries(after=after, stop=last, limit=limit)

    async def replay() -> float:
        started = time.perf_counter()
        async for _ in callosum.replay(where.after + 1, where.last):
            pass
        return time.perf_counter() - started

    measures: dict[str, Measure] = {"replay": (replay, where.messages)}
    against: list[tuple[str, str]] = []
    for limit in pages:
        ours, theirs = f"select_entries, pages of {limit}", f"{bare.NAME}, pages of {limit}"
        measures[ours] = (paged(entries, where, limit), where.messages)
        measures[theirs] = (paged(bare.page, where, limit), where.messages)
        against += [("replay", theirs), (ours, theirs)]
    return report(await in_turns(measures, rounds), against)


async def loads(log: DialogueLog, bare: Reader, loaded: dict[str, tuple[Stretch, int]], rounds: int) -> Report:
    """Dialogues that are not in the cache, by what they are and their events."""
    uncached = Repository(log.events)
    measures: dict[str, Measure] = {}
    for name, (where, events) in loaded.items():
        times = LOADS[events]
        measures[f"load, {name}"] = (repeated(partial(uncached.get, where.dialogue), times), times)
        read = partial(bare.stream, where.dialogue, where.after, events)
        measures[f"{bare.NAME}, {name}"] = (repeated(read, times), times)
    against = [(f"load, {name}", f"{bare.NAME}, {name}") for name in loaded]
    return report(await in_turns(measures, rounds), against, "loads")


async def reads(name: str, url: str, bare: Reader, rounds: int) -> dict[str, Report]:
    """Write a history, and read it."""
    with closing(DialogueLog(store_environment(url))) as log:
        alone = {events: stretch(log, events) for events in LOADS}
        among = stretch(log, MANY, dialogues=2)
        batches = stretch(log, BATCHES + 1, messages=BATCH)
        loaded = {f"{events:,} event{'s' * (events > 1)}": (where, events) for events, where in alone.items()}
        loaded[f"{MANY:,} events among others"] = (among, MANY)
        async with CorpusCallosum.open(settings=settings(url)) as callosum:
            lone = await history(log, callosum, bare, alone[MANY], pages=(256, 1000), rounds=rounds)
            batched = await history(log, callosum, bare, batches, pages=(256,), rounds=rounds)
        return {
            f"{name}, history of lone messages": lone,
            f"{name}, history of batches of {BATCH}": batched,
            f"{name}, one dialogue": await loads(log, bare, loaded, rounds),
        }


Results = dict[str, Report | dict[str, Latency]]


def sqlite(rounds: int) -> Results:
    with TemporaryDirectory() as directory:
        path = f"{directory}/callosum.db"
        url = f"sqlite:///{path}"
        with closing(BareSQLite(path)) as bare:
            results: Results = dict(asyncio.run(reads("SQLite", url, bare, rounds)))
        results["SQLite, until an append is seen"] = asyncio.run(latencies(url))
    return results


def redis(rounds: int) -> Results:
    with private_server("everysec") as server:
        name, url = server.binary.name, server.url
        with closing(BareRedis(url)) as bare:
            results: Results = dict(asyncio.run(reads(name, url, bare, rounds)))
        seen = asyncio.run(latencies(url)) | bare_latency(url)
        results[f"{name}, fsync everysec, until an append is seen"] = seen
    return results


def show_latencies(title: str, found: dict[str, Latency]) -> None:
    print(title)
    for name, latency in found.items():
        print(f"  {name:<44}{latency.p50:>12,.2f} ms{latency.p95:>12,.2f} ms at p95")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", choices=["sqlite", "redis", "all"], default="all")
    parser.add_argument("--rounds", type=int, default=7, help="counted rounds (default 7)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    asked = parser.parse_args()
    results: Results = {}
    for store in (sqlite, redis):
        if asked.store in {store.__name__, "all"}:
            results |= store(asked.rounds)
    if asked.json:
        print(msgspec.json.format(msgspec.json.encode(results), indent=2).decode())
        return
    for title, found in results.items():
        if isinstance(found, Report):
            show(title, found)
        else:
            show_latencies(title, found)


if __name__ == "__main__":
    main()
