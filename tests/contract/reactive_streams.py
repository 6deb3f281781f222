"""The rules of Reactive Streams for a subscriber that pulls, written once for any subscription.

The numbers are those of https://github.com/reactive-streams/reactive-streams-jvm, version 1.0. There, a publisher
signals an element by `onNext`; here, a subscriber awaits it. `onComplete` is that iterating ends, `onError` that
it raises.

| rule       | what it demands here                                                                              |
|------------|---------------------------------------------------------------------------------------------------|
| 1.1        | at any time, elements signalled ≤ elements requested                                              |
| 1.3        | however many wait at one subscription, each element is signalled once, and in order               |
| 1.4        | a failure raises where the subscriber iterates                                                    |
| 1.5        | the end of the stream ends the iteration                                                          |
| 1.6        | who was signalled a failure holds nothing, and takes nothing any more                             |
| 1.7        | after the end was signalled, iterating gives nothing but the same end                             |
| 1.8, 3.12  | after cancelling, iterating ends, and what nobody was given goes to others                        |
| 1.11       | our choice: unicast; of several subscribers, one gets an element                                  |
| 2.1        | without a request nothing comes                                                                   |
| 2.6        | leaving the block cancels, so that nobody can forget to                                           |
| 2.8        | what was signalled, and not handled when the subscriber cancelled, is not lost                    |
| 2.9, 2.10  | the end, and a failure, come without demand, too                                                  |
| 2.13       | an error in handling cancels, and is not hidden                                                   |
| 3.2        | `request` may be called while an element is handled, and before the first                         |
| 3.3        | any number of elements, each requested while the one before is handled, needs no deeper stack     |
| 3.5, 3.7   | `cancel` returns soon, may be repeated, and may be called twice at once                           |
| 3.6        | `request` after `cancel` does nothing                                                             |
| 3.8        | requests add up                                                                                   |
| 3.9        | a request of zero or less is an error, and changes nothing                                        |
| 3.13       | after `cancel` the publisher keeps no reference                                                   |
| 3.15, 3.16 | `cancel` and `request` return normally, whatever has ended the subscription                       |
| 3.17       | any number of requests, and a demand of 2**63 - 1 and more                                        |

Two rules are met in another form. 3.9 has the error signalled to the subscriber, and 3.16 forbids `request` to
raise it; here it raises, to the one who made the mistake, and the subscription goes on. 3.5 has `cancel` callable
from any thread; here a subscription belongs to one event loop, and so do all calls (2.7, 3.1).

What is left out: 1.2, 1.10, 3.10, 3.11 and 3.14 permit something, and demand nothing. 1.9, 2.5 and 2.12 are of
`onSubscribe`, which has no counterpart: entering the block gives the subscription. 2.2, 2.3, 2.4, 2.7, 2.11 and
3.1 are duties of a subscriber's own code. 3.4 is a SHOULD about time; `request` is a plain call that awaits
nothing. 4.1 and 4.2 are of processors.
"""

import asyncio
import gc
import sys
import weakref
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, ClassVar, Protocol

import pytest

__all__ = ["Publisher", "PullSubscription", "ReactiveStreamsContract"]

LONGEST = 2**63 - 1

ends = pytest.mark.parametrize("end", ["cancelled", "failed", "closed"])


class PullSubscription(Protocol):
    def request(self, count: int, /) -> None: ...

    async def cancel(self) -> None: ...

    def __aiter__(self) -> AsyncIterator[Any]: ...

    async def __anext__(self) -> Any: ...


class Publisher(ABC):
    """What is tested: its subscribers compete, and an element goes to one of them.

    Attributes:
        refusal: what a request of zero or less raises.
        failure: what iterating raises after `fail`.
    """

    refusal: ClassVar[type[Exception]]
    failure: ClassVar[type[Exception]]

    @abstractmethod
    def subscribe(self, demand: int = 0, *, name: str = "first") -> AbstractAsyncContextManager[PullSubscription]:
        """A subscription that has asked for so many. Under a name there is one at a time."""

    @abstractmethod
    async def publish(self, count: int) -> None:
        """So many elements: the next numbers, from 0 on."""

    @abstractmethod
    def number(self, element: Any) -> int: ...

    @abstractmethod
    async def ack(self, element: Any) -> None:
        """It is handled."""

    @abstractmethod
    async def fail(self) -> None:
        """End the subscription named `first` with an error."""

    @abstractmethod
    async def close(self) -> None:
        """End all subscriptions; nothing can be published any more."""


