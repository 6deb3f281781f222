"""How the subscriptions of a process come to know of something to take, and who takes it for them.

A bell rings, or something is due: each takes by itself. A round of the writer brings something: it takes for them,
in the append's own step. That saves who waits for a message of this process a thread's turn and a round trip.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from threading import Lock
from typing import TYPE_CHECKING
from uuid import UUID

from application.inbox import Arrival, Inbox, Offer

if TYPE_CHECKING:
    from application.subscription import Subscription

__all__ = ["Bells", "Offers"]


class Bells:
    """The subscriptions of this process. Made on the event loop that they work on."""

    def __init__(self, inbox: Inbox) -> None:
        self._loop = asyncio.get_running_loop()
        self._changing = Lock()
        self._subscriptions: tuple[Subscription, ...] = ()  # never changed: threads read it
        self._timers: dict[str, asyncio.TimerHandle] = {}
        inbox.listen(self._ring)

    def add(self, subscription: "Subscription") -> None:
        with self._changing:
            self._subscriptions = (*self._subscriptions, subscription)

    def remove(self, subscription: "Subscription") -> None:
        with self._changing:
            self._subscriptions = tuple(each for each in self._subscriptions if each is not subscription)

    def offers(self) -> "Offers":
        """For one round of the writer."""
        return Offers(self._subscriptions, self._served)

    def look_in(self, tract: str, seconds: float) -> None:
        """Something may be to take then, for any subscription of the tract."""
        at, timer = self._loop.time() + seconds, self._timers.get(tract)
        if timer is not None:
            if timer.when() <= at:
                return
            timer.cancel()
        self._timers[tract] = self._loop.call_at(at, self._due, tract)

    async def end(self) -> None:
        """Cancel every subscription: the service is closed."""
        await asyncio.gather(*(each.cancel() for each in self._subscriptions), return_exceptions=True)
        for timer in self._timers.values():
            timer.cancel()

    def _served(self, served: Collection["Subscription"]) -> None:
        """The next time, others come first."""
        with self._changing:
            self._subscriptions = tuple(sorted(self._subscriptions, key=served.__contains__))

    def _due(self, tract: str) -> None:
        del self._timers[tract]
        self._ring(tract)

    def _ring(self, tract: str) -> None:
        """Called from any thread."""
        for subscription in self._subscriptions:
            if subscription.tract == tract:
                subscription.look()


class Offers:
    """What subscriptions take with one round of the writer, in its thread."""

    def __init__(
        self,
        subscriptions: Sequence["Subscription"],
        served: Callable[[Collection["Subscription"]], None],
    ) -> None:
        self._subscriptions = subscriptions
        self._served = served
        self._claimed: dict[Subscription, Offer] = {}

    def to(self, arrivals: Sequence[Arrival], settled: Mapping[UUID, int]) -> Sequence[Offer]:
        """To an append: of as many as what arrives is enough for, and of who makes room for what was left to it.

        Args:
            arrivals: of the append.
            settled: how many deliveries end in it, by consumer.
        """
        coming = Counter[tuple[str, str | None]]()
        for arrival in arrivals:
            coming[arrival.tract, arrival.recipient] += arrival.count
        offers = []
        for each in self._subscriptions:
            ended = settled.get(each.consumer, 0)
            own, shared = (each.tract, each.name), (each.tract, None)
            wanted = coming[own] > 0 or coming[shared] > 0 or (ended > 0 and each.left)
            if wanted and (each in self._claimed or each.claim(ended)):
                offer = self._claimed[each] = each.offer(ended)
                coming[shared] -= max(0, offer.take.demand - coming[own])
                offers.append(offer)
        return offers

    def read(self) -> Callable[[], None]:
        """What is to be called on the event loop after the round, and hands over what was taken."""
        if self._claimed:
            self._served(self._claimed)
        answers = [each.read(offer) for each, offer in self._claimed.items()]

        def answer() -> None:
            for each in answers:
                each()

        return answer
