"""What rebuilding the read models costs those who are served meanwhile, and how soon it is done.

Question: how many messages a second does a rebuild of all projections fold, is a sender slower while it runs, and
does a reader ever see less than before? One process is the service: it has all the read models current, sends 500
messages a second, and asks for a measure every 20 ms. The rebuild runs beside it, in rounds with and without it; a
round without is as long.

Before, while nothing else happens: how soon after its receipt does the read model have a message, for who sent it,
and for who sends and asks in another process? And in the end: how long does a question as of a past moment take?
The service has frozen what it began with, as the README advises: to look for garbage among that takes 30 to 50 ms.

    python benchmarks/bench_rebuild.py [--messages 1000000] [--rounds 5] [--moments 100] [--json]
"""

import argparse
import asyncio
import gc
import random
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parent.parent))

import msgspec

from application.log import DialogueLog
from application.settings import store_environment
from benchmarks.bench_fold import conversation
from benchmarks.measuring import fill
from corpus_callosum import CorpusCallosum, Kind, Message, Rebuilt, Settings, Tract, Verdict
from projections.as_of import as_of
from projections.consciousness import Consciousness
from projections.feed import Feed
from projections.fold import version_of
from projections.folding import Folding, OnError
from projections.model import digest
from projections.models import ReadModels

A_SECOND = 500
DIALOGUES = 100
MESSAGES_AN_EVENT = 100
FRESH = 100
QUIET = 0.05
"""Seconds before each of so many messages whose freshness is measured."""


class Report(msgspec.Struct):
    """What came out.

    Attributes:
        fresh_ms: from a receipt until the read model has the message, in the process that folds; median and
            maximum. `fresh_elsewhere_ms`: the same for who sends and asks in another process.
        messages_a_second: of the rebuild of all projections, median of rounds with traffic; and of one without.
        send_ms: median latency of a send without a rebuild under way, with it, and median of the rounds' ratios.
        reads: answers that a reader got during rebuilds; `older` ones said less than one before.
        as_of_ms: median and maximum as of random positions; `unequal` ones differed from a fold up to there.
    """

    messages: int
    fresh_ms: float
    fresh_max_ms: float
    fresh_elsewhere_ms: float
    fresh_elsewhere_max_ms: float
    alone_messages_a_second: float
    messages_a_second: float
    send_ms: float
    send_during_rebuild_ms: float
    send_ratio: float
    reads: int
    older: int
    as_of_ms: float
    as_of_max_ms: float
    unequal: int


class Traffic:
    """A sender at an even pace, and a reader that never rests."""

    def __init__(self, callosum: CorpusCallosum) -> None:
        self._callosum = callosum
        self.latencies: list[float] = []
        self.reads = 0
        self.older = 0

    async def send(self, over: Callable[[], bool]) -> None:
        dialogue = await self._callosum.open_dialogue("traffic")
        said = Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="bench", payload="x" * 100)
        due = time.perf_counter()
        while not over():
            due += 1 / A_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            started = time.perf_counter()
            await self._callosum.send_many(dialogue, [said])
            self.latencies.append(time.perf_counter() - started)

    async def read(self, over: Callable[[], bool]) -> None:
        last = (0, 0)
        while not over():
            metrics = await self._callosum.consciousness_metrics(Kind.LIVE, at_least=0)
            seen = (metrics.position, metrics.total_messages)
            self.older += seen < last
            self.reads += 1
            last = seen
            await asyncio.sleep(0.02)


async def _ages(callosum: CorpusCallosum) -> list[float]:
    """Seconds from receipts until the read model includes what was sent, each on a log that is quiet before."""
    dialogue = await callosum.open_dialogue("fresh")
    said = Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="bench", payload="x" * 100)
    ages = []
    for _ in range(FRESH):
        await asyncio.sleep(QUIET)
        [receipt] = await callosum.send_many(dialogue, [said])
        started = time.perf_counter()
        await callosum.read_model("consciousness", lambda _connection, _: None, at_least=receipt.position)
        ages.append(time.perf_counter() - started)
    return ages


def _ages_elsewhere(url: str) -> list[float]:
    """The same in a process that leaves the folding to another one."""

    async def measured() -> list[float]:
        settings = Settings(url=url, deliver=False, capacity=0, project=False)
        async with CorpusCallosum.open(settings=settings) as callosum:
            return await _ages(callosum)

    return asyncio.run(measured())


async def _round(
    callosum: CorpusCallosum, *, rebuilds: bool, seconds: float
) -> tuple[Traffic, list[Rebuilt], float]:
    traffic, ended = Traffic(callosum), asyncio.Event()
    tasks = [asyncio.create_task(one(ended.is_set)) for one in (traffic.send, traffic.read)]
    started = time.perf_counter()
    rebuilt = await callosum.projections.rebuild() if rebuilds else []
    if not rebuilds:
        await asyncio.sleep(seconds)
    took = time.perf_counter() - started
    ended.set()
    await asyncio.gather(*tasks)
    return traffic, rebuilt, took


class Rounds(msgspec.Struct):
    """What came out of rounds with a rebuild under way and without. Medians of each round's sends, in seconds."""

    without: list[float] = msgspec.field(default_factory=list)
    during: list[float] = msgspec.field(default_factory=list)
    rates: list[float] = msgspec.field(default_factory=list)
    reads: int = 0
    older: int = 0


