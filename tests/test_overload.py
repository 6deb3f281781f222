"""Senders that bring ten times what is settled: the tract stays within its capacity, and nothing is lost.

Four processes send and one settles. Those that send keep no read models current; this one does.
"""

import asyncio
import subprocess
import sys
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from resource import getpagesize
from statistics import median
from time import perf_counter
from typing import Any, Final
from uuid import UUID

import msgspec
import pytest

from corpus_callosum import (
    BackpressureError,
    Consumer,
    CorpusCallosum,
    Dialogue,
    Fail,
    Receipt,
    Result,
    Settings,
    Tract,
    Wait,
)
from tests.deliveries import message
from tests.gates import until
from tests.processes import start
from tests.test_delivery_processes import killed_at_the_end

SENDERS: Final = 4
HANDS: Final = 8
WORK: Final = 0.04
"""Seconds that one of the hands takes over a message; so 200 a second are settled, or fewer."""

CAPACITY: Final = 500
PACE: Final = 500
"""Messages a second that each process tries to send: together ten times as many."""

USUAL: Final = 20
"""Messages of which the usual time is the median."""

CONSUMER: Final = """
import asyncio, sys
from tests.test_overload import consume
asyncio.run(consume(sys.argv[1]))
"""
FLOOD: Final = """
import asyncio, sys
from tests.test_overload import flood
asyncio.run(flood(sys.argv[1], sys.argv[2], float(sys.argv[3])))
"""
CROWD: Final = """
import asyncio, sys
from tests.test_overload import crowd
asyncio.run(crowd(sys.argv[1], sys.argv[2], float(sys.argv[3])))
"""


# In processes of their own


def service(url: str, **gate: Any) -> CorpusCallosum:
    return CorpusCallosum.open(settings=Settings(url=url, project=False, views="sqlite://", gate=gate))


def tell(what: object) -> None:
    sys.stdout.write(msgspec.json.encode(what).decode() + "\n")
    sys.stdout.flush()


async def asked_to_begin() -> None:
    tell("ready")
    assert await asyncio.to_thread(sys.stdin.readline) == "go\n"


class Agent:
    async def handle(self, _message: object) -> None:
        await asyncio.sleep(WORK)


async def consume(url: str) -> None:
    async with service(url) as callosum, callosum.attach(Agent(), Tract.EXTERNAL, "tool", concurrency=HANDS):
        tell("ready")
        await asyncio.Event().wait()


class Flooded(msgspec.Struct):
    """How it went for one process.

    Attributes:
        refusal_median, refusal_p99: seconds.
        quarter, later: MB that are resident, at most, in the first quarter and after it.
    """

    accepted: int
    refused: int
    refusal_median: float
    refusal_p99: float
    quarter: float
    later: float


