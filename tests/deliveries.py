"""Short ways to have messages delivered, and to see what became of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from application.settings import IN_MEMORY
from corpus_callosum import (
    Consumer,
    CorpusCallosum,
    Delivery,
    DeliverySettings,
    Message,
    Outcome,
    Settings,
    Subscription,
    Tract,
)

__all__ = [
    "SHORT",
    "bounded",
    "filled",
    "following",
    "idle",
    "message",
    "nothing_comes",
    "outcomes",
    "say",
    "settled",
]

SHORT = DeliverySettings(ack_wait=0.4, backoff=0.01)


def message(payload: object, **fields: Any) -> Message:
    return Message(source=Tract.INTERNAL, target=Tract.EXTERNAL, sender="planner", payload=payload, **fields)


async def say(callosum: CorpusCallosum, dialogue: UUID, *payloads: object, **fields: Any) -> None:
    await callosum.send_many(dialogue, [message(payload, **fields) for payload in payloads])


async def following(subscription: Subscription) -> Delivery:
    return await asyncio.wait_for(anext(subscription), 5)


async def nothing_comes(subscription: Subscription) -> bool:
    """A pause that is long for what is to be delivered at once."""
    task = asyncio.ensure_future(anext(subscription))
    done, _ = await asyncio.wait({task}, timeout=0.15)
    task.cancel()
    return not done


async def settled(callosum: CorpusCallosum, count: int) -> list[Outcome]:
    """Follow the log until there are so many outcomes."""
    ended: list[Outcome] = []
    async with asyncio.timeout(10):
        async for recorded in callosum.follow():
            if isinstance(recorded.event, Consumer.Settled):
                ended += recorded.event.outcomes
            if len(ended) >= count:
                return ended
    raise AssertionError("the service was closed before")


async def filled(subscription: Subscription, count: int) -> None:
    """Wait until so many are in the subscription's hands, and nobody has asked for them."""
    async with asyncio.timeout(10):
        while len(subscription._ready) < count:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)


async def idle(subscription: Subscription) -> None:
    """It has looked, and waits."""
    async with asyncio.timeout(10):
        while subscription._claimed:  # noqa: ASYNC110  # nothing tells of it
            await asyncio.sleep(0)


async def outcomes(callosum: CorpusCallosum) -> list[Outcome]:
    return [
        outcome
        async for recorded in callosum.replay()
        if isinstance(recorded.event, Consumer.Settled)
        for outcome in recorded.event.outcomes
    ]


@asynccontextmanager
async def bounded(url: str, capacity: int, **settings: Any) -> AsyncIterator[CorpusCallosum]:
    """Without read models unless one asks for them: keeping them takes half of a short test's time."""
    opening = {"project": False, "views": IN_MEMORY, **settings}
    async with CorpusCallosum.open(settings=Settings(url=url, capacity=capacity, **opening)) as callosum:
        yield callosum
