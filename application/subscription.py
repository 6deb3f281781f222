"""Handing messages to a consumer, no more than it asked for.

A subscription takes messages from the inbox as leases while it has demand, and waits for the tract's bell, for a
lease or a delay to end, or for more demand otherwise.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import UTC, datetime
from threading import Lock
from types import TracebackType
from typing import Final, Self, TypeVar
from uuid import UUID, uuid4

from eventsourcing.persistence import OperationalError, PersistenceError

from application.commands import Command, Join, Leave, Settle
from application.commit import Writer
from application.delivery import Delivery, DeliverySettings, End, Held
from application.errors import CallosumClosedError
from application.inbox import Inbox, Settlement, Taken, Then
from application.log import DialogueLog
from application.reading import Reader, RecordedMessage, messages_at
from domain.consumer import Outcome, Result
from domain.errors import CallosumError, InvalidCommandError, LeaseLostError
from domain.tract import Tract

__all__ = ["Bells", "Subscription"]

_RETRY: Final = 0.2
"""Seconds before a store that is away is asked again."""

_MOST_AT_ONCE: Final = 256
"""Messages of one take: a larger one would hold up the store, and all of it has one lease."""

_Answer = TypeVar("_Answer")
_logger = logging.getLogger("callosum.delivery")


class Bells:
    """The subscriptions of this process, and the inbox's way to tell them of something to take."""

    def __init__(self, inbox: Inbox) -> None:
        self._loop = asyncio.get_running_loop()
        self._subscriptions: frozenset[Subscription] = frozenset()  # never changed: threads read it
        inbox.listen(self._ring)

    def add(self, subscription: "Subscription") -> None:
        self._subscriptions |= {subscription}

    def remove(self, subscription: "Subscription") -> None:
        self._subscriptions -= {subscription}

    async def end(self) -> None:
        """Cancel every subscription: the service is closed."""
        await asyncio.gather(*(each.cancel() for each in [*self._subscriptions]), return_exceptions=True)

    def _ring(self, tract: str) -> None:
        """Called from any thread."""
        waiting = [subscription for subscription in self._subscriptions if subscription.tract == tract]
        for subscription in waiting:
            subscription.begin()
        if waiting:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._wake, waiting)

    def _wake(self, waiting: "Sequence[Subscription]") -> None:
        for subscription in waiting:
            subscription.wake()