class Flood:
    """Messages at a pace, whatever becomes of those before them."""

    def __init__(self, callosum: CorpusCallosum, dialogue: UUID, seconds: float) -> None:
        self._callosum, self._dialogue, self._seconds = callosum, dialogue, seconds
        self._refusals = array("d", bytes(8 * round(PACE * seconds)))
        self._accepted = self._refused = 0
        self._quarter = self._later = 0.0

    async def run(self) -> Flooded:
        began = perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(round(PACE * self._seconds)):
                await asyncio.sleep(max(0.0, began + number / PACE - perf_counter()))
                group.create_task(self._send())
                if number % (PACE // 10) == 0:
                    self._look(number / PACE)
        refusals = sorted(self._refusals[: self._refused])
        p99 = refusals[len(refusals) * 99 // 100]
        return Flooded(self._accepted, self._refused, median(refusals), p99, self._quarter, self._later)

    async def _send(self) -> None:
        began = perf_counter()
        try:
            await self._callosum.send_many(self._dialogue, [message("x" * 100)], when_full=Fail())
        except BackpressureError:
            self._refusals[self._refused] = perf_counter() - began
            self._refused += 1
        else:
            self._accepted += 1

    def _look(self, second: float) -> None:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * getpagesize() / 1e6
        if second <= self._seconds / 4:
            self._quarter = max(self._quarter, resident)
        else:
            self._later = max(self._later, resident)


async def flood(url: str, dialogue: str, seconds: float) -> None:
    async with service(url) as callosum:
        await asked_to_begin()
        flooded = await Flood(callosum, UUID(dialogue), seconds).run()
    tell(flooded)


async def crowd(url: str, dialogue: str, seconds: float) -> None:
    """Ten who wait for room, again and again."""
    admitted = Counter[int]()

    async def send(callosum: CorpusCallosum, number: int) -> None:
        while True:
            await callosum.send_many(UUID(dialogue), [message(number)], when_full=Wait(60))
            admitted[number] += 1

    async with service(url) as callosum:
        await asked_to_begin()
        senders = [asyncio.create_task(send(callosum, number)) for number in range(10)]
        await asyncio.wait(senders, timeout=seconds)
        for sender in senders:
            sender.cancel()
        await asyncio.gather(*senders, return_exceptions=True)
    tell([admitted[number] for number in range(10)])


# In this one


async def heard(process: subprocess.Popen[str]) -> bytes:
    assert process.stdout is not None
    line = await asyncio.to_thread(process.stdout.readline)
    assert line, process.communicate()
    return line.encode()


@contextmanager
def running(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    with killed_at_the_end(start("-c", script, *arguments)) as process:
        yield process


async def sent_by_all(
    script: str, url: str, dialogues: Sequence[UUID], seconds: float
) -> tuple[list[bytes], float]:
    """What each of the processes tells after so many seconds, and how many it were till the last has."""
    with ExitStack() as stack:
        processes = [
            stack.enter_context(running(script, url, str(dialogue), str(seconds))) for dialogue in dialogues
        ]
        for process in processes:
            assert await heard(process) == b'"ready"\n'
        began = perf_counter()
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        return await asyncio.gather(*map(heard, processes)), perf_counter() - began


async def until_acked(callosum: CorpusCallosum, receipt: Receipt) -> None:
    async for recorded in callosum.follow(after=receipt.position):
        if isinstance(recorded.event, Consumer.Settled):
            for outcome in recorded.event.outcomes:
                if (outcome.dialogue, outcome.sequence) == (receipt.dialogue, receipt.sequence):
                    return


async def sent_and_acked(callosum: CorpusCallosum, dialogue: UUID) -> float:
    """Seconds that it takes."""
    began = perf_counter()
    while True:
        try:
            [receipt] = await callosum.send_many(dialogue, [message("usual")])
        except BackpressureError as full:
            await asyncio.sleep(full.retry_after)
        else:
            await until_acked(callosum, receipt)
            return perf_counter() - began


async def usual_again(callosum: CorpusCallosum, dialogue: UUID, usual: float) -> float:
    """Seconds until a message takes no longer than usual, give or take what a busy machine does to it."""
    began = perf_counter()
    while await sent_and_acked(callosum, dialogue) > 1.5 * usual + 0.02:
        pass
    return perf_counter() - began


@asynccontextmanager
async def watched(callosum: CorpusCallosum) -> AsyncIterator[list[int]]:
    """The backlog, every now and then."""
    backlogs: list[int] = []

    async def look() -> None:
        while True:
            backlogs.append((await callosum.inbox())[1].backlog)
            await asyncio.sleep(0.02)

    looking = asyncio.create_task(look())
    try:
        yield backlogs
    finally:
        looking.cancel()


async def counted(callosum: CorpusCallosum) -> tuple[Counter[UUID], Counter[tuple[UUID, int]]]:
    """By what the log tells: the messages of each dialogue, and how often each was acked."""
    accepted, acked = Counter[UUID](), Counter[tuple[UUID, int]]()
    async for recorded in callosum.replay():
        if isinstance(recorded.event, Dialogue.Conveyed):
            accepted[recorded.event.originator_id] += len(recorded.event.messages)
        elif isinstance(recorded.event, Consumer.Settled):
            acked.update((o.dialogue, o.sequence) for o in recorded.event.outcomes if o.result is Result.ACKED)
    return accepted, acked


async def _is_empty(callosum: CorpusCallosum) -> bool:
    return (await callosum.inbox())[1].backlog == 0


def listed(figures: Iterable[float], digits: int) -> str:
    return ", ".join(f"{figure:.{digits}f}" for figure in figures)


async def overloaded(url: str, seconds: float) -> None:
    async with CorpusCallosum.open(settings=Settings(url=url, gate={"capacity": CAPACITY})) as callosum:
        own, *dialogues = [await callosum.open_dialogue("overload") for _ in range(1 + SENDERS)]
        with running(CONSUMER, url) as consumer:
            assert await heard(consumer) == b'"ready"\n'
            usual = median([await sent_and_acked(callosum, own) for _ in range(USUAL)])
            settled = (await callosum.deliveries()).external.acked
            async with watched(callosum) as backlogs:
                told, took = await sent_by_all(FLOOD, url, dialogues, seconds)
                rate = ((await callosum.deliveries()).external.acked - settled) / took
                back = await usual_again(callosum, own, usual)
                await until(partial(_is_empty, callosum))
        accepted, acked = await counted(callosum)
        metrics = (await callosum.deliveries()).external
        gate = (await callosum.gates.metrics()).external
    flooded = [msgspec.json.decode(line, type=Flooded) for line in told]
    tried = sum(each.accepted + each.refused for each in flooded)
    sys.stdout.write(
        f"\n{tried / took:,.0f} messages/s sent, {rate:,.0f} settled: {metrics.accepted:,} accepted in all, "
        f"{gate.refused_by_capacity:,} refused\n"
        f"backlog at most {metrics.backlog_peak} by the log, {max(backlogs)} in {len(backlogs)} looks\n"
        f"a refusal: median {listed((each.refusal_median * 1e3 for each in flooded), 3)} ms, "
        f"p99 {listed((each.refusal_p99 * 1e3 for each in flooded), 1)} ms\n"
        f"memory in the first quarter {listed((each.quarter for each in flooded), 1)} MB, "
        f"then {listed((each.later for each in flooded), 1)} MB\n"
        f"send to ack: {usual * 1e3:.0f} ms before, and again {back:.2f} s after the end\n"
    )
    assert metrics.backlog_peak <= CAPACITY
    assert max(backlogs) <= CAPACITY
    assert max(each.refusal_median for each in flooded) < 0.005
    assert all(each.later < each.quarter + 4 for each in flooded)
    assert [accepted[dialogue] for dialogue in dialogues] == [each.accepted for each in flooded]
    assert len(acked) == accepted.total() == acked.total()
    assert gate.refused_by_capacity >= sum(each.refused for each in flooded)
    assert back < 5


@pytest.mark.timing
@pytest.mark.slow
async def test_three_seconds_of_overload_leave_the_tract_within_its_capacity(lasting_url: str) -> None:
    await overloaded(lasting_url, 3)


@pytest.mark.stress
async def test_thirty_seconds_of_overload_leave_the_tract_within_its_capacity(lasting_url: str) -> None:
    await overloaded(lasting_url, 30)


@pytest.mark.stress
async def test_who_waits_gets_the_same_share_in_whatever_process(lasting_url: str) -> None:
    async with CorpusCallosum.open(settings=Settings(url=lasting_url, gate={"capacity": 50})) as callosum:
        dialogues = [await callosum.open_dialogue("crowded") for _ in range(SENDERS)]
        with running(CONSUMER, lasting_url) as consumer:
            assert await heard(consumer) == b'"ready"\n'
            told, _ = await sent_by_all(CROWD, lasting_url, dialogues, 20)
    admitted = [msgspec.json.decode(line, type=list[int]) for line in told]
    sums = [sum(each) for each in admitted]
    sys.stdout.write(
        f"\nadmissions of each process: {sums}, min/max {min(sums) / max(sums):.2f}\n"
        f"of each sender, min/max within a process: {listed((min(each) / max(each) for each in admitted), 2)}; "
        f"of all: {min(map(min, admitted)) / max(map(max, admitted)):.2f}\n"
    )
    assert min(map(min, admitted)) / max(map(max, admitted)) >= 0.8
