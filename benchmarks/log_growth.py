"""The parts of `bench_append` about a log that grows, on Redis: what a message weighs, and whether length costs.

A log is never trimmed, so its bytes decide how long a server's memory lasts, and an append must not cost more
because of what was appended before.
"""

import os
from collections.abc import Awaitable
from contextlib import closing
from statistics import median
from time import perf_counter
from uuid import UUID

import msgspec

from application.log import DialogueLog
from application.settings import store_environment
from benchmarks.append_redis import Bare
from benchmarks.measuring import BATCH, Figures, Work, fill, message, settings, timed
from corpus_callosum import CorpusCallosum

__all__ = ["Weight", "growth", "growth_against", "weights"]

WEIGHED = {"lone messages": (1, 10_000), "batches of 1000": (BATCH, 100)}
"""Messages of a command, and how many commands."""

FILLED = 250
"""Dialogues that a long log is made of."""

COMMANDS = {1: 200, BATCH: 40}
"""Commands a round, by the messages of a command."""


class Weight(msgspec.Struct):
    """Bytes a message in the server's memory, and in its append-only file before any rewrite."""

    memory: float
    file: float


async def weights(url: str) -> dict[str, Weight]:
    """Of what the service stores, and of the same entries added by a bare client."""
    found: dict[str, Weight] = {}
    async with CorpusCallosum.open(settings=settings(url)) as callosum:
        with closing(Bare(url)) as bare:
            for name, (count, times) in WEIGHED.items():
                ours, theirs = await _weighed(callosum, bare, count, times)
                found |= {f"send_many, {name}": ours, f"bare XADD, {name}": theirs}
    return found


async def _weighed(callosum: CorpusCallosum, bare: Bare, count: int, times: int) -> tuple[Weight, Weight]:
    send = _sender(callosum, await callosum.open_dialogue("bench"), count)
    await send()  # what the first command brings along is not a message's
    entry = bare.last_entry()
    await bare.add(entry, 1)
    before = bare.size()
    await timed(send, times)
    between = bare.size()
    await bare.add(entry, times)
    return _weight(before, between, count * times), _weight(between, bare.size(), count * times)


def _weight(before: tuple[int, int], after: tuple[int, int], messages: int) -> Weight:
    return Weight((after[0] - before[0]) / messages, (after[1] - before[1]) / messages)


def _sender(callosum: CorpusCallosum, dialogue: UUID, count: int) -> Work:
    batch = [message() for _ in range(count)]

    def send() -> Awaitable[object]:
        return callosum.send_many(dialogue, batch)

    return send


def growth_against(messages: int) -> list[tuple[str, str]]:
    """What is measured on the long log and on the new one."""
    return [
        (f"{count} a command, log of {messages:,} messages", f"{count} a command, new log") for count in COMMANDS
    ]


async def growth(url: str, messages: int, rounds: int) -> Figures:
    """Seconds a command, each round's median, on a log of so many messages, one an event, and on a new one."""
    long, short = f"{url}?namespace=long", f"{url}?namespace=short"
    spoken, fresh = _filled(long, messages // FILLED + 1, FILLED), _filled(short, 1, 1)
    os.sync()  # or the system would write what filling left while the appends are measured
    async with (
        CorpusCallosum.open(settings=settings(long)) as full,
        CorpusCallosum.open(settings=settings(short)) as new,
    ):
        figures: Figures = {}
        for (on_full, on_new), (count, times) in zip(growth_against(messages), COMMANDS.items(), strict=True):
            sends = (_sender(full, spoken, count), _sender(new, fresh, count))
            taken = [await _side_by_side(sends, times) for _ in range(rounds + 1)]
            figures[on_full], figures[on_new] = ([both[which] for both in taken[1:]] for which in (0, 1))
        return figures


async def _side_by_side(works: tuple[Work, Work], times: int) -> tuple[float, float]:
    """The median seconds of each of two, taken in turns call by call: one, two, two, one and so on."""
    taken: tuple[list[float], list[float]] = ([], [])
    for number in range(2 * times):
        which = (number + number // 2) % 2
        started = perf_counter()
        await works[which]()
        taken[which].append(perf_counter() - started)
    return median(taken[0]), median(taken[1])


def _filled(url: str, events: int, dialogues: int) -> UUID:
    """Make a log; one of its dialogues."""
    log = DialogueLog(store_environment(url))
    try:
        return fill(log, events, dialogues=dialogues)[0]
    finally:
        log.close()
