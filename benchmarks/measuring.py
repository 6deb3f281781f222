"""What the benchmarks share: what is sent, measures taken in turns, a server of their own, and figures shown.

The speed of a machine drifts. So what is compared is measured in turns, round by round, and what counts is the
median of the rounds' ratios; the ratio of the medians stands beside it, and where the two differ much the run was
disturbed.
"""

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Literal
from uuid import UUID, uuid4

import msgspec

from application.log import DialogueLog
from corpus_callosum import Dialogue, Message, Settings, Tract
from infrastructure.redis_streams.binaries import find_binaries
from infrastructure.redis_streams.private_server import PrivateServer

__all__ = [
    "BATCH",
    "SENDERS",
    "Figures",
    "Measure",
    "Report",
    "Work",
    "crowd",
    "encoded",
    "fill",
    "in_turns",
    "message",
    "private_server",
    "report",
    "settings",
    "settle_down",
    "show",
    "timed",
]

BATCH = 1000
SENDERS = 64
PAYLOAD = "x" * 100
EVENTS_AN_APPEND = 256

Figures = dict[str, list[float]]
"""Seconds by what was measured, one for each round."""

Work = Callable[[], Awaitable[object]]

Measure = tuple[Callable[[], Awaitable[float]], int]
"""The seconds that something takes, and of how many it is, by which they are divided."""


class Report(msgspec.Struct):
    """Medians of the rounds.

    Attributes:
        unit: of what there are so many a second: messages, loads.
        a_second, microseconds: by what was measured; the second is for one of the unit.
        rate_against: ours by theirs, from "ours / theirs", as (median of the ratios, ratio of the medians).
    """

    unit: str
    a_second: dict[str, float]
    microseconds: dict[str, float]
    rate_against: dict[str, tuple[float, float]]


def message() -> Message:
    return Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="planner", payload=PAYLOAD)


def settle_down() -> None:
    """What the README says of a loop that must not be late. It is the same for whatever is measured afterwards."""
    gc.collect()
    gc.freeze()
    sys.setswitchinterval(0.001)


def settings(url: str) -> Settings:
    """Commands and the log alone, and nothing left behind in the user's cache directory."""
    return Settings(url=url, project=False, views="sqlite://", deliver=False)


def _stamped() -> Message:
    return msgspec.structs.replace(message(), sent_at=time.time_ns() // 1000)


def encoded() -> bytes:
    """One message in the form that the service stores it in."""
    return msgspec.msgpack.encode(_stamped())


async def timed(work: Work, times: int) -> float:
    """Seconds for so many times, one after the other."""
    started = time.perf_counter()
    for _ in range(times):
        await work()
    return time.perf_counter() - started


async def crowd(work: Work, times: int, callers: int = SENDERS) -> float:
    """Seconds for so many callers at once, each of whom waits for its answer before it asks again."""
    started = time.perf_counter()
    await asyncio.gather(*(timed(work, times) for _ in range(callers)))
    return time.perf_counter() - started


async def in_turns(measures: Mapping[str, Measure], rounds: int) -> Figures:
    """Take every measure once a round, every other round backwards, as each leaves its traces in the next one.

    One round more, the first, warms up and is not counted.
    """
    figures: Figures = {name: [] for name in measures}
    for number in range(rounds + 1):
        for name, (measure, count) in list(measures.items())[:: -1 if number % 2 else 1]:
            figures[name].append(await measure() / count)
    return {name: taken[1:] for name, taken in figures.items()}


def report(figures: Figures, against: Sequence[tuple[str, str]], unit: str = "messages") -> Report:
    """`against`: pairs of ours and theirs."""
    medians = {name: median(taken) for name, taken in figures.items()}
    return Report(
        unit,
        {name: 1 / seconds for name, seconds in medians.items()},
        {name: seconds * 1e6 for name, seconds in medians.items()},
        {
            f"{ours} / {theirs}": (
                median(b / a for a, b in zip(figures[ours], figures[theirs], strict=True)),
                medians[theirs] / medians[ours],
            )
            for ours, theirs in against
        },
    )


def show(title: str, figures: Report) -> None:
    print(title)
    for name, rate in figures.a_second.items():
        print(f"  {name:<44}{rate:>12,.0f} {figures.unit}/s{figures.microseconds[name]:>12,.2f} µs")
    for name, (ratios, medians) in figures.rate_against.items():
        print(f"  {name:<76}{ratios:>8.2f}   of medians {medians:.2f}")


@contextmanager
def private_server(fsync: Literal["always", "everysec"]) -> Iterator[PrivateServer]:
    """The first server of this machine, in a directory of its own, gone afterwards."""
    binaries = find_binaries()
    if not binaries:
        raise SystemExit("No Redis or Valkey server was found: apt-get install redis-server, or --store sqlite")
    # A rewrite of the append-only file would fall on whichever side is being measured.
    options = {"auto-aof-rewrite-percentage": "0"}
    with (
        TemporaryDirectory() as directory,
        PrivateServer(binaries[0], Path(directory), fsync=fsync, options=options) as server,
    ):
        yield server


def fill(
    log: DialogueLog, events: int, *, dialogues: int = 1, messages: int = 1, say: Callable[[], Message] = _stamped
) -> list[UUID]:
    """Append dialogues whose events alternate: of so many events, each but the first with so many messages."""
    now = datetime.now(UTC)
    made = [Dialogue.open(uuid4(), "bench", {}, now=now) for _ in range(dialogues)]
    step = max(1, EVENTS_AN_APPEND // (dialogues * messages))
    for start in range(0, events, step):
        for _ in range(max(start, 1), min(start + step, events)):
            for dialogue in made:
                dialogue.convey([say() for _ in range(messages)], kept=True, now=now)
        alternating = chain.from_iterable(zip(*(dialogue.collect_events() for dialogue in made), strict=True))
        log.recorder.insert_events([log.mapper.to_stored_event(event) for event in alternating])
    return [dialogue.id for dialogue in made]