class Subscription:
    """An asynchronous iterator of deliveries, within ``async with``.

    It never holds more than was asked for: `demand` deliveries are asked for at first and, unless that is 0, one
    more for each that is settled; `request` asks for more. Cancelling ends it, gives back what nobody was given,
    and may be repeated. Iterating ends with it, and with the service; it raises what else ended the subscription,
    `ReplacedError` above all: another consumer of its name has joined.
    """

    def __init__(
        self,
        log: DialogueLog,
        writer: Writer,
        reader: Reader,
        bells: Bells,
        *,
        tract: Tract,
        name: str,
        demand: int,
        settings: DeliverySettings,
    ) -> None:
        self.tract = tract
        self.name = name
        self.settings = settings
        self._log, self._writer, self._reader, self._bells = log, writer, reader, bells
        self._inbox = log.recorder.inbox
        self._credit = demand
        self._replenished = demand > 0
        self._in_hand = 0
        self._entered = False
        self._generation = 0
        self._consumer: UUID | None = None
        self._lease = uuid4().hex
        self._bell = asyncio.Event()
        self._beginning = Lock()
        self._idle = False
        self._rung_since = False
        self._begun: Future[tuple[Taken, dict[int, RecordedMessage]]] | None = None
        self._ready: deque[Delivery] = deque()
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._cancelled = False
        self._error: Exception | None = None
        self._pump: asyncio.Task[None] | None = None
        self._draining: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if self._entered:
            raise InvalidCommandError("subscription", "was entered before; subscribe again")
        self._entered = True
        self._generation = await self._reader.call(self._inbox.join, self.tract, self.name)
        self._consumer = await self._writer.submit(Join(self.tract, self.name, self._generation, self._log.exists))
        self._bells.add(self)
        self._pump = asyncio.create_task(self._run(), name=f"callosum-subscription-{self.name}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cancel()

    def request(self, count: int) -> None:
        """Ask for more deliveries, beside those that were asked for already. After cancelling it does nothing."""
        if self._cancelled:
            return
        if count < 1:
            raise InvalidCommandError("request", f"is for {count} deliveries; it must be for at least one")
        self._add_credit(count)

    async def cancel(self) -> None:
        """Take no more, give back what was not yet iterated over, and leave. Iterating ends.

        What was given and is not settled by then cannot be any more; it goes to others when its lease ends.
        """
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave())
        await asyncio.shield(self._leaving)

    async def drain(self) -> None:
        """Take no more, and give back what was not yet iterated over. What was given can still be settled."""
        if self._draining is None:
            self._draining = asyncio.create_task(self._drain())
        await asyncio.shield(self._draining)

    async def _leave(self) -> None:
        await self.drain()
        if self._consumer is not None:
            await self._whatever_comes(self._writer.submit, Leave(self._consumer, "cancelled"))

    async def _drain(self) -> None:
        self._cancelled = True
        self._bells.remove(self)
        self._bell.set()
        self._tell(len(self._waiters))
        if self._pump is not None:
            await self._pump
        unseen = [*self._ready]
        self._ready.clear()
        await asyncio.gather(*(self._whatever_comes(delivery.give_back) for delivery in unseen))

    async def _whatever_comes(self, act: Callable[..., Awaitable[object]], *arguments: object) -> None:
        """Something that is good to do before leaving; without it, leases end by themselves."""
        try:
            await act(*arguments)
        except LeaseLostError:
            return
        except (CallosumError, PersistenceError) as error:
            _logger.warning("Consumer %s leaves something behind: %s", self.name, error)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        while self._cancelled or not self._ready:
            if self._error is not None:
                raise self._error
            if self._cancelled:
                raise StopAsyncIteration
            await self._wait_for_one()
        delivery = self._ready.popleft()
        delivery.begin()
        return delivery

    async def _wait_for_one(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
            else:
                self._tell(1)  # what it was told of is for another one
            raise

    def _tell(self, count: int) -> None:
        """Tell so many of those who wait that there is a delivery, or that it has ended."""
        while count > 0 and self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                count -= 1

    def submit(
        self,
        command: Callable[[UUID, Settlement, Outcome], Command[_Answer]],
        settlement: Settlement,
        outcome: Outcome,
    ) -> asyncio.Future[_Answer]:
        """End a delivery. Called by the delivery."""
        return self._writer.submit(command(self._joined, settlement, outcome))

    def replenish(self) -> None:
        """A delivery has ended; ask for another one in its place. Called by the delivery."""
        self._in_hand -= 1
        if self._replenished:
            self._add_credit(1)

    def _add_credit(self, count: int) -> None:
        # Who had some left is told by the bell when there is something to take; looking again would be in vain.
        starved = self._credit == 0
        self._credit += count
        if starved:
            self._bell.set()

    def begin(self) -> None:
        """There may be something to take: who is idle takes at once, before the loop has heard of it.

        Called in any thread. The pump finds what was begun, and so does who cancels.
        """
        with self._beginning:
            if self._idle:
                self._idle = False
                self._begun = self._reader.begin(self._take_and_read, min(self._credit, _MOST_AT_ONCE))
            else:
                self._rung_since = True  # what was begun may have been too early for this

    def wake(self) -> None:
        """There may be something to take."""
        self._bell.set()

    async def extend(self, lease: str) -> bool:
        return await self._reader.call(self._inbox.extend, self.tract, lease, self._ack_wait)

    @property
    def _joined(self) -> UUID:
        assert self._consumer is not None, "a delivery comes from a subscription that was entered"
        return self._consumer

    @property
    def _ack_wait(self) -> int:
        return round(self.settings.ack_wait * 1000)

    async def _run(self) -> None:
        begun = None
        try:
            while begun is not None or not self._cancelled:
                try:
                    # Who holds nothing looks without demand, too: its place may have been taken.
                    looks = begun is not None or self._credit > 0 or self._in_hand == 0
                    wait = await self._take(begun) if looks else None
                except OperationalError as error:
                    _logger.warning("Consumer %s waits for the store: %s", self.name, error)
                    wait = _RETRY
                begun = None if self._cancelled else await self._rest(wait)
        except CallosumClosedError:
            self._cancelled = True
        except Exception as error:  # noqa: BLE001  # a task's edge: who iterates hears of it
            self._error = error
        finally:
            self._tell(len(self._waiters))

    async def _rest(self, wait: float | None) -> "Future[tuple[Taken, dict[int, RecordedMessage]]] | None":
        """Until there may be something to take, for so many seconds at most; a take that was begun meanwhile."""
        with self._beginning:
            self._idle = self._credit > 0 and not self._bell.is_set()
            self._rung_since = False
        with suppress(TimeoutError):
            async with asyncio.timeout(wait):  # `wait_for` would wait in another task
                await self._bell.wait()
        self._bell.clear()
        with self._beginning:
            self._idle = False
            begun, self._begun = self._begun, None
            if begun is not None and self._rung_since:
                self._bell.set()
        return begun

    async def _take(self, begun: "Future[tuple[Taken, dict[int, RecordedMessage]]] | None") -> float | None:
        """Take as much as there is demand for; seconds after which to look again, if nothing tells before.

        Until all of it is handed over the lease stays the same, so what fails on the way is taken again.
        """
        if begun is None:
            demand = min(self._credit, _MOST_AT_ONCE)
            taken, messages = await self._reader.call(self._take_and_read, demand)
        else:
            taken, messages = await asyncio.wrap_future(begun)
        if taken.handed:
            held = [Held(self.tract, self._lease, handed, messages[handed.slot]) for handed in taken.handed]
            self._lease = uuid4().hex
            await self._hand_over(held)
            if taken.left and self._credit > 0:
                return 0
        due = None if taken.next_due is None else taken.next_due / 1000 + 0.001
        polls = [wait for wait in (due, self._inbox.look_every) if wait is not None]
        return min(polls, default=None)

    def _take_and_read(self, demand: int) -> tuple[Taken, dict[int, RecordedMessage]]:
        """In one of the reader's threads."""
        taken = self._inbox.take(
            self.tract,
            consumer=self.name,
            generation=self._generation,
            lease=self._lease,
            demand=demand,
            ack_wait=self._ack_wait,
        )
        return taken, messages_at(self._log, [handed.slot for handed in taken.handed], taken.entries)

    async def _hand_over(self, held: Sequence[Held]) -> None:
        """To whoever iterates; what is not to be delivered is recorded before it leaves the inbox."""
        ends = [(each, self._end_of(each)) for each in held]
        for each, end in ends:
            if end is None:
                self._credit -= 1
                self._in_hand += 1
                self._ready.append(Delivery(self, each))
        self._tell(len(self._ready))
        given_up = [Settle(self._joined, *each.ended(end)) for each, end in ends if end is not None]
        await asyncio.gather(*(self._whatever_comes(self._writer.submit, settle) for settle in given_up))

    def _end_of(self, held: Held) -> End | None:
        """How it ends without being delivered; None: it is to be delivered."""
        deadline = held.message.deadline
        if held.handed.attempt > self.settings.max_deliver:
            return End(Then.DEAD, Result.DEAD_LETTERED, "its last lease was lost")
        if deadline is not None and deadline <= datetime.now(UTC):
            return End(Then.DONE, Result.EXPIRED, "its deadline has passed")
        return None