class ReactiveStreamsContract:
    """A subclass has a fixture `publisher`.

    That nothing more comes to one subscriber is seen by what comes to another one: all of the rest.
    """

    patience: float = 5
    """Seconds after which what should have come did not."""

    async def test_1_1_no_more_is_signalled_than_was_requested(self, publisher: Publisher) -> None:
        await publisher.publish(3)
        async with publisher.subscribe() as subscription:
            subscription.request(2)
            assert await self.taken(publisher, subscription, 2) == [0, 1]
            async with waiting(subscription) as following:
                assert await self.rest(publisher, 1) == [2]
                await publisher.publish(3)
                subscription.request(1)
                assert publisher.number(await asyncio.wait_for(following, self.patience)) == 3
            async with waiting(subscription) as following:
                assert await self.rest(publisher, 2) == [4, 5]
                assert not following.done()

    async def test_1_3_signals_are_serial(self, publisher: Publisher) -> None:
        async with publisher.subscribe() as subscription:
            subscription.request(8)
            takers = [asyncio.ensure_future(self.taken(publisher, subscription, 1)) for _ in range(5)]
            await publisher.publish(8)
            assert sorted(await asyncio.gather(*takers)) == [[0], [1], [2], [3], [4]]
            assert await self.taken(publisher, subscription, 3) == [5, 6, 7]

    async def test_1_4_a_failure_is_signalled(self, publisher: Publisher) -> None:
        async with publisher.subscribe() as subscription:
            subscription.request(1)
            async with waiting(subscription) as following:
                async with publisher.subscribe(name="another"):
                    pass  # by then the first one has looked, and found nothing
                await publisher.fail()
                with pytest.raises(publisher.failure):
                    await asyncio.wait_for(following, self.patience)

    async def test_1_5_the_end_is_signalled(self, publisher: Publisher) -> None:
        async with publisher.subscribe() as subscription:
            subscription.request(1)
            async with waiting(subscription) as following:
                await publisher.close()
                with pytest.raises(StopAsyncIteration):
                    await asyncio.wait_for(following, self.patience)

    async def test_1_6_after_a_failure_nothing_is_held(self, publisher: Publisher) -> None:
        async with publisher.subscribe() as subscription:
            subscription.request(3)
            await self.until_ended(publisher, subscription, "failed")
            subscription.request(3)
            await publisher.publish(2)
            assert await self.rest(publisher, 3) == [0, 1, 2]

    @ends
    async def test_1_7_nothing_follows_the_end(self, publisher: Publisher, end: str) -> None:
        async with publisher.subscribe() as subscription:
            subscription.request(1)
            ended = await self.until_ended(publisher, subscription, end)
            subscription.request(2)
            if end != "closed":
                await publisher.publish(2)
            for _ in range(3):
                with pytest.raises(ended):
                    await self.taken(publisher, subscription, 1)

    async def test_1_7_nothing_follows_the_end_while_cancelling(self, publisher: Publisher) -> None:
        await publisher.publish(6)
        for passes in [*range(6)] * 4:  # of the event loop, between the request and its cancellation
            async with publisher.subscribe() as subscription:
                subscription.request(6)
                for _ in range(passes):
                    await asyncio.sleep(0)
                leaving = asyncio.ensure_future(subscription.cancel())
                await asyncio.sleep(0)
                ended = False
                while not leaving.done():
                    try:
                        await self.taken(publisher, subscription, 1)
                    except StopAsyncIteration:
                        ended = True
                        await asyncio.sleep(0)
                    else:
                        assert not ended

    async def test_1_8_cancelling_ends_the_signals(self, publisher: Publisher) -> None:
        await publisher.publish(5)
        async with publisher.subscribe() as subscription:
            subscription.request(3)
            assert await self.taken(publisher, subscription, 1, ack=True) == [0]
            await subscription.cancel()
            with pytest.raises(StopAsyncIteration):
                await self.taken(publisher, subscription, 1)
            assert await self.rest(publisher, 4) == [1, 2, 3, 4]

    async def test_1_8_cancelling_ends_the_waiting(self, publisher: Publisher) -> None:
        async with publisher.subscribe() as subscription:
            subscription.request(1)
            async with waiting(subscription) as following:
                await subscription.cancel()
                with pytest.raises(StopAsyncIteration):
                    await asyncio.wait_for(following, self.patience)

    async def test_1_11_of_several_subscribers_one_gets_an_element(self, publisher: Publisher) -> None:
        async with publisher.subscribe(10) as first, publisher.subscribe(10, name="second") as second:
            await publisher.publish(20)
            some = await self.taken(publisher, first, 10)
            others = await self.taken(publisher, second, 10)
        assert sorted(some + others) == list(range(20))

    async def test_2_1_nothing_comes_without_demand(self, publisher: Publisher) -> None:
        await publisher.publish(3)
        async with publisher.subscribe() as subscription, waiting(subscription) as following:
            assert await self.rest(publisher, 3) == [0, 1, 2]
            assert not following.done()

    async def test_2_6_leaving_the_block_cancels(self, publisher: Publisher) -> None:
        await publisher.publish(3)
        async with publisher.subscribe() as subscription:
            subscription.request(2)
            await self.taken(publisher, subscription, 1, ack=True)
        with pytest.raises(StopAsyncIteration):
            await self.taken(publisher, subscription, 1)
        assert await self.rest(publisher, 2) == [1, 2]

    async def test_2_8_what_was_signalled_before_cancelling_is_not_lost(self, publisher: Publisher) -> None:
        await publisher.publish(3)
        async with publisher.subscribe() as subscription:
            subscription.request(3)
            assert await self.taken(publisher, subscription, 1) == [0]
            await subscription.cancel()
        async with publisher.subscribe(3) as following:
            assert sorted(await self.taken(publisher, following, 3)) == [0, 1, 2]

    async def test_2_9_the_end_comes_without_demand(self, publisher: Publisher) -> None:
        async with publisher.subscribe() as subscription, waiting(subscription) as following:
            await publisher.close()
            with pytest.raises(StopAsyncIteration):
                await asyncio.wait_for(following, self.patience)

    async def test_2_10_a_failure_comes_without_demand(self, publisher: Publisher) -> None:
        async with publisher.subscribe() as subscription, waiting(subscription) as following:
            await publisher.fail()
            with pytest.raises(publisher.failure):
                await asyncio.wait_for(following, self.patience)

    async def test_2_13_an_error_in_handling_cancels(self, publisher: Publisher) -> None:
        await publisher.publish(3)
        subscriptions = []
        with pytest.raises(KeyError, match="the handling's"):
            async with publisher.subscribe(2) as subscription:
                subscriptions.append(subscription)
                await self.taken(publisher, subscription, 1)
                raise KeyError("the handling's")
        with pytest.raises(StopAsyncIteration):
            await self.taken(publisher, subscriptions[0], 1)
        async with publisher.subscribe(3) as following:
            assert sorted(await self.taken(publisher, following, 3)) == [0, 1, 2]

    async def test_3_2_request_may_be_called_from_within_handling(self, publisher: Publisher) -> None:
        await publisher.publish(10)
        numbers: list[int] = []
        async with publisher.subscribe() as subscription, asyncio.timeout(self.patience):
            subscription.request(1)
            async for element in subscription:
                subscription.request(1)
                numbers.append(publisher.number(element))
                await publisher.ack(element)
                if len(numbers) == 10:
                    break
        assert numbers == list(range(10))

    async def test_3_3_requests_do_not_recurse(self, publisher: Publisher) -> None:
        many = sys.getrecursionlimit() + 100
        await publisher.publish(many)
        numbers: list[int] = []
        async with publisher.subscribe() as subscription, asyncio.timeout(self.patience):
            subscription.request(many)
            while len(numbers) < many:
                numbers.append(publisher.number(await anext(subscription)))
                subscription.request(1)
        assert numbers == list(range(many))

    async def test_3_5_cancel_returns_soon_and_may_be_repeated(self, publisher: Publisher) -> None:
        await publisher.publish(3)
        async with publisher.subscribe() as subscription, asyncio.timeout(self.patience):
            subscription.request(2)
            await self.taken(publisher, subscription, 1, ack=True)
            await asyncio.gather(subscription.cancel(), subscription.cancel())
            await subscription.cancel()
            assert await self.rest(publisher, 2) == [1, 2]

    async def test_3_6_after_cancel_a_request_does_nothing(self, publisher: Publisher) -> None:
        async with publisher.subscribe() as subscription:
            await subscription.cancel()
            subscription.request(3)
            await publisher.publish(3)
            assert await self.rest(publisher, 3) == [0, 1, 2]
            with pytest.raises(StopAsyncIteration):
                await self.taken(publisher, subscription, 1)

    async def test_3_8_demand_adds_up(self, publisher: Publisher) -> None:
        async with publisher.subscribe() as subscription:
            for count in (2, 1, 3):
                subscription.request(count)
            await publisher.publish(9)
            assert await self.taken(publisher, subscription, 6) == [0, 1, 2, 3, 4, 5]
            assert await self.rest(publisher, 3) == [6, 7, 8]

    @pytest.mark.parametrize("count", [0, -1, -LONGEST])
    async def test_3_9_a_request_of_zero_or_less_is_an_error(self, publisher: Publisher, count: int) -> None:
        async with publisher.subscribe() as subscription:
            subscription.request(2)
            with pytest.raises(publisher.refusal):
                subscription.request(count)
            await publisher.publish(3)
            assert await self.taken(publisher, subscription, 2) == [0, 1]
            assert await self.rest(publisher, 1) == [2]

    async def test_3_13_after_cancel_the_publisher_keeps_no_reference(self, publisher: Publisher) -> None:
        async def used() -> "weakref.ref[PullSubscription]":
            async with publisher.subscribe() as subscription:
                subscription.request(2)
                await self.taken(publisher, subscription, 1, ack=True)
            return weakref.ref(subscription)

        await publisher.publish(3)
        reference = await used()
        gc.collect()
        assert reference() is None

    @ends
    async def test_3_15_cancel_returns_normally_after_any_end(self, publisher: Publisher, end: str) -> None:
        async with publisher.subscribe() as subscription:
            subscription.request(1)
            await self.until_ended(publisher, subscription, end)
            await asyncio.wait_for(subscription.cancel(), self.patience)

    @ends
    async def test_3_16_request_returns_normally_after_any_end(self, publisher: Publisher, end: str) -> None:
        async with publisher.subscribe() as subscription:
            subscription.request(1)
            await self.until_ended(publisher, subscription, end)
            subscription.request(1)

    async def test_3_17_any_demand_is_supported(self, publisher: Publisher) -> None:
        await publisher.publish(300)
        async with publisher.subscribe() as subscription:
            for _ in range(10_000):
                subscription.request(1)
            for _ in range(2):
                subscription.request(LONGEST)
            assert await self.taken(publisher, subscription, 300) == list(range(300))

    async def taken(
        self, publisher: Publisher, subscription: PullSubscription, count: int, *, ack: bool = False
    ) -> list[int]:
        """The numbers of the next elements."""
        numbers = []
        async with asyncio.timeout(self.patience):
            for _ in range(count):
                element = await anext(subscription)
                numbers.append(publisher.number(element))
                if ack:
                    await publisher.ack(element)
        return numbers

    async def rest(self, publisher: Publisher, count: int) -> list[int]:
        """What another subscriber gets. So much was left; nothing is after it."""
        async with publisher.subscribe(count, name="another") as another:
            return await self.taken(publisher, another, count, ack=True)

    async def until_ended(self, publisher: Publisher, subscription: PullSubscription, end: str) -> type[Exception]:
        """End it, and iterate until that is signalled; what it is signalled by."""
        acts = {"cancelled": subscription.cancel, "failed": publisher.fail, "closed": publisher.close}
        ended = publisher.failure if end == "failed" else StopAsyncIteration
        await acts[end]()
        if end == "failed":
            await publisher.publish(1)  # at the latest, it hears of it when there is something to take
        with pytest.raises(ended):
            await self.taken(publisher, subscription, 1)
        return ended


@asynccontextmanager
async def waiting(subscription: PullSubscription) -> AsyncIterator["asyncio.Future[Any]"]:
    """Somebody who waits for the next element."""
    following = asyncio.ensure_future(anext(subscription))
    try:
        await asyncio.sleep(0)
        yield following
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