async def _rounds(callosum: CorpusCallosum, rounds: int, seconds: float) -> Rounds:
    """In turns; a round without a rebuild is as long as the last one with."""
    found = Rounds()
    for number in range(2 * rounds):
        rebuilds = number % 4 in {1, 2}
        traffic, rebuilt, took = await _round(callosum, rebuilds=rebuilds, seconds=seconds)
        (found.during if rebuilds else found.without).append(median(traffic.latencies))
        if rebuilds:
            if {one.verdict for one in rebuilt} != {Verdict.IDENTICAL}:
                raise SystemExit(f"A rebuild was not identical: {rebuilt}")
            found.rates.append(rebuilt[-1].messages / rebuilt[-1].seconds)
            found.reads, found.older, seconds = found.reads + traffic.reads, found.older + traffic.older, took
    return found


async def _as_of(callosum: CorpusCallosum, positions: list[int]) -> list[float]:
    """Seconds for a measure as of each of them."""
    times: list[float] = []
    for position in positions:
        started = time.perf_counter()
        await callosum.consciousness_metrics(Kind.LIVE, as_of=position)
        times.append(time.perf_counter() - started)
    return times


async def measured(url: str, rounds: int, moments: int) -> Report:
    settings = Settings(url=url, deliver=False, capacity=0)
    async with CorpusCallosum.open(settings=settings) as callosum:
        for name in callosum.projections.names:
            await callosum.read_model(name, lambda _connection, position: position)
        gc.collect()
        gc.freeze()
        fresh = await _ages(callosum)
        with ProcessPoolExecutor(1, get_context("spawn")) as another:
            elsewhere = await asyncio.get_running_loop().run_in_executor(another, _ages_elsewhere, url)
        head = (await callosum.consciousness_metrics()).position
        alone = (await callosum.projections.rebuild())[-1]
        found = await _rounds(callosum, rounds, alone.seconds)
        positions = sorted(random.Random(1).sample(range(1, head), min(moments, head - 1)))  # no secret
        times = await _as_of(callosum, positions)
    return Report(
        messages=alone.messages,
        fresh_ms=median(fresh) * 1000,
        fresh_max_ms=max(fresh) * 1000,
        fresh_elsewhere_ms=median(elsewhere) * 1000,
        fresh_elsewhere_max_ms=max(elsewhere) * 1000,
        alone_messages_a_second=alone.messages / alone.seconds,
        messages_a_second=median(found.rates),
        send_ms=median(found.without) * 1000,
        send_during_rebuild_ms=median(found.during) * 1000,
        send_ratio=median(b / a for a, b in zip(found.without, found.during, strict=True)),
        reads=found.reads,
        older=found.older,
        as_of_ms=median(times) * 1000,
        as_of_max_ms=max(times) * 1000,
        unequal=_unequal(url, positions),
    )


def _unequal(url: str, positions: list[int]) -> int:
    """How many of these moments differ from a fold from the beginning, which stops at each of them."""
    log, fresh = DialogueLog(store_environment(url)), ReadModels()
    models = ReadModels(f"{url.removeprefix('sqlite:///').removesuffix('.db')}.views.db")
    projection = Consciousness()
    generation = models.serving(projection.NAME, version_of(projection))
    assert generation is not None, "it was asked"
    model = fresh.model(fresh.claim(projection.NAME, version_of(projection)), projection)
    folding = Folding(Feed(log), model, projection, OnError.FAIL)
    folding.resume()
    unequal = 0
    for position in positions:
        while folding.step(position):
            pass
        with (
            model.reading() as expected,
            as_of(models.model(generation, projection), Consciousness(), log, position) as found,
        ):
            unequal += digest(expected, projection.TABLES) != digest(found, projection.TABLES)
    for each in (models, fresh, log):
        each.close()
    return unequal


def _show(report: Report) -> None:
    print("From the receipt of a message until a read model has it, on a quiet log")
    print(f"  for who sent it                    {report.fresh_ms:>12.1f} ms, at most {report.fresh_max_ms:.1f}")
    elsewhere = f"{report.fresh_elsewhere_ms:>12.1f} ms, at most {report.fresh_elsewhere_max_ms:.1f}"
    print(f"  in a process that does not fold    {elsewhere}")
    print(f"Rebuilding all read models of {report.messages:,} messages in events of {MESSAGES_AN_EVENT}")
    print(f"  alone                              {report.alone_messages_a_second:>12,.0f} messages/s")
    print(f"  with 500 messages/s and a reader   {report.messages_a_second:>12,.0f} messages/s")
    print(f"  a send meanwhile, median           {report.send_during_rebuild_ms:>12.2f} ms")
    print(f"  a send without it, median          {report.send_ms:>12.2f} ms")
    print(f"  ratio, median of the rounds        {report.send_ratio:>12.2f}")
    print(f"  answers that said less than before {report.older:>12} of {report.reads}")
    print(f"A measure as of a random position    {report.as_of_ms:>12.1f} ms, at most {report.as_of_max_ms:.1f}")
    print(f"  different from a fold up to there  {report.unequal:>12}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/bench.db"
        log = DialogueLog(store_environment(url))
        events = 1 + asked.messages // (MESSAGES_AN_EVENT * DIALOGUES)
        fill(log, events, dialogues=DIALOGUES, messages=MESSAGES_AN_EVENT, say=conversation(1))
        log.close()
        report = asyncio.run(measured(url, asked.rounds, asked.moments))
    if asked.json:
        print(msgspec.json.encode(report).decode())
    else:
        _show(report)


if __name__ == "__main__":
    main()
