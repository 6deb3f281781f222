"""The smallest publisher that keeps the rules of Reactive Streams, and some that each break one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import ClassVar, Self

from tests.contract.reactive_streams import Publisher, PullSubscription

__all__ = ["Careless", "Eager", "Forgetful", "Fragile", "Numbering", "Numbers", "Recursive", "Reviving"]


class Numbers(Publisher):
    """The smallest publisher that keeps the rules: the elements are numbers, in a list."""

    refusal = ValueError
    failure = ConnectionError

    def __init__(self, subscription: "type[Numbering]") -> None:
        self.waiting: list[int] = []
        self.changed = asyncio.Event()
        self.subscriptions: dict[str, Numbering] = {}
        self._subscription = subscription
        self._published = 0

    @asynccontextmanager
    async def subscribe(self, demand: int = 0, *, name: str = "first") -> AsyncIterator[PullSubscription]:
        subscription = self.subscriptions[name] = self._subscription(self, name, demand)
        try:
            yield subscription
        finally:
            await subscription.cancel()

    async def publish(self, count: int) -> None:
        self.waiting += range(self._published, self._published + count)
        self._published += count
        self.change()

    def number(self, element: int) -> int:
        return element

    async def ack(self, element: int) -> None:
        for subscription in self.subscriptions.values():
            subscription.held.discard(element)

    async def fail(self) -> None:
        self.subscriptions["first"].finish(ConnectionError())

    async def close(self) -> None:
        for subscription in [*self.subscriptions.values()]:
            await subscription.cancel()

    def change(self) -> None:
        self.changed.set()
        self.changed = asyncio.Event()


class Numbering:
    first_demand: ClassVar = 0

    def __init__(self, publisher: Numbers, name: str, demand: int) -> None:
        self.demand = demand + self.first_demand
        self.held: set[int] = set()
        self.end: Exception | None = None
        self._publisher, self._name = publisher, name

    def request(self, count: int) -> None:
        if count <= 0:
            raise ValueError(count)
        self.demand += count
        self._publisher.change()

    async def cancel(self) -> None:
        self.finish(StopAsyncIteration())
        self._publisher.subscriptions.pop(self._name, None)

    def finish(self, end: Exception) -> None:
        self.end = self.end or end
        self._publisher.waiting = sorted([*self._publisher.waiting, *self.held])
        self.held.clear()
        self._publisher.change()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> int:
        while self.end is None:
            if self.demand > 0 and self._publisher.waiting:
                self.demand -= 1
                element = self._publisher.waiting.pop(0)
                self.held.add(element)
                return element
            await self._publisher.changed.wait()
        raise self.end


class Eager(Numbering):
    first_demand = 1


class Recursive(Numbering):
    def request(self, count: int) -> None:
        super().request(1)
        if count > 1:
            self.request(count - 1)


class Forgetful(Numbering):
    def request(self, count: int) -> None:
        self.demand = 0
        super().request(count)


class Careless(Numbering):
    async def cancel(self) -> None:
        self.held.clear()
        await super().cancel()


class Fragile(Numbering):
    async def cancel(self) -> None:
        if self.end is not None:
            raise self.end
        await super().cancel()


class Reviving(Numbering):
    def request(self, count: int) -> None:
        self.end = None
        super().request(count)
