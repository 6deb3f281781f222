"""The part of `bench_gate` that has a service: the other tract's latency, and that of a refusal."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from statistics import median
from typing import Final
from uuid import UUID

from benchmarks.measuring import PAYLOAD, Measure, Report, in_turns, report
from corpus_callosum import (
    BackpressureError,
    CallNotPermittedError,
    CircuitState,
    CorpusCallosum,
    DeliverySettings,
    RecordedMessage,
    Settings,
    Tract,
)

__all__ = ["neighbours", "refusals"]

PACE: Final = 100
"""Messages a second into each tract."""

HANDS: Final = 16
TURN: Final = 0.4
"""Seconds after which what flaps does otherwise."""

PATIENT: Final = DeliverySettings(max_deliver=1_000_000, backoff=0.02, most_backoff=0.1)
GATE: Final = {
    "external": {
        "sliding_window_size": 20,
        "minimum_number_of_calls": 20,
        "wait_in_open": 0.1,
        "permitted_calls_in_half_open": 5,
    }
}
WELL, FAILS, FLAPS = "both tracts are well", "the other one's handler fails", "the other one's circuit flaps"
FULL, OPEN = "refused: the tract is full", "refused: its circuit is open"
EACH: Final = 2000
"""Refusals of a round."""


class Neighbour:
    """The agent of the tract that is measured."""

    def __init__(self) -> None:
        self.latencies: list[float] = []

    async def handle(self, message: RecordedMessage) -> None:
        assert isinstance(message.payload, dict), "as it was sent"
        sent = message.payload["sent"]
        assert isinstance(sent, float), "as it was sent"
        self.latencies.append(time.perf_counter() - sent)


class Troubled:
    """The agent of the other one. `fails`: whether it does, at a time of the loop's."""

    def __init__(self) -> None:
        self.fails: Callable[[float], bool] = lambda _now: False

    async def handle(self, _message: RecordedMessage) -> None:
        if self.fails(asyncio.get_running_loop().time()):
            raise ConnectionError("the tool is away")


async def send(callosum: CorpusCallosum, dialogue: UUID, target: Tract) -> None:
    source = Tract.EXTERNAL if target is Tract.INTERNAL else Tract.INTERNAL
    payload = {"sent": time.perf_counter(), "text": PAYLOAD}
    with suppress(CallNotPermittedError):
        await callosum.send(dialogue, source=source, target=target, sender="bench", payload=payload)


async def paced(work: Callable[[], Awaitable[object]], seconds: float) -> None:
    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(round(PACE * seconds)):
            await asyncio.sleep(max(0.0, began + number / PACE - time.perf_counter()))
            group.create_task(_done(work))


async def _done(work: Callable[[], Awaitable[object]]) -> None:
    await work()


class Neighbourhood:
    """One service, with an agent on each tract."""

    def __init__(self, callosum: CorpusCallosum, dialogue: UUID, neighbour: Neighbour, troubled: Troubled) -> None:
        self._callosum, self._dialogue = callosum, dialogue
        self._neighbour, self._troubled = neighbour, troubled

    @classmethod
    @asynccontextmanager
    async def at(cls, url: str) -> AsyncIterator["Neighbourhood"]:
        neighbour, troubled = Neighbour(), Troubled()
        settings = Settings(url=url, views="sqlite://", gate=GATE)
        async with (
            CorpusCallosum.open(settings=settings) as callosum,
            callosum.attach(neighbour, Tract.INTERNAL, "planner", concurrency=HANDS),
            callosum.attach(troubled, Tract.EXTERNAL, "tool", concurrency=HANDS, delivery=PATIENT),
        ):
            yield cls(callosum, await callosum.open_dialogue("bench"), neighbour, troubled)

    async def latency(self, seconds: float, fails: Callable[[float], bool]) -> float:
        """The median; the other tract begins empty and with a closed circuit."""
        await self._begin_anew()
        self._troubled.fails = fails
        self._neighbour.latencies.clear()
        await asyncio.gather(
            *(paced(partial(send, self._callosum, self._dialogue, tract), seconds) for tract in Tract)
        )
        return median(self._neighbour.latencies)

    async def _begin_anew(self) -> None:
        self._troubled.fails = lambda _now: False
        await self._callosum.gates.force(Tract.EXTERNAL, CircuitState.CLOSED, by="bench", why="a round begins")
        while (await self._callosum.inbox())[1].backlog:  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)


async def neighbours(url: str, rounds: int, seconds: float) -> Report:
    """From just before the send to the handler, for messages of the one tract, with the other one as it is."""
    async with Neighbourhood.at(url) as tracts:
        measures: dict[str, Measure] = {
            WELL: (lambda: tracts.latency(seconds, lambda _now: False), 1),
            FAILS: (lambda: tracts.latency(seconds, lambda _now: True), 1),
            FLAPS: (lambda: tracts.latency(seconds, lambda now: now % (2 * TURN) < TURN), 1),
        }
        return report(await in_turns(measures, rounds), [(WELL, FAILS), (WELL, FLAPS)], unit="deliveries")


async def refused(callosum: CorpusCallosum, dialogue: UUID, target: Tract) -> float:
    """The median of many, one after the other. Every 50 ms one of them asks the store."""
    taken = []
    for _ in range(EACH):
        began = time.perf_counter()
        try:
            await callosum.send(dialogue, source=target, target=target, sender="bench", payload=PAYLOAD)
        except (BackpressureError, CallNotPermittedError):
            taken.append(time.perf_counter() - began)
    assert len(taken) == EACH
    return median(taken)


async def refusals(url: str, rounds: int) -> Report:
    settings = Settings(url=url, project=False, views="sqlite://", gate={"internal": {"capacity": 1}})
    async with CorpusCallosum.open(settings=settings) as callosum:
        dialogue = await callosum.open_dialogue("bench")
        await send(callosum, dialogue, Tract.INTERNAL)
        await callosum.gates.force(Tract.EXTERNAL, CircuitState.FORCED_OPEN, by="bench", why="to be refused")
        measures: dict[str, Measure] = {
            FULL: (lambda: refused(callosum, dialogue, Tract.INTERNAL), 1),
            OPEN: (lambda: refused(callosum, dialogue, Tract.EXTERNAL), 1),
        }
        return report(await in_turns(measures, rounds), [], unit="refusals")
