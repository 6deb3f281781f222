"""Short ways to have gates decide, and to see what they decided."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

import pytest

from corpus_callosum import (
    CircuitState,
    CorpusCallosum,
    DeliverySettings,
    Gate,
    Message,
    Recorded,
    Settings,
    Tract,
    Transition,
    Wait,
)
from domain.gate import CircuitMoved, gate_id
from tests.deliveries import message

__all__ = [
    "FAST",
    "PATIENT",
    "ScriptedAgent",
    "counting",
    "fail",
    "gate_events",
    "guarded",
    "put",
    "state_of",
    "succeed",
    "transitions",
    "until",
    "until_state",
    "waiting",
]


FAST: dict[str, Any] = {
    "sliding_window_size": 10,
    "minimum_number_of_calls": 10,
    "wait_in_open": 0.3,
    "permitted_calls_in_half_open": 3,
}
PATIENT: Final = DeliverySettings(max_deliver=1000, backoff=0.001, most_backoff=0.001)


async def fail(_message: Message) -> object:
    raise ConnectionError("the tool is away")


async def succeed(_message: Message) -> object:
    return None


class ScriptedAgent:
    """An agent that does what it is told to do now."""

    def __init__(self, act: Callable[[Message], Awaitable[object]]) -> None:
        self.act = act
        self.handled = 0

    async def handle(self, message: Message) -> object:
        self.handled += 1
        return await self.act(message)


@asynccontextmanager
async def guarded(url: str, **settings: Any) -> AsyncIterator[CorpusCallosum]:
    async with CorpusCallosum.open(settings=Settings(url=url, gate={**FAST, **settings})) as callosum:
        yield callosum


async def until(reached: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what nothing tells of."""
    async with asyncio.timeout(15):
        while not await reached():  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)


async def put(callosum: CorpusCallosum, dialogue: UUID, *payloads: object, patience: float = 5.0) -> None:
    """Say it when there is room."""
    await callosum.send_many(dialogue, [message(payload) for payload in payloads], when_full=Wait(patience))


async def waiting(callosum: CorpusCallosum, count: int) -> None:
    """Until so many senders stand in line."""

    async def stand() -> bool:
        return len(callosum._open.admission._rooms[Tract.EXTERNAL]) == count

    await until(stand)


def counting(kind: type, store: object, calls: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have all calls of a store counted, as far as they are of its kind."""

    def counted(name: str, method: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **more: object) -> object:
            calls[name] += 1
            return method(*arguments, **more)

        return call

    for name in dir(kind):
        if not name.startswith("_") and callable(method := getattr(store, name)):
            monkeypatch.setattr(store, name, counted(name, method))


async def gate_events(callosum: CorpusCallosum, *kinds: type) -> Sequence[Recorded]:
    return [recorded async for recorded in callosum.replay() if isinstance(recorded.event, kinds or Gate.Event)]


async def state_of(callosum: CorpusCallosum, tract: Tract = Tract.EXTERNAL) -> CircuitState:
    """By the read model."""
    metrics = await callosum.gates.metrics()
    return (metrics.internal if tract is Tract.INTERNAL else metrics.external).state


def transition_in(recorded: Recorded) -> Transition:
    assert isinstance(recorded.event, CircuitMoved), recorded.topic
    return recorded.event.transition


async def transitions(callosum: CorpusCallosum) -> Sequence[Transition]:
    """Of both tracts, as the log tells of them."""
    return [transition_in(recorded) for recorded in await gate_events(callosum, CircuitMoved)]


async def until_state(
    callosum: CorpusCallosum, state: CircuitState, tract: Tract = Tract.EXTERNAL, *, beyond: int = 0
) -> Transition:
    """Follow the log until it tells that the circuit has this state, in a generation beyond that."""
    async with asyncio.timeout(15):
        async for recorded in callosum.follow():
            is_one = isinstance(recorded.event, CircuitMoved) and recorded.event.originator_id == gate_id(tract)
            if is_one and (moved := transition_in(recorded)).state is state and moved.generation > beyond:
                return moved
    raise AssertionError("the service was closed before")
